"""A worker's hold on one job: heartbeat, progress, deadlines, and being told to stop."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from aura.errors import Cancelled, InputError
from aura.service.claims import HEARTBEATS_A_LEASE
from aura.service.deadlines import DeadlinePassed, Deadlines
from aura.service.jobs import Error
from aura.service.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from aura.service.context import Service
    from aura.service.jobs import Job

log = get_logger("worker")

EXIT_STUCK = 70  # of a process that had to be ended; whoever started it starts another
EVENT_SECONDS = 0.5  # at least between two progress events of one stage,
EVENT_PERCENT = 5.0  # which are so far apart
LENGTH_SLACK = 1.05  # a clip may turn out so much longer than is allowed before it is stopped

# Percent at which a stage begins and ends; `fetch` is the worker's own, the others the pipeline's.
STAGES = {
    "fetch": (0.0, 10.0),
    "probe": (10.0, 12.0),
    "analyse": (12.0, 90.0),
    "verdict": (90.0, 92.0),
    "explain": (92.0, 99.0),
}


class ClaimLost(Cancelled):
    """The job was cancelled, erased, or given to another worker."""

    kind = "claim_lost"


class WorkerStopping(Cancelled):
    """The worker is told to end; the job goes back into the queue."""

    kind = "worker_stopping"


class TooLong(InputError):
    """The clip goes on beyond what is allowed."""

    kind = "too_long"


def end_process() -> None:
    """End this process at once: something in it does not listen any more."""
    os._exit(EXIT_STUCK)


class Hold:
    """Holds a claimed job while the `with` block runs; hand `hook` to the pipeline."""

    def __init__(
        self,
        service: Service,
        job: Job,
        stopping: threading.Event,
        on_stuck: Callable[[], None] = end_process,
    ) -> None:
        self.job = job
        self.stage_seconds: dict[str, float] = {}
        self._service = service
        self._stopping = stopping
        self._on_stuck = on_stuck
        self._began = time.monotonic()
        self._deadlines = Deadlines.for_clip(service.settings, job.duration)
        self._slow = False
        self._lost = threading.Event()
        self._done = threading.Event()
        self._stage: str | None = None
        self._stage_began = self._began
        self._told = (0.0, 0.0)  # time and percent of the last event
        self._thread = threading.Thread(target=self._beat, name="aura-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def update(self, job: Job) -> None:
        """The job's length became known."""
        self.job = job
        self._deadlines = Deadlines.for_clip(self._service.settings, job.duration)

    def check(self) -> None:
        """Stop here if there is a reason to.

        Raises:
            ClaimLost, WorkerStopping, DeadlinePassed.
        """
        if self._lost.is_set():
            raise ClaimLost("the job was cancelled or given to another worker")
        if self._stopping.is_set():
            raise WorkerStopping("the worker is stopping")
        passed = time.monotonic() - self._began
        if passed > self._deadlines.hard:
            raise DeadlinePassed(_too_late(self._deadlines))
        if passed > self._deadlines.soft and not self._slow:
            self._slow = True
            log.warning("slow", seconds=round(passed, 1))
            self._service.claims.note(self.job, "slow", {"seconds": round(passed, 1)})

    def hook(self, stage: str, completed: float, total: float | None) -> None:
        """The pipeline's hook: told of progress, and an exception from it stops the analysis.

        Raises:
            As `check`, and TooLong.
        """
        self.check()
        longest = self._service.settings.max_duration
        if stage == "analyse" and completed > longest * LENGTH_SLACK:
            raise TooLong(f"{self.job.filename} is longer than {longest:g} s; cut it into parts")
        now = time.monotonic()
        begins, ends = STAGES.get(stage, (0.0, 99.0))
        share = min(1.0, completed / total) if total else 0.5
        percent = round(begins + (ends - begins) * share, 1)
        new_stage = stage != self._stage
        if new_stage:
            self._close_stage(now)
            self._stage, self._stage_began = stage, now
        far = percent - self._told[1] >= EVENT_PERCENT and now - self._told[0] >= EVENT_SECONDS
        if new_stage or far:
            self._told = (now, percent)
            self._tell(stage, percent)

    def _tell(self, stage: str, percent: float) -> None:
        try:
            ours = self._service.claims.progress(self.job, stage, percent)
        except sa.exc.SQLAlchemyError as error:  # the heartbeat decides whether it is gone for good
            log.warning("progress_untold", error=type(error).__name__)
            return
        if not ours:
            self._lost.set()
            self.check()

    def finish_stages(self) -> dict[str, float]:
        """Seconds that each stage took."""
        self._close_stage(time.monotonic())
        self._stage = None
        return {stage: round(seconds, 3) for stage, seconds in self.stage_seconds.items()}

    def _close_stage(self, now: float) -> None:
        if self._stage is not None:
            before = self.stage_seconds.get(self._stage, 0.0)
            self.stage_seconds[self._stage] = before + now - self._stage_began

    def _beat(self) -> None:
        """Body of the thread."""
        every = self._service.claims.lease.total_seconds() / HEARTBEATS_A_LEASE
        while not self._done.wait(every):
            try:
                if not self._service.claims.heartbeat(self.job):
                    self._lost.set()
            except sa.exc.SQLAlchemyError as error:
                log.warning("heartbeat_failed", error=type(error).__name__, job_id=self.job.id)
            if time.monotonic() - self._began > self._deadlines.end:
                self._end_stuck()
                return

    def _end_stuck(self) -> None:
        log.error("stuck", job_id=self.job.id)
        error = Error(DeadlinePassed.kind, _too_late(self._deadlines))
        try:
            self._service.claims.fail(self.job, error)
        except sa.exc.SQLAlchemyError:
            log.exception("stuck_and_database_away", job_id=self.job.id)
        self._on_stuck()


def _too_late(deadlines: Deadlines) -> str:
    return (
        f"the analysis was stopped after {deadlines.hard:g} s, which is all that a clip of this "
        "length may take; cut it into parts, or try again when less is to do"
    )
