"""Supabase: its users sign in here, its bucket keeps the files, its database has the results.

sign_in    whose token it is (AURA_SUPABASE_JWT_SECRET, or AURA_SUPABASE_URL alone for its keys)
storage    the bucket, by signed addresses (AURA_STORAGE_URL=supabase://bucket/prefix)
*.sql      the tables: `aura supabase sql`
command    that command
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from aura.errors import MissingExtra
from aura.integrations.supabase.settings import read_supabase_settings
from aura.service.extensions import Extension

if TYPE_CHECKING:
    from aura.service.context import Service


def extension(service: Service) -> Extension | None:
    """Sign-in by Supabase's tokens, if AURA_SUPABASE_SIGN_IN is on.

    Raises:
        UsageError: neither its address nor a secret is set. MissingExtra: PyJWT is not there.
    """
    settings = read_supabase_settings()
    if not settings.sign_in:
        return None
    if importlib.util.find_spec("jwt") is None:
        raise MissingExtra("signing in with Supabase", "supabase")
    from aura.integrations.supabase.sign_in import SignIn  # noqa: PLC0415 - only who uses it

    return Extension("supabase", sign_in=SignIn(settings, service.settings.allowed_hosts))
