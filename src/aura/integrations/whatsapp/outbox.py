"""Messages to people: written down first, sent until Meta takes them, in the order they came.

pending   waits for its time; behind an earlier one to the same person it waits for that one
sent      Meta took it
parked    the person has been silent for a day, and Meta allows no free message: it goes out when
          they write again
failed    Meta says that it can never be delivered
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.integrations.whatsapp.client import LASTING, Refused, WindowClosed
from aura.integrations.whatsapp.pictures import read_picture
from aura.integrations.whatsapp.senders import WINDOW, find_sender
from aura.service.due import claim_due
from aura.service.jobs import utc_now
from aura.service.logs import get_logger
from aura.service.tables import whatsapp_outbox

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection, Engine

    from aura.integrations.whatsapp.bot import Bot
    from aura.integrations.whatsapp.payload import Delivered

log = get_logger("whatsapp")

# Seconds after a failed attempt before the next; the last one is repeated until the window closes.
BACK_OFF = (5, 15, 60, 300, 900, 1800)
CLAIM_SECONDS = 120  # a message whose sender is silent for so long is sent by another
ROUND = 50
REENGAGEMENT = 131047  # Meta's number for "silent for a day"

box = whatsapp_outbox.c
earlier = whatsapp_outbox.alias("earlier")
FIRST = ~sa.exists().where(
    earlier.c.sender == box.sender, earlier.c.state == "pending", earlier.c.number < box.number
)


def queue(connection: Connection, sender: str, content: Mapping[str, Any], at: datetime) -> None:
    """Put a message in; the caller holds `lock_owner`, so that numbers are given out once.

    Args:
        connection: of the transaction in which the reason for the message is written down.
        sender: whom it is for.
        content: `text`; `reply_to` a message of theirs; `picture` a job whose picture it shows.
        at: the time now.
    """
    last = sa.select(sa.func.max(box.number)).where(box.sender == sender)
    number = connection.execute(last).scalar_one() or 0
    connection.execute(
        whatsapp_outbox.insert().values(
            id=uuid.uuid4().hex,
            sender=sender,
            number=number + 1,
            content=dict(content),
            state="pending",
            attempts=0,
            next_at=at,
            created_at=at,
        )
    )


def unpark(connection: Connection, sender: str, at: datetime) -> None:
    """The person wrote: what waited for that goes out."""
    connection.execute(
        whatsapp_outbox.update()
        .where(box.sender == sender, box.state == "parked")
        .values(state="pending", next_at=at)
    )


def send_due(bot: Bot, stop: threading.Event) -> int:
    """Send what is due; ends early when Meta's API is away, the next round tries others."""
    for count in range(ROUND):
        if stop.is_set():
            return count
        row = claim_due(
            bot.service.engine, whatsapp_outbox, "pending", FIRST, seconds=CLAIM_SECONDS
        )
        if row is None:
            return count
        if not _send(bot, row):
            return count + 1
    return ROUND


def _send(bot: Bot, row: dict[str, Any]) -> bool:
    """Send one; False: the API is away."""
    now, engine = utc_now(), bot.service.engine
    person = find_sender(bot, row["sender"])
    if person is None:  # forgotten meanwhile
        _note(engine, row, state="failed", last_error="the sender was forgotten")
        return True
    if person["wrote_at"] < now - WINDOW:
        _note(engine, row, state="parked", last_error="silent for a day")
        return True
    content = row["content"]
    try:
        picture = read_picture(bot.service, content["picture"]) if "picture" in content else None
        message_id = bot.api.send(
            person["address"],
            content["text"],
            reply_to=content.get("reply_to"),
            picture=picture,
            tracker=row["id"],
        )
    except WindowClosed as error:
        _note(engine, row, state="parked", last_error=str(error))
    except Refused as error:
        _note(engine, row, state="failed", last_error=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the message is not lost
        pause = BACK_OFF[min(row["attempts"], len(BACK_OFF)) - 1]
        later = now + timedelta(seconds=pause)
        _note(engine, row, next_at=later, last_error=f"{type(error).__name__}: {error}"[:300])
        return False
    else:
        _note(engine, row, state="sent", sent_at=now, message_id=message_id, last_error=None)
    return True


def _note(engine: Engine, row: Mapping[str, Any], **values: Any) -> None:
    with engine.begin() as connection:
        # Only if it is still this attempt's: a slow one must not undo what another found.
        same = (box.id == row["id"], box.attempts == row["attempts"], box.state == "pending")
        connection.execute(whatsapp_outbox.update().where(*same).values(**values))
    state = values.get("state", "pending")
    log.info("answer", message=row["id"], state=state, attempt=row["attempts"])


def note_delivered(engine: Engine, told: Delivered) -> None:
    """What Meta says about a message of ours.

    One whose answer to us was lost is known by its tracker, and is not sent twice.
    """
    ours = box.message_id == told.message_id
    if told.tracker is not None:
        ours = sa.or_(ours, box.id == told.tracker)
    if told.state != "failed":
        values: dict[str, Any] = {"state": "sent", "message_id": told.message_id}
        _change(engine, ours, box.state == "pending", **values)
        return
    open_ = box.state.in_(("pending", "sent"))
    error = f"Meta could not deliver it (error {told.error_code})"
    if told.error_code == REENGAGEMENT:
        _change(engine, ours, open_, state="parked", last_error=error)
    elif told.error_code in LASTING:
        _change(engine, ours, open_, state="failed", last_error=error)
    else:  # taken, and then not delivered: what may help is to send it again
        few = box.attempts <= len(BACK_OFF)
        _change(engine, ours, open_, ~few, state="failed", last_error=error)
        later = utc_now() + timedelta(seconds=BACK_OFF[-1])
        _change(engine, ours, open_, few, state="pending", next_at=later, last_error=error)


def _change(engine: Engine, *where: sa.ColumnElement[bool], **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(whatsapp_outbox.update().where(*where).values(**values))
