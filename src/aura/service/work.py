"""`run_job`: the one way in which a job gets done, whoever calls it.

claim -> bytes at hand -> analysed before? -> `pipeline.analyze` -> finish, if still ours
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from aura.errors import AuraError, InputError
from aura.service.deadlines import DeadlinePassed
from aura.service.hold import ClaimLost, Hold, WorkerStopping
from aura.service.jobs import Error
from aura.service.logs import get_logger
from aura.service.storage import StorageAway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from aura.service.artifacts import Artifact
    from aura.service.context import Service
    from aura.service.jobs import Job

log = get_logger("worker")

FINISH_TRIES = 6  # of writing a finished analysis down, while the database is away,
FINISH_PAUSE = 0.5  # with pauses in seconds that double
NEVER = threading.Event()


def worker_name() -> str:
    """This process, as it appears in the table."""
    return f"{socket.gethostname()}:{os.getpid()}"


def warm_up() -> None:
    """Load what the default profile needs, so that the first job does not wait for it."""
    from aura import pipeline  # noqa: PLC0415 - only workers need the networks' libraries
    from aura.profiles import load_profile  # noqa: PLC0415
    from aura.runtime import resolve_device  # noqa: PLC0415

    try:
        pipeline.used_models(load_profile().models, resolve_device("auto"))
    except AuraError as error:  # the first job will say so, to whom it concerns
        log.warning("not_warmed_up", kind=error.kind)


def run_job(
    service: Service, job_id: str | None = None, stopping: threading.Event = NEVER
) -> Job | None:
    """Claim one job, analyse it, and finish it if it is still ours.

    Args:
        service: what the process shares.
        job_id: which one; None: the next in the queue's order.
        stopping: once set, the job goes back into the queue as soon as the pipeline listens.

    Returns:
        The job as it was claimed; None: there was nothing to do.
    """
    job = service.claims.claim(worker_name(), job_id)
    if job is None:
        return None
    with structlog.contextvars.bound_contextvars(job_id=job.id, attempt=job.attempt):
        began = time.monotonic()
        log.info("claimed", profile=job.profile, waited=_seconds(job))
        _do(service, job, stopping)
        after = service.store.get(job.id)
        state = after.state.value if after else "erased"
        log.info("ended", state=state, seconds=round(time.monotonic() - began, 2))
        if after is not None and after.finished and after.attempt == job.attempt:
            _clear(service, after)
    return job


def _do(service: Service, job: Job, stopping: threading.Event) -> None:
    claims = service.claims
    try:
        with Hold(service, job, stopping) as hold:
            found = _analyse(service, hold)
            seconds = hold.finish_stages()
            done = _persist(
                lambda: claims.complete(
                    hold.job, found.report, seconds, found.cached_from, found.drawn
                )
            )
            if done is None:  # what was written down after all is needed and stays
                service.delete_unneeded([one.key for one in found.drawn])
    except ClaimLost:
        log.info("claim_lost")
    except WorkerStopping:
        claims.release(job, "worker_stopping", counts=False)
    except StorageAway as error:
        log.warning("storage_away", error=str(error)[:300])
        stopping.wait(service.settings.storage_pause)  # no other job would go better
        _persist(lambda: claims.release(job, StorageAway.kind, counts=False))
    except (InputError, DeadlinePassed) as error:
        log.info("failed", kind=error.kind)
        told = Error(error.kind, shown(error, service, job))
        _persist(lambda: claims.fail(job, told))
    except MemoryError:
        text = "the analysis needed more memory than a worker has; cut the clip or scale it down"
        _persist(lambda: claims.fail(job, Error("memory", text)))
    except Exception as error:
        log.exception("broken", kind=getattr(error, "kind", type(error).__name__))
        kind = error.kind if isinstance(error, AuraError) else "internal"
        text = "something went wrong on the server; the operator's log says what"
        if job.attempt >= job.max_attempts:
            _persist(lambda: claims.bury(job, Error(kind, text)))
        else:
            _persist(lambda: claims.release(job, kind))


@dataclass(frozen=True)
class _Found:
    """A report, the job it was made for if that is another one, and what was drawn for this one."""

    report: Mapping[str, Any]
    cached_from: str | None = None
    drawn: tuple[Artifact, ...] = ()


def _analyse(service: Service, hold: Hold) -> _Found:
    from aura import pipeline  # noqa: PLC0415 - only workers need the networks' libraries

    with _bytes_of(service, hold) as path:
        hold.check()
        job = hold.job
        cached = service.claims.cached(job.cache_key)
        if cached is not None:
            return _Found(cached["report"], cached["id"])
        options = job.options
        from aura.service.drawing import drawn, keep  # noqa: PLC0415 - as above

        with drawn(service, job) as drawing:
            report = pipeline.analyze(
                path,
                profile=options.profile,
                faces="single" if options.faces == "single" else "all",
                fps=options.fps,
                hook=hold.hook,
                explain=drawing,
            )
            hold.check()
            return _Found(report.model_dump(mode="json"), drawn=keep(service, job, drawing))


@contextlib.contextmanager
def _bytes_of(service: Service, hold: Hold) -> Iterator[Path]:
    job = hold.job
    if job.media_key is not None:
        with service.storage.local(job.media_key, service.scratch.path) as path:
            yield path
        return
    if job.source_url is None:
        raise InputError("the uploaded media are no longer stored; submit them again")
    from aura.service.fetching import fetch_video  # noqa: PLC0415 - of no use to uploads

    path = service.scratch.path / f"fetched-{job.id}"
    try:
        facts = fetch_video(service, job, path, hold)
        if job.keep_media:
            facts["media_key"] = f"media/{job.id}-{job.attempt}"
            service.storage.put(facts["media_key"], path)
        if not service.claims.attach_media(job, facts):
            service.delete_unneeded([facts["media_key"]] if job.keep_media else [])
            raise ClaimLost("the job was cancelled, or another worker is at the same bytes")
        hold.update(replace(job, **facts))
        if not job.keep_media:
            yield path
            return
        with service.storage.local(facts["media_key"], service.scratch.path) as kept:
            yield kept
    finally:
        path.unlink(missing_ok=True)


def _persist(write: Callable[[], Job | None]) -> Job | None:
    """Write a result down; it is worth waiting for a database that is away for a moment.

    None: the job was no longer ours, or the database stayed away.
    """
    pause = FINISH_PAUSE
    for attempt in range(FINISH_TRIES):
        try:
            return write()
        except sa.exc.OperationalError:
            if attempt + 1 == FINISH_TRIES:
                log.exception("unwritten")
                break  # the lease runs out and the job is done again
            time.sleep(pause)
            pause *= 2
    return None


def _clear(service: Service, job: Job) -> None:
    """Delete what a finished job leaves behind; what fails here the housekeeping repeats."""
    if job.keep_media or not job.media_key or job.state.value == "dead":
        return
    try:
        service.drop_media(job)
    except Exception as error:  # noqa: BLE001 - storage has errors of many kinds
        log.warning("media_left", error=type(error).__name__)


def shown(error: Exception, service: Service, job: Job) -> str:
    """The error's words for the client: without where the server keeps its files."""
    text = str(error)
    if job.media_key is not None:
        for root in {service.settings.data_dir, service.settings.data_dir.absolute()}:
            text = text.replace(str(root / "storage" / job.media_key), job.filename)
    text = text.replace(str(service.scratch.path / f"fetched-{job.id}"), job.filename)
    scratch = service.scratch.path / (job.media_key or "").replace("/", "-")
    return text.replace(str(scratch), job.filename)


def _seconds(job: Job) -> float:
    if job.started_at is None:
        return 0.0
    return round((job.started_at - job.queued_at).total_seconds(), 2)
