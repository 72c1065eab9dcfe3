"""API keys: who somebody is and what they may do. Only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.errors import UsageError
from aura.service.database import reading
from aura.service.jobs import utc_now
from aura.service.tables import api_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine, Row

SCOPES = ("read", "submit", "erase")
ID_BYTES = 6
# 256 random bits can't be guessed, so a fast hash without salt is enough (unlike for passwords).
SECRET_BYTES = 32
FORM = re.compile(r"aura_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
NOBODY = hashlib.sha256(b"").hexdigest()
USED_EVERY = timedelta(minutes=1)  # how exactly the time of the last use is kept


@dataclass(frozen=True)
class Key:
    """A key as the table knows it, without anything that lets somebody in."""

    id: str
    owner: str
    scopes: tuple[str, ...]
    daily_limit: int | None
    concurrent_limit: int | None
    note: str | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def create_key(
    engine: Engine,
    owner: str,
    *,
    scopes: Sequence[str] | None = None,
    daily_limit: int | None = None,
    concurrent_limit: int | None = None,
    note: str | None = None,
) -> tuple[str, Key]:
    """Make a key; its text is returned here and never again.

    Raises:
        UsageError: no such scope, or a name that is none.
    """
    wrong = set(scopes or ()) - set(SCOPES)
    if wrong:
        raise UsageError(f"--scope {sorted(wrong)[0]}: choose from {', '.join(SCOPES)}")
    if not re.fullmatch(r"[\w.@+-]{1,200}", owner):
        raise UsageError(f"{owner!r} is no user name; use letters, digits, and . @ + - _")
    key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    with engine.begin() as connection:
        row = connection.execute(
            api_keys.insert()
            .values(
                id=key_id,
                owner=owner,
                secret_sha256=_hash(secret),
                scopes=list(scopes or SCOPES),
                daily_limit=daily_limit,
                concurrent_limit=concurrent_limit,
                note=note,
                created_at=utc_now(),
            )
            .returning(api_keys)
        ).one()
    return f"aura_{key_id}_{secret}", _to_key(row)


def find_key(engine: Engine, text: str) -> Key | None:
    """The key with this text, if there is one that was not revoked."""
    form = FORM.fullmatch(text)
    if form is None:
        return None
    query = sa.select(api_keys).where(api_keys.c.id == form[1])
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    # Compared in any case, so that the time taken does not tell which ids exist.
    matches = hmac.compare_digest(_hash(form[2]), NOBODY if row is None else row.secret_sha256)
    if row is None or not matches or row.revoked_at is not None:
        return None
    key, now = _to_key(row), utc_now()
    if key.last_used_at is None or now - key.last_used_at > USED_EVERY:
        with engine.begin() as connection:
            connection.execute(
                api_keys.update().where(api_keys.c.id == key.id).values(last_used_at=now)
            )
    return key


def key_of_id(engine: Engine, key_id: str) -> Key | None:
    """The key with this id, if there is one that was not revoked."""
    query = sa.select(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _to_key(row)


def revoke_key(engine: Engine, key_id: str) -> bool:
    """Make a key worthless; False: there is none that was worth anything."""
    column = api_keys.c
    with engine.begin() as connection:
        changed = connection.execute(
            api_keys.update()
            .where(column.id == key_id, column.revoked_at.is_(None))
            .values(revoked_at=utc_now())
        )
        return changed.rowcount == 1


def all_keys(engine: Engine) -> list[Key]:
    """Every key, oldest first."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at))
        return [_to_key(row) for row in rows]


def any_key(engine: Engine) -> bool:
    """Whether anybody could come in."""
    query = sa.select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)
    with reading(engine) as connection:
        return connection.execute(query).first() is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_key(row: Row[Any]) -> Key:
    values = {name: value for name, value in row._mapping.items() if name != "secret_sha256"}
    return Key(**{**values, "scopes": tuple(values["scopes"])})
