"""Who writes: kept under a name that tells nobody their number."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.service.database import reading
from aura.service.tables import whatsapp_senders

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from aura.integrations.whatsapp.bot import Bot

# How long after a person's last message they may be written to freely, as Meta wants it. It is the
# replay window as well: what is older is noted and not acted on, for nobody could be answered.
WINDOW = timedelta(hours=24)
OWNER_PREFIX = "whatsapp."  # of the names under which jobs belong to senders
SENDER_DIGITS = 32


def sender_id(bot: Bot, address: str) -> str:
    """A name for a sender that tells nobody their number: jobs and logs have this one."""
    secret = bot.settings.app_secret.encode()
    return hmac.new(secret, address.encode(), hashlib.sha256).hexdigest()[:SENDER_DIGITS]


def owner_of(sender: str) -> str:
    """Under which name a sender's jobs are kept."""
    return OWNER_PREFIX + sender


def find_sender(bot: Bot, sender: str) -> dict[str, Any] | None:
    """A sender's row."""
    query = sa.select(whatsapp_senders).where(whatsapp_senders.c.id == sender)
    with reading(bot.service.engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else dict(row._mapping)


def set_sender(connection: Connection, sender: str, **values: Any) -> None:
    """Change a sender's row."""
    connection.execute(
        whatsapp_senders.update().where(whatsapp_senders.c.id == sender).values(**values)
    )
