"""What people wrote, each message once: Meta repeats what was not answered, for days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.integrations.whatsapp import outbox
from aura.integrations.whatsapp.payload import MEDIA_KINDS
from aura.integrations.whatsapp.senders import WINDOW, owner_of, sender_id, set_sender
from aura.integrations.whatsapp.wording import language_of_number, say
from aura.service.admission import lock_owner
from aura.service.jobs import utc_now
from aura.service.tables import whatsapp_inbox, whatsapp_outbox, whatsapp_senders

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from aura.integrations.whatsapp.bot import Bot
    from aura.integrations.whatsapp.payload import Incoming

# Kinds that nobody waits for an answer to.
SILENT = frozenset({"reaction", "system", "edit", "revoke", "request_welcome"})


def take_in(bot: Bot, message: Incoming) -> bool:
    """Write a message down, and the first answer with it; False: it was here before.

    From this transaction on nothing is lost: whatever dies, the message is there to be handled.
    """
    now, sender = utc_now(), sender_id(bot, message.address)
    with bot.service.engine.begin() as connection:
        lock_owner(connection, owner_of(sender))
        known = sa.select(whatsapp_inbox.c.id).where(whatsapp_inbox.c.id == message.id)
        if connection.execute(known).first() is not None:
            return False
        late = message.sent_at < now - WINDOW
        connection.execute(
            whatsapp_inbox.insert().values(
                id=message.id,
                sender=sender,
                kind=message.kind,
                content=message.content,
                state="done" if late or message.kind in SILENT else "new",
                attempts=0,
                next_at=now,
                received_at=now,
                progress_told=0,
                last_error="came too late to be answered" if late else None,
            )
        )
        if late:
            return True
        language = _note_sender(connection, sender, message, min(now, message.sent_at))
        outbox.unpark(connection, sender, now)
        if message.kind in MEDIA_KINDS and not message.is_group:
            text = say(language, "received")
            outbox.queue(connection, sender, {"text": text, "reply_to": message.id}, now)
        return True


def _note_sender(connection: Connection, sender: str, message: Incoming, wrote_at: datetime) -> str:
    """The sender's row, made or brought up to date; returns their language."""
    column = whatsapp_senders.c
    row = connection.execute(sa.select(whatsapp_senders).where(column.id == sender)).one_or_none()
    if row is None:
        language = language_of_number(message.address)
        connection.execute(
            whatsapp_senders.insert().values(
                id=sender,
                address=message.address,
                is_group=message.is_group,
                language=language,
                wrote_at=wrote_at,
            )
        )
        return language
    latest = max(wrote_at, row.wrote_at)
    set_sender(connection, sender, wrote_at=latest)
    return str(row.language)


def set_message(connection: Connection, message_id: str, **values: Any) -> None:
    """Change a message's row."""
    connection.execute(
        whatsapp_inbox.update().where(whatsapp_inbox.c.id == message_id).values(**values)
    )


def forget(bot: Bot, sender: str) -> int:
    """Erase everything of a sender: jobs with media and reports, messages; how many jobs.

    The sender's row stays while the answer to this is on its way; `forget_before` takes it.
    """
    service, owner, erased = bot.service, owner_of(sender), 0
    while jobs := service.store.list(owner):
        for job in jobs:
            service.erase(job.id, owner)
            erased += 1
    with service.engine.begin() as connection:
        lock_owner(connection, owner)
        # Ids stay, so that a message that is sent again is still known; what was in them goes.
        connection.execute(
            whatsapp_inbox.update()
            .where(whatsapp_inbox.c.sender == sender)
            .values(content={}, state="done", job_id=None)
        )
        connection.execute(whatsapp_outbox.delete().where(whatsapp_outbox.c.sender == sender))
    return erased


def forget_before(bot: Bot, time: datetime) -> None:
    """Delete messages, and senders who wrote none since."""
    with bot.service.engine.begin() as connection:
        received = whatsapp_inbox.c.received_at < time
        connection.execute(whatsapp_inbox.delete().where(received))
        connection.execute(whatsapp_outbox.delete().where(whatsapp_outbox.c.created_at < time))
        silent = whatsapp_senders.c.wrote_at < time
        connection.execute(whatsapp_senders.delete().where(silent))
