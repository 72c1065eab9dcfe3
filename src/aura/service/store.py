"""The jobs table: taking jobs in, reading them, cancelling and erasing them.

What workers do to a job is in `claims`; both change a job's state only through `moves`.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.service import artifacts
from aura.service.admission import Limits, check_limits, find_repeated, lock_owner, next_turn
from aura.service.database import reading
from aura.service.jobs import Event, Job, JobState, Move, Submission, utc_now
from aura.service.moves import (
    JOB_COLUMNS,
    JOB_SELECT,
    add_event,
    answer,
    change,
    find_cached,
    held_fast,
    queue_webhook,
    to_job,
)
from aura.service.tables import (
    detection_history,
    detection_jobs,
    job_artifacts,
    job_events,
    shared_links,
    webhook_deliveries,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Engine

    from aura.service.artifacts import Artifact
    from aura.service.reports import Sign

    Clock = Callable[[], datetime]

# What an erased job no longer has, besides its file name.
CONTENT = (
    "media_key",
    "media_sha256",
    "source_url",
    "cache_key",
    "callback_url",
    "idempotency_key",
    "request_hash",
    "report",
    "verdict",
    "error_message",
    "size_bytes",
    "duration",
)
# Tables whose rows about it go with it.
OF_A_JOB = (job_events, job_artifacts, detection_history, webhook_deliveries, shared_links)
MAX_ATTEMPTS = 3  # claims before a job that keeps losing its worker is dead


@dataclass(frozen=True)
class Filter:
    """Which of an owner's jobs to list."""

    states: tuple[JobState, ...] = ()
    verdict: str | None = None
    batch_id: str | None = None
    since: datetime | None = None
    text: str | None = None
    """Part of the file name, or the beginning of the bytes' SHA-256."""


def new_id() -> str:
    """An identifier that can't be guessed: 32 hexadecimal digits."""
    return uuid.uuid4().hex


