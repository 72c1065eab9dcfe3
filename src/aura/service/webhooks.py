"""Sends what is in the outbox, signed as Standard Webhooks (www.standardwebhooks.com) say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.errors import AuraError
from aura.service.database import reading
from aura.service.due import claim_due
from aura.service.fetching import guarded_client
from aura.service.jobs import utc_now
from aura.service.logs import get_logger
from aura.service.tables import webhook_deliveries, webhook_secrets

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Engine

    from aura.service.context import Service

log = get_logger("webhooks")

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)  # how long a rotated secret signs along with the new one
# Seconds after a failed attempt before the next; after the last one it is given up.
BACK_OFF = (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
GONE = 410  # the receiver wants no more: nothing is sent to that address until a replay
MAX_ANSWER = 64 * 1024
CLAIM_SECONDS = 120  # a delivery whose sender is silent for so long is sent by another
ROUND = 50  # deliveries a round

box = webhook_deliveries.c


def sign(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """A signature of version 1.

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
    ...      '{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def secrets_of(connection: Connection, owner: str, now: datetime) -> list[str]:
    """The secrets that sign an owner's webhooks now, newest first; one is made if there is none."""
    column = webhook_secrets.c
    valid = sa.or_(column.expires_at.is_(None), column.expires_at > now)
    rows = connection.execute(
        sa.select(column.secret)
        .where(column.owner == owner, valid)
        .order_by(column.created_at.desc())
    ).scalars()
    return list(rows) or [_make_secret(connection, owner, now)]


def rotate_secret(engine: Engine, owner: str) -> str:
    """Make a new secret; the one before it signs along for a day, older ones no more."""
    now, column = utc_now(), webhook_secrets.c
    with engine.begin() as connection:
        connection.execute(
            webhook_secrets.delete().where(column.owner == owner, column.expires_at.is_not(None))
        )
        connection.execute(
            webhook_secrets.update().where(column.owner == owner).values(expires_at=now + OVERLAP)
        )
        return _make_secret(connection, owner, now)


def _make_secret(connection: Connection, owner: str, now: datetime) -> str:
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    connection.execute(
        webhook_secrets.insert().values(owner=owner, created_at=now, secret=secret, expires_at=None)
    )
    return secret


def deliver_due(service: Service, stop: threading.Event | None = None) -> int:
    """Send what is due; returns how many were tried."""
    for count in range(ROUND):
        if stop is not None and stop.is_set():
            return count
        delivery = claim_due(service.engine, webhook_deliveries, "pending", seconds=CLAIM_SECONDS)
        if delivery is None:
            return count
        _send(service, delivery)
    return ROUND


def _send(service: Service, delivery: dict[str, Any]) -> None:
    now = utc_now()
    with service.engine.begin() as connection:
        keys = secrets_of(connection, delivery["owner"], now)
    timestamp, body = int(now.timestamp()), delivery["body"]
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery["id"],
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(key, delivery["id"], timestamp, body) for key in keys),
    }
    status, problem = None, None
    try:
        with guarded_client(service).ask(
            "POST",
            delivery["url"],
            headers=headers,
            content=body.encode(),
            seconds=service.settings.callback_seconds,
            max_bytes=MAX_ANSWER,
            redirects=0,
        ) as answer:
            status = answer.status
    except AuraError as error:
        problem = str(error)
    _note(service.engine, delivery, status, problem)


def _note(
    engine: Engine, delivery: dict[str, Any], status: int | None, problem: str | None
) -> None:
    now, attempts = utc_now(), delivery["attempts"]
    values: dict[str, Any] = {"last_status": status, "last_error": problem}
    if status is not None and status // 100 == 2:
        values |= {"state": "delivered", "delivered_at": now}
    elif status == GONE:
        values["state"] = "disabled"
    elif attempts > len(BACK_OFF):
        values["state"] = "failed"
    else:
        values["next_at"] = now + timedelta(seconds=BACK_OFF[attempts - 1])
    with engine.begin() as connection:
        # Only if it is still this attempt's: a slow one must not undo what another found.
        same = (box.id == delivery["id"], box.attempts == attempts)
        connection.execute(webhook_deliveries.update().where(*same).values(**values))
        if status == GONE:
            waiting = (box.owner == delivery["owner"], box.url == delivery["url"])
            connection.execute(
                webhook_deliveries.update()
                .where(*waiting, box.state == "pending")
                .values(state="disabled")
            )
    log.info(
        "webhook",
        job_id=delivery["job_id"],
        delivery=delivery["id"],
        status=status,
        attempt=attempts,
        state=values.get("state", "pending"),
    )


def deliveries_of(engine: Engine, owner: str, job_id: str) -> Sequence[dict[str, Any]]:
    """The deliveries of a job, oldest first."""
    query = (
        sa.select(webhook_deliveries)
        .where(box.owner == owner, box.job_id == job_id)
        .order_by(box.created_at)
    )
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def replay(engine: Engine, owner: str, delivery_id: str) -> bool:
    """Send a delivery again from the beginning, under the same id; its address works again."""
    now = utc_now()
    with engine.begin() as connection:
        row = connection.execute(
            webhook_deliveries.update()
            .where(box.id == delivery_id, box.owner == owner)
            .values(state="pending", attempts=0, next_at=now)
            .returning(box.url)
        ).one_or_none()
        if row is None:
            return False
        connection.execute(
            webhook_deliveries.update()
            .where(box.owner == owner, box.url == row.url, box.state == "disabled")
            .values(state="failed")
        )
        return True
