"""Links that show one result to whoever has them, for a while and until they are taken back.

The address holds 256 random bits; the table only their hash, so a link is shown once and never
again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from aura.service.database import reading
from aura.service.jobs import utc_now
from aura.service.store import new_id
from aura.service.tables import shared_links

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

TOKEN_BYTES = 32
FORM = re.compile(r"[A-Za-z0-9_-]{43}")
DAYS = (1, 7, 30)  # that a link may work


@dataclass(frozen=True)
class SharedLink:
    """A link as the table knows it, without what its address holds."""

    id: str
    job_id: str
    owner: str
    created_at: datetime
    expires_at: datetime


COLUMNS = tuple(shared_links.c[name] for name in SharedLink.__dataclass_fields__)


def share(engine: Engine, job_id: str, owner: str, days: int) -> tuple[str, SharedLink]:
    """Make a link to a job; returns its secret part, which is not kept, and the link."""
    token, now = secrets.token_urlsafe(TOKEN_BYTES), utc_now()
    link = SharedLink(new_id(), job_id, owner, now, now + timedelta(days=days))
    with engine.begin() as connection:
        connection.execute(shared_links.insert().values(**link.__dict__, token_sha256=_hash(token)))
    return token, link


def links_of(engine: Engine, job_id: str, owner: str) -> list[SharedLink]:
    """Links to a job that still work, oldest first."""
    links = shared_links.c
    query = (
        sa.select(*COLUMNS)
        .where(links.job_id == job_id, links.owner == owner, links.expires_at > utc_now())
        .order_by(links.created_at)
    )
    with reading(engine) as connection:
        return [SharedLink(**row._mapping) for row in connection.execute(query)]


def find_shared(engine: Engine, token: str) -> SharedLink | None:
    """The link with this secret part, if it works."""
    if FORM.fullmatch(token) is None:
        return None
    links = shared_links.c
    query = sa.select(*COLUMNS).where(
        links.token_sha256 == _hash(token), links.expires_at > utc_now()
    )
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else SharedLink(**row._mapping)


def unshare(engine: Engine, link_id: str, owner: str) -> bool:
    """Take a link back; False: there is none of this user."""
    links = shared_links.c
    with engine.begin() as connection:
        gone = connection.execute(
            shared_links.delete().where(links.id == link_id, links.owner == owner)
        )
        return gone.rowcount == 1


def forget_expired(engine: Engine, now: datetime) -> None:
    """Delete links that don't work any more."""
    with engine.begin() as connection:
        connection.execute(shared_links.delete().where(shared_links.c.expires_at <= now))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
