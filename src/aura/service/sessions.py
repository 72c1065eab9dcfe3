"""Browsers that signed in with a key: a cookie holds a random token, the table only its hash.

Signing out, revoking the key, and time end a session.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from aura.service.database import reading
from aura.service.jobs import utc_now
from aura.service.keys import Key, key_of_id
from aura.service.tables import web_sessions

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Engine

COOKIE = "aura_session"
TOKEN_BYTES = 32
FORM = re.compile(r"[A-Za-z0-9_-]{43}")
LASTS = timedelta(days=7)


def open_session(engine: Engine, key: Key) -> str:
    """Begin a session of this key's user; returns the token for the cookie."""
    token, now = secrets.token_urlsafe(TOKEN_BYTES), utc_now()
    with engine.begin() as connection:
        connection.execute(
            web_sessions.insert().values(
                token_sha256=_hash(token), key_id=key.id, created_at=now, expires_at=now + LASTS
            )
        )
    return token


def session_key(engine: Engine, token: str) -> Key | None:
    """The key that a session was opened with, as long as both are good."""
    if FORM.fullmatch(token) is None:
        return None
    sessions = web_sessions.c
    query = sa.select(sessions.key_id).where(
        sessions.token_sha256 == _hash(token), sessions.expires_at > utc_now()
    )
    with reading(engine) as connection:
        key_id = connection.execute(query).scalar_one_or_none()
    return None if key_id is None else key_of_id(engine, key_id)


def close_session(engine: Engine, token: str) -> None:
    """End a session."""
    with engine.begin() as connection:
        connection.execute(web_sessions.delete().where(web_sessions.c.token_sha256 == _hash(token)))


def forget_expired(engine: Engine, now: datetime) -> None:
    """Delete sessions that nobody can use any more."""
    with engine.begin() as connection:
        connection.execute(web_sessions.delete().where(web_sessions.c.expires_at <= now))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
