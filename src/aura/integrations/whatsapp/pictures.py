"""The picture that goes with a verdict: the worst moment, as a worker drew it for the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.errors import InputNotFound
from aura.service.artifacts import THUMBNAIL, stored

if TYPE_CHECKING:
    from aura.service.artifacts import Artifact
    from aura.service.context import Service

MAX_PICTURE = 5 * 2**20  # bytes that Meta takes


def find_picture(service: Service, job_id: str) -> Artifact | None:
    """The job's picture; None: it has none, or was erased."""
    named = (one for one in stored(service.engine, job_id) if one.name == THUMBNAIL)
    found = next(named, None)
    return found if found is not None and found.size_bytes <= MAX_PICTURE else None


def read_picture(service: Service, job_id: str) -> bytes | None:
    """The same as a JPEG's bytes."""
    found = find_picture(service, job_id)
    if found is None:
        return None
    try:
        return b"".join(service.storage.read(found.key, 0, found.size_bytes))
    except InputNotFound:
        return None
