"""What an operator asks of the tables, across all users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from aura.errors import UsageError
from aura.service.database import reading
from aura.service.jobs import JobState
from aura.service.moves import JOB_COLUMNS, to_job
from aura.service.tables import detection_jobs

if TYPE_CHECKING:
    from aura.service.context import Service
    from aura.service.jobs import Job


def recent_jobs(service: Service, state: str | None, limit: int) -> list[Job]:
    """Jobs of all users, newest first.

    Raises:
        UsageError: there is no such state.
    """
    jobs = detection_jobs.c
    query = sa.select(*JOB_COLUMNS).where(jobs.erased_at.is_(None))
    if state is not None:
        if state not in set(JobState):
            raise UsageError(f"--state {state}: choose one of {', '.join(JobState)}")
        query = query.where(jobs.state == state)
    query = query.order_by(jobs.created_at.desc(), jobs.id).limit(limit)
    with reading(service.engine) as connection:
        return [to_job(row) for row in connection.execute(query)]
