"""Jobs as the history and the first page list them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aura.service.artifacts import THUMBNAIL, with_thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.service.context import Service
    from aura.service.jobs import Job


@dataclass(frozen=True)
class Entry:
    """One job in a list."""

    job: Job
    kind: str  # fake, real, uncertain; else the state
    thumbnail: str | None  # address


def entries_of(service: Service, jobs: Sequence[Job]) -> list[Entry]:
    """Jobs as they are listed, in the same order."""
    pictured = with_thumbnail(service.engine, [job.id for job in jobs])
    return [
        Entry(
            job,
            kind_of(job),
            f"/jobs/{job.id}/artifacts/{THUMBNAIL}" if job.id in pictured else None,
        )
        for job in jobs
    ]


def kind_of(job: Job) -> str:
    """What the list says of a job: its verdict, or where it stands."""
    if job.state.value == "completed":
        return "picture" if job.kind == "image" else (job.verdict or "missing")
    return job.state.value
