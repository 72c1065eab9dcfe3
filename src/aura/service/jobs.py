"""What a job is, and every way in which its state may change.

          claim            complete
    queued ----> running ----------> completed
      ^  |          | |------------> failed      the file's fault: trying again would not help
      |  |          | |------------> dead        attempts used up; `aura jobs requeue` revives it
      |  +----------+ |
      |    cancel: cancelled
      +---------------+ release: the worker stops, or its lease ran out

A claim gives a lease and the next attempt number. Whoever holds the number may change the job as
long as it is the row's own; a worker that lost it (lease run out, job cancelled) can't.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class Move(StrEnum):
    """A way to change a job's state."""

    CLAIM = "claim"
    ANSWER = "answer"  # the same bytes were analysed before
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    BURY = "bury"
    CANCEL = "cancel"
    REQUEUE = "requeue"


# Move: (states it starts from, state it leads to).
MOVES: dict[Move, tuple[frozenset[JobState], JobState]] = {
    Move.CLAIM: (frozenset({JobState.QUEUED}), JobState.RUNNING),
    Move.ANSWER: (frozenset({JobState.QUEUED}), JobState.COMPLETED),
    Move.COMPLETE: (frozenset({JobState.RUNNING}), JobState.COMPLETED),
    Move.FAIL: (frozenset({JobState.RUNNING}), JobState.FAILED),
    Move.RELEASE: (frozenset({JobState.RUNNING}), JobState.QUEUED),
    Move.BURY: (frozenset({JobState.RUNNING}), JobState.DEAD),
    Move.CANCEL: (frozenset({JobState.QUEUED, JobState.RUNNING}), JobState.CANCELLED),
    Move.REQUEUE: (frozenset({JobState.FAILED, JobState.DEAD}), JobState.QUEUED),
}

ACTIVE = frozenset({JobState.QUEUED, JobState.RUNNING})
FINAL = frozenset(JobState) - ACTIVE


@dataclass(frozen=True)
class Options:
    """What decides the numbers of a report, besides the bytes; as `pipeline.analyze` takes it."""

    profile: str = "lite"
    faces: str = "all"
    fps: float | None = None
    explain: bool = False


@dataclass(frozen=True)
class Error:
    """Why a job did not complete: a short `kind` for programs, a sentence for people."""

    kind: str
    message: str


@dataclass(frozen=True)
class Submission:
    """What a client asks for. Either `media_key` (uploaded bytes) or `source_url` is set.

    `duration` in seconds as probed, None where unknown. `priority` 0 (low) to 9 (high).
    """

    id: str
    owner: str
    options: Options = Options()
    filename: str = "video"
    media_key: str | None = None
    media_sha256: str | None = None
    size_bytes: int | None = None
    duration: float | None = None
    source_url: str | None = None
    cache_key: str | None = None
    priority: int = 5
    keep_media: bool = False
    callback_url: str | None = None
    batch_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    kind: str = "video"


@dataclass(frozen=True)
class Job:
    """One row of `detection_jobs`, without the report. Times are aware and in UTC."""

    id: str
    owner: str
    kind: str
    state: JobState
    priority: int
    turn: int
    profile: str
    faces: str
    fps: float | None
    explain: bool
    filename: str
    media_key: str | None
    media_sha256: str | None
    size_bytes: int | None
    duration: float | None
    source_url: str | None
    cache_key: str | None
    cached_from: str | None
    keep_media: bool
    callback_url: str | None
    batch_id: str | None
    idempotency_key: str | None
    request_hash: str | None
    attempt: int
    max_attempts: int
    lease_until: datetime | None
    worker: str | None
    stage: str | None
    percent: float
    last_event: int
    error_kind: str | None
    error_message: str | None
    verdict: str | None
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    rung_at: datetime | None
    erased_at: datetime | None

    @property
    def options(self) -> Options:
        """What `pipeline.analyze` is asked for."""
        return Options(self.profile, self.faces, self.fps, self.explain)

    @property
    def finished(self) -> bool:
        """Whether nothing will happen to it any more by itself."""
        return self.state in FINAL

    def may(self, move: Move) -> bool:
        """Whether `move` is open to it now."""
        return self.state in MOVES[move][0]


@dataclass(frozen=True)
class Event:
    """One thing that happened to a job; `number` counts from 1 without a gap."""

    job_id: str
    number: int
    at: datetime
    kind: str
    data: dict[str, Any]


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)
