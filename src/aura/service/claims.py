"""What workers and the sweeper do to jobs: claim, tell progress, finish, take over, give up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.service import artifacts
from aura.service.database import reading
from aura.service.jobs import FINAL, Error, Job, JobState, Move, utc_now
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
from aura.service.reports import history_row, personal
from aura.service.tables import detection_history, detection_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection, Engine

    from aura.service.artifacts import Artifact
    from aura.service.reports import Sign
    from aura.service.store import Clock

LEASE = timedelta(seconds=30)  # a worker that is silent for so long has lost its job
HEARTBEATS_A_LEASE = 5  # so that a few late ones in a row do no harm
RING_AGAIN = timedelta(seconds=60)  # a queued job whose bell nobody answered is rung for again
SWEEP_BATCH = 500
CLAIM_TRIES = 20

GAVE_UP = Error("worker_lost", "the worker was lost {attempts} times while it was at this job")


@dataclass(frozen=True)
class Swept:
    """What a sweep changed."""

    requeued: tuple[Job, ...] = ()
    buried: tuple[Job, ...] = ()


class Claims:
    """A worker's hold on jobs. All clocks of a fleet must agree to a few seconds (NTP)."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock = utc_now,
        lease: timedelta = LEASE,
        sign: Sign | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.lease = lease
        self._sign = sign

    def claim(self, worker: str, job_id: str | None = None) -> Job | None:
        """Take the next job in the queue's order, or the named one; None: nothing to take.

        One statement: no two workers get the same job. Bytes that somebody is at now are left
        alone, so that their report can be used.
        """
        for _ in range(CLAIM_TRIES):
            try:
                with self.engine.begin() as connection:
                    return self._claim(connection, worker, job_id)
            except sa.exc.IntegrityError:
                # Another worker took a job with the same bytes this instant: look again.
                continue
        return None

    def _claim(self, connection: Connection, worker: str, job_id: str | None) -> Job | None:
        jobs, now = detection_jobs.c, self.clock()
        twin = detection_jobs.alias("twin")
        at_work = sa.exists().where(
            twin.c.cache_key == jobs.cache_key, twin.c.state == JobState.RUNNING.value
        )
        query = sa.select(jobs.id).where(jobs.state == JobState.QUEUED.value, ~at_work)
        if job_id is not None:
            query = query.where(jobs.id == job_id)
        query = query.order_by(jobs.turn, jobs.created_at, jobs.id).limit(1)
        chosen = query.with_for_update(skip_locked=True, of=detection_jobs).scalar_subquery()
        return change(
            connection,
            Move.CLAIM,
            [jobs.id == chosen],
            at=now,
            attempt=jobs.attempt + 1,
            lease_until=now + self.lease,
            worker=worker,
            started_at=now,
            stage=None,
            percent=0.0,
        )

    def heartbeat(self, job: Job) -> bool:
        """Hold on to a job for another lease; False: it is no longer ours."""
        with self.engine.begin() as connection:
            changed = connection.execute(
                detection_jobs.update()
                .where(*_held(job))
                .values(lease_until=self.clock() + self.lease)
            )
            return changed.rowcount == 1

    def progress(self, job: Job, stage: str, percent: float) -> bool:
        """Write down how far the analysis is, as an event; False: the job is no longer ours."""
        now = self.clock()
        with self.engine.begin() as connection:
            row = connection.execute(
                detection_jobs.update()
                .where(*_held(job))
                .values(
                    stage=stage,
                    percent=percent,
                    lease_until=now + self.lease,
                    last_event=detection_jobs.c.last_event + 1,
                )
                .returning(*JOB_COLUMNS)
            ).one_or_none()
            if row is None:
                return False
            add_event(
                connection, to_job(row), "progress", {"stage": stage, "percent": percent}, now
            )
            return True

    def note(self, job: Job, kind: str, data: Mapping[str, Any]) -> bool:
        """Write down an event that changes nothing."""
        with self.engine.begin() as connection:
            row = connection.execute(
                detection_jobs.update()
                .where(*_held(job))
                .values(last_event=detection_jobs.c.last_event + 1)
                .returning(*JOB_COLUMNS)
            ).one_or_none()
            if row is not None:
                add_event(connection, to_job(row), kind, data, self.clock())
            return row is not None

    def attach_media(self, job: Job, facts: Mapping[str, Any]) -> bool:
        """Write down what was fetched for a job with a `source_url`.

        False: the job is no longer ours, or another worker is at the same bytes now; then it went
        back into the queue, to be answered with that one's report.
        """
        try:
            with self.engine.begin() as connection:
                changed = connection.execute(
                    detection_jobs.update().where(*_held(job)).values(**facts)
                )
                return changed.rowcount == 1
        except sa.exc.IntegrityError:
            self.release(job, "twin", counts=False, **facts)
            return False

    def cached(self, cache_key: str | None) -> Mapping[str, Any] | None:
        """A report that was made from the same bytes meanwhile."""
        with reading(self.engine) as connection:
            row = find_cached(connection, cache_key)
        return None if row is None else {"id": row.id, "report": row.report}

    def complete(
        self,
        job: Job,
        report: Mapping[str, Any],
        stage_seconds: Mapping[str, float] | None = None,
        cached_from: str | None = None,
        drawn: Sequence[Artifact] = (),
    ) -> Job | None:
        """Finish with a report; None: the job is no longer ours and nothing was changed.

        State, report, files, history, webhook and the answers to jobs that wait with the same
        bytes are one transaction. Where the job that the report is from was erased meanwhile, this
        one goes back into the queue: its pictures are gone.
        """
        now = self.clock()
        kept = personal(report, job, self._sign)
        verdict = report["prediction"]["overall_class"]
        with self.engine.begin() as connection:
            if cached_from is not None and not held_fast(connection, cached_from):
                return self._release(connection, job, "source_erased", counts=False)
            done = change(
                connection,
                Move.COMPLETE,
                _held(job),
                at=now,
                data={"verdict": verdict, "cached": cached_from is not None},
                report=kept,
                verdict=verdict,
                percent=100.0,
                cached_from=cached_from,
            )
            if done is None:
                return None
            artifacts.add(connection, done.id, drawn)
            if cached_from is not None:
                artifacts.share(connection, cached_from, done.id)
            row = history_row(done, kept, stage_seconds or {}, now)
            connection.execute(detection_history.insert().values(row))
            queue_webhook(connection, done, kept, now)
            _answer_twins(connection, done, now, self._sign)
            return done

    def fail(self, job: Job, error: Error) -> Job | None:
        """Finish without a report; None: the job is no longer ours."""
        return self._end(job, Move.FAIL, error)

    def bury(self, job: Job, error: Error) -> Job | None:
        """Give a job up: something is wrong with us rather than with its bytes."""
        return self._end(job, Move.BURY, error)

    def _end(self, job: Job, move: Move, error: Error) -> Job | None:
        now = self.clock()
        with self.engine.begin() as connection:
            done = change(
                connection,
                move,
                _held(job),
                at=now,
                data={"kind": error.kind, "message": error.message},
                error_kind=error.kind,
                error_message=error.message,
            )
            if done is not None:
                queue_webhook(connection, done, None, now)
                # Whoever waited for this report has to be rung for again.
                twins = detection_jobs.c.cache_key == done.cache_key
                queued = detection_jobs.c.state == JobState.QUEUED.value
                connection.execute(
                    detection_jobs.update().where(twins, queued).values(rung_at=None)
                )
            return done

    def release(self, job: Job, reason: str, *, counts: bool = True, **values: Any) -> Job | None:
        """Put a job back into the queue; with `counts=False` this attempt was not its fault."""
        with self.engine.begin() as connection:
            return self._release(connection, job, reason, counts=counts, **values)

    def _release(
        self, connection: Connection, job: Job, reason: str, *, counts: bool, **values: Any
    ) -> Job | None:
        if not counts:
            values["max_attempts"] = detection_jobs.c.max_attempts + 1
        return change(
            connection,
            Move.RELEASE,
            _held(job),
            at=self.clock(),
            data={"reason": reason, "attempt": job.attempt},
            stage=None,
            percent=0.0,
            rung_at=None,
            **values,
        )

    def sweep(self) -> Swept:
        """Take jobs from workers that went silent: back into the queue, or dead at the last try.

        Any number of processes may sweep at once: each change is conditional.
        """
        now, jobs = self.clock(), detection_jobs.c
        expired = (jobs.state == JobState.RUNNING.value, jobs.lease_until < now)
        with reading(self.engine) as connection:
            query = JOB_SELECT.where(*expired).limit(SWEEP_BATCH)
            lost = [to_job(row) for row in connection.execute(query)]
        requeued: list[Job] = []
        buried: list[Job] = []
        for job in lost:
            error = Error(GAVE_UP.kind, GAVE_UP.message.format(attempts=job.attempt))
            with self.engine.begin() as connection:
                last = job.attempt >= job.max_attempts
                where = [*_held(job), jobs.lease_until < now]
                data = {"reason": "worker_lost", "attempt": job.attempt}
                if last:
                    data = {"kind": error.kind, "message": error.message}
                    values = {"error_kind": error.kind, "error_message": error.message}
                    done = change(connection, Move.BURY, where, at=now, data=data, **values)
                else:
                    clean: dict[str, Any] = {"stage": None, "percent": 0.0, "rung_at": None}
                    done = change(connection, Move.RELEASE, where, at=now, data=data, **clean)
                if done is None:
                    continue
                if last:
                    queue_webhook(connection, done, None, now)
            (buried if last else requeued).append(done)
        return Swept(tuple(requeued), tuple(buried))

    def take_unrung(self, again: timedelta = RING_AGAIN) -> Sequence[str]:
        """Queued jobs for which no bell was rung, or none lately; from now on one was."""
        now, jobs = self.clock(), detection_jobs.c
        due = sa.or_(jobs.rung_at.is_(None), jobs.rung_at < now - again)
        queued = jobs.state == JobState.QUEUED.value
        chosen = sa.select(jobs.id).where(queued, due).order_by(jobs.turn).limit(SWEEP_BATCH)
        with self.engine.begin() as connection:
            rows = connection.execute(
                detection_jobs.update()
                .where(jobs.id.in_(chosen.with_for_update(skip_locked=True).scalar_subquery()))
                .values(rung_at=now)
                .returning(jobs.id)
            )
            return [row.id for row in rows]

    def unring(self, job_ids: Sequence[str]) -> None:
        """The bell did not work: nobody was told of these jobs."""
        jobs = detection_jobs.c
        with self.engine.begin() as connection:
            connection.execute(
                detection_jobs.update().where(jobs.id.in_(job_ids)).values(rung_at=None)
            )

    def with_leftover_media(self, finished_before: datetime) -> list[Job]:
        """Finished jobs that still hold bytes: not kept on request, or kept long enough.

        A dead job's bytes stay as long as kept ones, so that it can be requeued.
        """
        jobs = detection_jobs.c
        final = jobs.state.in_([state.value for state in FINAL])
        unkept = sa.and_(~jobs.keep_media, jobs.state != JobState.DEAD.value)
        query = JOB_SELECT.where(
            final,
            jobs.media_key.is_not(None),
            sa.or_(unkept, jobs.finished_at < finished_before),
        ).limit(SWEEP_BATCH)
        with reading(self.engine) as connection:
            return [to_job(row) for row in connection.execute(query)]

    def finished_before(self, time: datetime) -> list[Job]:
        """Jobs whose results were kept long enough."""
        jobs = detection_jobs.c
        query = JOB_SELECT.where(jobs.finished_at < time, jobs.erased_at.is_(None)).limit(
            SWEEP_BATCH
        )
        with reading(self.engine) as connection:
            return [to_job(row) for row in connection.execute(query)]


def _held(job: Job) -> list[sa.ColumnElement[bool]]:
    """The row, as long as the claim that `job` stands for is the latest one."""
    jobs = detection_jobs.c
    return [
        jobs.id == job.id,
        jobs.attempt == job.attempt,
        jobs.state == JobState.RUNNING.value,
    ]


def _answer_twins(connection: Connection, done: Job, at: datetime, sign: Sign | None) -> None:
    """Answer the jobs that wait in the queue with the same bytes."""
    if done.cache_key is None or done.cached_from is not None:
        return
    jobs = detection_jobs.c
    waiting = JOB_SELECT.where(
        jobs.cache_key == done.cache_key, jobs.state == JobState.QUEUED.value
    ).with_for_update(skip_locked=True)
    twins = [to_job(row) for row in connection.execute(waiting)]
    cached = find_cached(connection, done.cache_key) if twins else None
    if cached is not None:
        for twin in twins:
            answer(connection, twin, cached, at, sign)
