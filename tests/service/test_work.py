"""`run_job` on real clips: deadlines, cancelling, stopping, and what is the server's own fault."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made import wish
from servers import wait_until

from aura.service import deadlines
from aura.service.context import Service
from aura.service.deadlines import Deadlines
from aura.service.hold import Hold
from aura.service.jobs import JobState, Options
from aura.service.settings import Settings
from aura.service.work import run_job
from media_factory import moving_texture, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aura.service.jobs import Job


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Long enough that something can happen meanwhile."""
    path = tmp_path_factory.mktemp("clip") / "long.mp4"
    return write_clip(path, moving_texture(500, 320, 240)).read_bytes()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(Settings(data_dir=tmp_path, lease_seconds=0.5), may_migrate=True)
    yield made
    made.close()


def submit(service: Service, data: bytes, **changes: object) -> str:
    path = service.scratch.path / "in"
    path.write_bytes(data)
    wanted = wish("ann", media_sha256=hashlib.sha256(data).hexdigest(), cache_key=None, **changes)
    service.storage.put(wanted.media_key, path)
    return service.store.submit(wanted)[0].id


def job_of(service: Service, job_id: str) -> Job:
    job = service.store.get(job_id)
    assert job is not None
    return job


def use(service: Service, **settings: object) -> None:
    service.settings = replace(service.settings, **settings)


def kinds(service: Service, job_id: str) -> list[str]:
    return [event.kind for event in service.store.events(job_id)]


def test_an_analysis_past_its_hard_deadline_is_stopped_and_says_so(
    service: Service, clip: bytes
) -> None:
    use(service, soft_deadline=0.01, hard_deadline=0.05)
    job_id = submit(service, clip, duration=20.0)
    run_job(service)
    job = job_of(service, job_id)
    assert (job.state, job.error_kind) == (JobState.FAILED, "deadline")
    assert list(service.storage.list("media")) == []


def test_a_slow_analysis_is_noted_and_goes_on(service: Service, clip: bytes) -> None:
    use(service, soft_deadline=0.01, hard_deadline=60.0)
    job_id = submit(service, clip, duration=20.0)
    run_job(service)
    assert kinds(service, job_id).count("slow") == 1
    assert job_of(service, job_id).state is JobState.COMPLETED


def test_deadlines_are_those_of_30_s_and_grow_with_the_clip() -> None:
    settings = Settings()
    assert Deadlines.for_clip(settings, 10.0) == Deadlines(60.0, 120.0)
    assert Deadlines.for_clip(settings, 30.0) == Deadlines(60.0, 120.0)
    assert Deadlines.for_clip(settings, 90.0) == Deadlines(180.0, 360.0)
    assert Deadlines.for_clip(settings, None).hard == 120.0 * settings.max_duration / 30


def test_a_process_that_does_not_listen_any_more_is_ended(
    service: Service, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "GRACE_SECONDS", 0.1)
    use(service, hard_deadline=0.1, soft_deadline=0.1)
    job_id = submit(service, clip)
    job = service.claims.claim("w")
    assert job is not None
    ended = threading.Event()
    with Hold(service, job, threading.Event(), on_stuck=ended.set):
        assert ended.wait(5)  # as inside a decoder, nobody calls the hook
    assert job_of(service, job_id).error_kind == "deadline"


def test_a_job_cancelled_while_it_runs_stops_and_has_no_report(
    service: Service, clip: bytes
) -> None:
    job_id = submit(service, clip * 1)
    worker = threading.Thread(target=run_job, args=(service,))
    worker.start()
    wait_until(lambda: "progress" in kinds(service, job_id), 20, "the analysis to begin")
    assert service.store.cancel(job_id) is not None
    worker.join(10)
    assert not worker.is_alive()
    assert job_of(service, job_id).state is JobState.CANCELLED
    assert service.store.report(job_id) is None
    assert kinds(service, job_id)[-1] == "cancelled"


def test_a_stopping_worker_gives_its_job_back_without_using_up_an_attempt(
    service: Service, clip: bytes
) -> None:
    job_id = submit(service, clip)
    stopping = threading.Event()
    stopping.set()
    run_job(service, stopping=stopping)
    job = job_of(service, job_id)
    assert (job.state, job.max_attempts - job.attempt) == (JobState.QUEUED, 3)
    run_job(service)
    assert job_of(service, job_id).state is JobState.COMPLETED


def test_a_clip_that_goes_on_longer_than_it_said_is_stopped(service: Service, clip: bytes) -> None:
    use(service, max_duration=2.0)
    job_id = submit(service, clip, duration=1.0)
    run_job(service)
    job = job_of(service, job_id)
    assert (job.state, job.error_kind) == (JobState.FAILED, "too_long")


def test_what_is_not_the_files_fault_is_tried_again_and_then_dead_with_its_media_kept(
    service: Service, clip: bytes
) -> None:
    job_id = submit(service, clip, options=Options(profile="withdrawn"))
    for attempt in range(1, 4):
        run_job(service)
        assert job_of(service, job_id).attempt == attempt
    job = job_of(service, job_id)
    assert job.state is JobState.DEAD
    assert "withdrawn" not in str(job.error_message)
    assert len(list(service.storage.list("media"))) == 1
    assert service.store.requeue(job_id) is not None


def test_the_heartbeat_keeps_a_job_that_takes_longer_than_its_lease(
    service: Service, clip: bytes
) -> None:
    job_id = submit(service, clip)
    job = service.claims.claim("w")
    assert job is not None
    with Hold(service, job, threading.Event()):
        end = time.monotonic() + 1.5  # three leases
        while time.monotonic() < end:
            assert service.claims.sweep().requeued == ()
            time.sleep(0.05)
    assert job_of(service, job_id).attempt == 1


def test_no_two_jobs_share_progress_and_percent_never_falls(service: Service, clip: bytes) -> None:
    job_id = submit(service, clip)
    run_job(service)
    percents = [
        event.data["percent"] for event in service.store.events(job_id) if event.kind == "progress"
    ]
    assert percents == sorted(percents)
    assert len(percents) >= 3
