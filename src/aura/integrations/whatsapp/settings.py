"""What an operator sets for the bot: each field is AURA_WHATSAPP_ and its name in capitals."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.service.settings import read_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "AURA_WHATSAPP_"
NEEDED = ("token", "phone_id", "app_secret", "verify_token")


@dataclass(frozen=True)
class WhatsAppSettings:
    """Times in seconds unless named otherwise; the first four have no default."""

    token: str = ""
    """Access token of the system user; goes to Meta and nowhere else."""
    phone_id: str = ""
    """Id of the phone number that the bot answers from."""
    app_secret: str = ""
    """The app's secret, with which Meta signs what it sends."""
    verify_token: str = ""
    """Any text; the same is entered where the webhook is set up at Meta."""

    api: str = "https://graph.facebook.com"
    media_hosts: tuple[str, ...] = ("lookaside.fbsbx.com", "graph.facebook.com")
    """Where media are fetched from: the token is sent to no other host, whatever an answer names.
    With a port where it is not the usual one."""
    api_seconds: float = 20.0
    """For one call."""
    fetch_seconds: float = 120.0
    """For one video or voice note."""
    profile: str = "lite"
    daily: int = 20
    """Analyses that one sender may ask for a day; 0: without limit."""
    progress_seconds: float = 20.0
    """A sender is told how far it is when so much time passed since the last word."""
    link_days: float = 7.0
    """How long the link to a report works."""
    keep_days: float = 30.0
    """Then messages are forgotten, and senders who wrote none since."""


def read_whatsapp_settings(
    environment: Mapping[str, str] | None = None,
) -> WhatsAppSettings | None:
    """The bot's settings; None where there is no token.

    Raises:
        UsageError: a variable is missing or holds nonsense.
    """
    settings = replace(WhatsAppSettings(), **read_fields(WhatsAppSettings, PREFIX, environment))
    if not settings.token:
        return None
    missing = [PREFIX + name.upper() for name in NEEDED if not getattr(settings, name)]
    if missing:
        raise UsageError(f"the WhatsApp bot needs {', '.join(missing)} as well; see .env.example")
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, float) and value <= 0:
            raise UsageError(f"{PREFIX}{field.name.upper()} must be above 0")
    return settings