class JobStore:
    """Takes jobs in and tells about them; safe to share between threads."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock = utc_now,
        max_attempts: int = MAX_ATTEMPTS,
        sign: Sign | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._sign = sign
        self._max_attempts = max_attempts

    def submit(
        self, wish: Submission, limits: Limits | None = None, *, will_ring: bool = False
    ) -> tuple[Job, bool]:
        """Queue a job, or answer it at once when the same bytes were analysed before.

        With `will_ring` the caller tells a worker of it, and the sweep needs not, or only later.

        Returns:
            The job, and whether it is new: False for a repeated Idempotency-Key.

        Raises:
            LimitReached: the owner has sent enough. IdempotencyConflict: another request under
            the same key.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            lock_owner(connection, wish.owner)
            if wish.idempotency_key is not None:
                earlier = find_repeated(connection, wish)
                if earlier is not None:
                    return earlier, False
            check_limits(connection, wish.owner, limits or Limits(), now)
            values = asdict(wish)
            values.update(values.pop("options"))
            row = connection.execute(
                detection_jobs.insert()
                .values(
                    **values,
                    state=JobState.QUEUED.value,
                    turn=next_turn(connection, wish),
                    attempt=0,
                    max_attempts=self._max_attempts,
                    percent=0.0,
                    last_event=1,
                    created_at=now,
                    queued_at=now,
                    rung_at=now if will_ring else None,
                )
                .returning(*JOB_COLUMNS)
            ).one()
            job = to_job(row)
            add_event(connection, job, JobState.QUEUED.value, {}, now)
            cached = find_cached(connection, wish.cache_key)
            if cached is not None:
                job = answer(connection, job, cached, now, self._sign)
            return job, True

    def check(self, owner: str, limits: Limits) -> None:
        """Raise LimitReached now rather than after an upload; `submit` looks again."""
        with reading(self.engine) as connection:
            check_limits(connection, owner, limits, self.clock())

    def get(self, job_id: str, owner: str | None = None) -> Job | None:
        """A job that is not erased; with `owner`, only that user's."""
        query = JOB_SELECT.where(*_visible(job_id, owner))
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        return to_job(row) if row else None

    def report(self, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
        """The report of a completed job, as JSON."""
        query = sa.select(detection_jobs.c.report).where(*_visible(job_id, owner))
        with reading(self.engine) as connection:
            report: dict[str, Any] | None = connection.execute(query).scalar_one_or_none()
        return report

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """What happened to a job since event number `after`, in order."""
        query = (
            sa.select(job_events)
            .where(job_events.c.job_id == job_id, job_events.c.number > after)
            .order_by(job_events.c.number)
        )
        with reading(self.engine) as connection:
            return [Event(**row._mapping) for row in connection.execute(query)]

    def list(
        self,
        owner: str,
        *,
        wanted: Filter | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Job]:
        """An owner's jobs, newest first; `before` is the id of the last one already seen."""
        wanted = wanted or Filter()
        jobs = detection_jobs.c
        query = JOB_SELECT.where(jobs.owner == owner, jobs.erased_at.is_(None))
        if wanted.states:
            query = query.where(jobs.state.in_([state.value for state in wanted.states]))
        if wanted.verdict:
            query = query.where(jobs.verdict == wanted.verdict)
        if wanted.batch_id:
            query = query.where(jobs.batch_id == wanted.batch_id)
        if wanted.since:
            query = query.where(jobs.created_at >= wanted.since)
        if wanted.text:
            named = jobs.filename.icontains(wanted.text, autoescape=True)
            hashed = jobs.media_sha256.startswith(wanted.text.lower(), autoescape=True)
            query = query.where(sa.or_(named, hashed))
        if before is not None:
            # An erased job still tells where the page ended; a stranger's tells nothing.
            last = sa.select(jobs.created_at).where(jobs.id == before, jobs.owner == owner)
            time = last.scalar_subquery()
            query = query.where(
                sa.or_(jobs.created_at < time, sa.and_(jobs.created_at == time, jobs.id < before))
            )
        query = query.order_by(jobs.created_at.desc(), jobs.id.desc()).limit(limit)
        with reading(self.engine) as connection:
            return [to_job(row) for row in connection.execute(query)]

    def cancel(self, job_id: str, owner: str | None = None) -> Job | None:
        """Cancel a job that is queued or running; at once, a worker on it finds its claim lost.

        None: no such job, or it is finished.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            job = change(connection, Move.CANCEL, _visible(job_id, owner), at=now)
            if job is not None:
                queue_webhook(connection, job, None, now)
            return job

    def requeue(self, job_id: str, owner: str | None = None) -> Job | None:
        """Give a failed or dead job whose bytes are still there a new set of attempts."""
        now, jobs = self.clock(), detection_jobs.c
        there = sa.or_(jobs.media_key.is_not(None), jobs.source_url.is_not(None))
        with self.engine.begin() as connection:
            return change(
                connection,
                Move.REQUEUE,
                [*_visible(job_id, owner), there],
                at=now,
                max_attempts=jobs.attempt + self._max_attempts,
                queued_at=now,
                finished_at=None,
                rung_at=None,
                error_kind=None,
                error_message=None,
                stage=None,
                percent=0.0,
            )

    def erase(self, job_id: str, owner: str | None = None) -> Job | None:
        """Forget a job's content; returns it as it was, so that its media can be deleted too.

        What stays is an empty row that counts for the daily limit and that nobody can ask for.
        """
        now, jobs = self.clock(), detection_jobs.c
        with self.engine.begin() as connection:
            change(connection, Move.CANCEL, _visible(job_id, owner), at=now)
            row = connection.execute(
                JOB_SELECT.where(*_visible(job_id, owner)).with_for_update()
            ).one_or_none()
            if row is None:
                return None
            connection.execute(
                detection_jobs.update()
                .where(jobs.id == job_id)
                .values(
                    erased_at=now,
                    filename="",
                    **dict.fromkeys(CONTENT),
                )
            )
            for table in OF_A_JOB:
                connection.execute(table.delete().where(table.c.job_id == job_id))
            return to_job(row)

    def attach(self, job_id: str, found: Artifact) -> bool:
        """Add a file to a finished job; False: the job is erased, or has one of this name."""
        try:
            with self.engine.begin() as connection:
                there = held_fast(connection, job_id)
                artifacts.add(connection, job_id, [found] if there else [])
        except sa.exc.IntegrityError:
            return False
        return there

    def media_forgotten(self, job_id: str, media_key: str) -> None:
        """Note that the bytes under `media_key` were deleted."""
        with self.engine.begin() as connection:
            connection.execute(
                detection_jobs.update()
                .where(detection_jobs.c.id == job_id, detection_jobs.c.media_key == media_key)
                .values(media_key=None)
            )


def _visible(job_id: str, owner: str | None) -> list[sa.ColumnElement[bool]]:
    jobs = detection_jobs.c
    conditions: list[sa.ColumnElement[bool]] = [jobs.id == job_id, jobs.erased_at.is_(None)]
    if owner is not None:
        conditions.append(jobs.owner == owner)
    return conditions
