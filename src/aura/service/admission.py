"""Who may submit how much, and which place in the queue a submission gets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.errors import AuraError
from aura.service.jobs import ACTIVE, Job, JobState, Submission
from aura.service.moves import JOB_SELECT, to_job
from aura.service.tables import detection_jobs

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

DAY = timedelta(days=1)


class LimitReached(AuraError):
    """This user has sent enough for now; `retry_after` is a time from now in seconds."""

    kind = "limit_reached"

    def __init__(self, message: str, retry_after: float, owner: str = "") -> None:
        super().__init__(message)
        self.owner = owner
        self.retry_after = retry_after


class IdempotencyConflict(AuraError):
    """The Idempotency-Key was used before with another request."""

    kind = "idempotency_conflict"


@dataclass(frozen=True)
class Limits:
    """What one user may send; None: without limit."""

    daily: int | None = None
    concurrent: int | None = None  # jobs queued or running at once
    burst: int | None = None  # submissions within `burst_seconds`
    burst_seconds: float = 60.0


def lock_owner(connection: Connection, owner: str) -> None:
    """One submission a user at a time, so that limits and turns are counted right.

    On SQLite every writer has the whole database to itself anyway.
    """
    if connection.dialect.name == "postgresql":
        number = sa.func.hashtextextended(owner, 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def find_repeated(connection: Connection, wish: Submission) -> Job | None:
    """The job that this Idempotency-Key made before, if any."""
    jobs = detection_jobs.c
    row = connection.execute(
        JOB_SELECT.where(jobs.owner == wish.owner, jobs.idempotency_key == wish.idempotency_key)
    ).one_or_none()
    if row is None:
        return None
    job = to_job(row)
    if job.request_hash != wish.request_hash:
        raise IdempotencyConflict(
            "this Idempotency-Key was used for another request; use a new one for each request"
        )
    return job


def check_limits(connection: Connection, owner: str, limits: Limits, now: datetime) -> None:
    """Raise LimitReached where the owner has sent enough."""
    jobs = detection_jobs.c

    def count(*conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).where(jobs.owner == owner, *conditions)
        return int(connection.execute(query).scalar_one())

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if limits.burst is not None:
        recent = count(jobs.created_at > now - timedelta(seconds=limits.burst_seconds))
        if recent >= limits.burst:
            raise LimitReached(
                f"{limits.burst} submissions within {limits.burst_seconds:g} s are allowed; "
                "send them more slowly",
                limits.burst_seconds,
                owner,
            )
    if limits.daily is not None and count(jobs.created_at >= midnight) >= limits.daily:
        raise LimitReached(
            f"{limits.daily} submissions a day are allowed; the next day begins at 00:00 UTC",
            (midnight + DAY - now).total_seconds(),
            owner,
        )
    if limits.concurrent is not None:
        active = count(jobs.state.in_([state.value for state in ACTIVE]))
        if active >= limits.concurrent:
            raise LimitReached(
                f"{limits.concurrent} unfinished jobs at once are allowed; wait for one to end",
                10.0,
                owner,
            )


def next_turn(connection: Connection, wish: Submission) -> int:
    """The place in the queue: users take turns, and a priority only reorders a user's own jobs.

    Start-time fair queueing: a user's first job joins at the turn that is being served, each
    further one a turn later, so nobody waits for more than one job of each other user.
    """
    jobs = detection_jobs.c
    queued = jobs.state == JobState.QUEUED.value

    def find(what: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]) -> int | None:
        found: int | None = connection.execute(sa.select(what).where(*conditions)).scalar_one()
        return found

    lower = (jobs.owner == wish.owner, queued, jobs.priority < wish.priority)
    first_lower = find(sa.func.min(jobs.turn), *lower)
    if first_lower is not None:
        connection.execute(detection_jobs.update().where(*lower).values(turn=jobs.turn + 1))
        return first_lower
    served = find(sa.func.max(jobs.turn), jobs.state == JobState.RUNNING.value)
    if served is None:
        served = find(sa.func.min(jobs.turn), queued)
    own = find(sa.func.max(jobs.turn), jobs.owner == wish.owner, queued)
    return max(served or 0, 0 if own is None else own + 1)
