"""Every change of a job's state, each one conditional UPDATE that also numbers the event.

So events have no gaps and no doubles, and a change that comes too late changes nothing.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.service import artifacts, outbox
from aura.service.jobs import ACTIVE, MOVES, Job, JobState, Move
from aura.service.reports import history_row, personal
from aura.service.tables import detection_history, detection_jobs, job_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection, Row

    from aura.service.reports import Sign

JOB_COLUMNS = tuple(detection_jobs.c[field.name] for field in fields(Job))
JOB_SELECT = sa.select(*JOB_COLUMNS)  # made once: many columns take longer to name than to read


def to_job(row: Row[Any]) -> Job:
    """A row with at least `JOB_COLUMNS` as a job."""
    values = {column.name: row._mapping[column.name] for column in JOB_COLUMNS}
    return Job(**{**values, "state": JobState(values["state"])})


def add_event(
    connection: Connection, job: Job, kind: str, data: Mapping[str, Any], at: datetime
) -> None:
    """Write down the event that `job.last_event` was just counted up for."""
    connection.execute(
        job_events.insert().values(
            job_id=job.id, number=job.last_event, at=at, kind=kind, data=dict(data)
        )
    )


def change(
    connection: Connection,
    move: Move,
    where: Sequence[sa.ColumnElement[bool]],
    *,
    at: datetime,
    event: str | None = None,
    data: Mapping[str, Any] | None = None,
    **values: Any,
) -> Job | None:
    """Make one move of the job that `where` finds, if it stands where the move begins.

    The only place where a job's state is written. None: there is no such job, or not any more.
    """
    sources, target = MOVES[move]
    if target not in ACTIVE:
        values = {"finished_at": at, **values}
    if target is not JobState.RUNNING:
        values = {"lease_until": None, "worker": None, **values}
    row = connection.execute(
        detection_jobs.update()
        .where(detection_jobs.c.state.in_(sorted(sources)), *where)
        .values(state=target.value, last_event=detection_jobs.c.last_event + 1, **values)
        .returning(*JOB_COLUMNS)
    ).one_or_none()
    if row is None:
        return None
    job = to_job(row)
    add_event(connection, job, event or target.value, data or {}, at)
    return job


def answer(
    connection: Connection,
    job: Job,
    cached: Row[Any, Any, Any],
    at: datetime,
    sign: Sign | None = None,
) -> Job:
    """Complete a queued job with the report that another job made from the same bytes."""
    report = personal(cached.report, job, sign)
    done = change(
        connection,
        Move.ANSWER,
        [detection_jobs.c.id == job.id],
        at=at,
        data={"verdict": cached.verdict, "cached": True},
        report=report,
        verdict=cached.verdict,
        cached_from=cached.id,
        percent=100.0,
    )
    if done is None:
        return job
    artifacts.share(connection, cached.id, done.id)
    connection.execute(detection_history.insert().values(history_row(done, report, {}, at)))
    queue_webhook(connection, done, report, at)
    return done


def find_cached(connection: Connection, cache_key: str | None) -> Row[Any, Any, Any] | None:
    """Id, verdict and report of a completed analysis of the same bytes with the same options."""
    if cache_key is None:
        return None
    jobs = detection_jobs.c
    return connection.execute(
        sa.select(jobs.id, jobs.verdict, jobs.report)
        .where(
            jobs.cache_key == cache_key,
            jobs.state == JobState.COMPLETED.value,
            jobs.erased_at.is_(None),
        )
        .order_by(jobs.finished_at)
        .limit(1)
        # In a transaction that answers with it: it can't be erased before that is done.
        .with_for_update(read=True)
    ).one_or_none()


def held_fast(connection: Connection, job_id: str) -> bool:
    """Keep a job from being erased until this transaction ends; False: it is erased already."""
    query = (
        sa.select(detection_jobs.c.id)
        .where(detection_jobs.c.id == job_id, detection_jobs.c.erased_at.is_(None))
        .with_for_update(read=True)
    )
    return connection.execute(query).first() is not None


def queue_webhook(
    connection: Connection, job: Job, report: Mapping[str, Any] | None, at: datetime
) -> None:
    """Put the news about a finished job into the outbox, in the transaction that finishes it."""

    if job.callback_url is not None:
        outbox.queue(connection, job, report, at)
