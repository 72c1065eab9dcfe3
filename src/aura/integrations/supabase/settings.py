"""What an operator sets for Supabase: each field is AURA_SUPABASE_ and its name in capitals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.service.settings import read_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "AURA_SUPABASE_"


@dataclass(frozen=True)
class SupabaseSettings:
    """Times in seconds."""

    url: str = ""
    """https://PROJECT.supabase.co"""
    service_key: str = ""
    """The secret (`service_role`) key; for the bucket. It passes every policy: keep it here."""
    sign_in: bool = False
    """Whether the project's users may use this service with their tokens."""
    jwt_secret: str = ""
    """Of projects that still sign with one (HS256); else the project's public keys are fetched."""
    audience: str = "authenticated"
    issuer: str = ""
    """Who made a token; empty: the project at `url`."""
    anonymous: bool = False
    """Whether who signed in without an account may come in as well."""
    seconds: float = 60.0
    """For one exchange with the bucket or the keys."""


def read_supabase_settings(environment: Mapping[str, str] | None = None) -> SupabaseSettings:
    """The settings.

    Raises:
        UsageError: a variable holds nonsense, or one that another needs is missing.
    """
    settings = replace(SupabaseSettings(), **read_fields(SupabaseSettings, PREFIX, environment))
    settings = replace(settings, url=settings.url.rstrip("/"))
    if settings.sign_in and not (settings.url or (settings.jwt_secret and settings.issuer)):
        raise UsageError("AURA_SUPABASE_SIGN_IN needs AURA_SUPABASE_URL, the project's address")
    if settings.jwt_secret and len(settings.jwt_secret) < 32:  # RFC 7518, 3.2: as long as the hash
        raise UsageError("AURA_SUPABASE_JWT_SECRET is too short to be a secret; copy it anew")
    return settings
