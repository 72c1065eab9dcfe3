"""The files about a job: which there are, what each is, and which bytes are still needed.

Reports are made from the jobs table; what was drawn lies in the storage under a key of the attempt
that drew it, so that a worker that lost its claim can't change what another one's report names.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from aura.service.database import reading
from aura.service.tables import detection_jobs, job_artifacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Connection, Engine

Kind = Literal["report", "thumbnail", "frame", "saliency", "spectrogram", "chart", "media"]

FOLDER = "artifacts"  # of the storage
REPORT, PAGE, PRINT = "report.json", "report.html", "report.pdf"
THUMBNAIL = "thumbnail.jpg"
MEDIA = "media"
NAME = r"^[a-z0-9][a-z0-9.-]{0,63}$"

KINDS: tuple[tuple[str, Kind, str], ...] = (
    (r"report\.json", "report", "application/json"),
    (r"report\.html", "report", "text/html; charset=utf-8"),
    (r"report\.pdf", "report", "application/pdf"),
    (r"thumbnail\.jpg", "thumbnail", "image/jpeg"),
    (r"moment-\d+-map\.png", "saliency", "image/png"),
    (r"moment-\d+\.png", "frame", "image/png"),
    (r"spectrogram\.png", "spectrogram", "image/png"),
    (r"[a-z-]+\.svg", "chart", "image/svg+xml"),
)


@dataclass(frozen=True)
class Artifact:
    """One stored file; `name` as users know it, `key` as the storage does."""

    name: str
    kind: Kind
    media_type: str
    size_bytes: int
    key: str


def described(name: str, size: int, key: str) -> Artifact:
    """A file by its name.

    >>> described("moment-1-map.png", 10, "k").kind
    'saliency'

    Raises:
        ValueError: no file of a job is called so.
    """
    for pattern, kind, media_type in KINDS:
        if re.fullmatch(pattern, name):
            return Artifact(name, kind, media_type, size, key)
    raise ValueError(f"{name!r} is no file of a job")


def add(connection: Connection, job_id: str, found: Sequence[Artifact]) -> None:
    """Write down that a job has these files."""
    if found:
        rows = [{"job_id": job_id, **asdict(one)} for one in found]
        connection.execute(job_artifacts.insert(), rows)


def share(connection: Connection, source_id: str, job_id: str) -> None:
    """Let a job have what was drawn for another; a printed report names its job, so it stays."""
    table = job_artifacts.c
    drawn = sa.select(
        sa.literal(job_id), table.name, table.kind, table.media_type, table.size_bytes, table.key
    ).where(table.job_id == source_id, table.kind != "report")
    columns = ["job_id", "name", "kind", "media_type", "size_bytes", "key"]
    connection.execute(job_artifacts.insert().from_select(columns, drawn))


def stored(engine: Engine, job_id: str) -> list[Artifact]:
    """What lies in the storage for a job, by name."""
    table = job_artifacts.c
    columns = (table.name, table.kind, table.media_type, table.size_bytes, table.key)
    query = sa.select(*columns).where(table.job_id == job_id).order_by(table.name)
    with reading(engine) as connection:
        return [Artifact(**row._mapping) for row in connection.execute(query)]


def with_thumbnail(engine: Engine, job_ids: Sequence[str]) -> set[str]:
    """Those of these jobs that have a small picture."""
    table = job_artifacts.c
    query = sa.select(table.job_id).where(table.job_id.in_(job_ids), table.name == THUMBNAIL)
    with reading(engine) as connection:
        return set(connection.execute(query).scalars())


def unneeded(engine: Engine, keys: Iterable[str]) -> set[str]:
    """Those of these keys that no job names: neither as its media nor as a file of its."""
    wanted = set(keys)
    with reading(engine) as connection:
        for column in (job_artifacts.c.key, detection_jobs.c.media_key):
            query = sa.select(column).where(column.in_(sorted(wanted)))
            wanted -= set(connection.execute(query).scalars())
    return wanted
