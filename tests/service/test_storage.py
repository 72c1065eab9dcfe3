"""Storage: a folder and an S3-compatible store do the same; leftovers go, kept things stay."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from made import finished_report, wish

from aura.errors import InputNotFound, UsageError
from aura.service.context import Service
from aura.service.housekeeping import clear
from aura.service.jobs import Error, JobState, utc_now
from aura.service.scratch import Scratch, clear_abandoned
from aura.service.settings import Settings
from aura.service.storage import open_storage
from aura.service.work import run_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    made = Service(settings, may_migrate=True)
    yield made
    made.close()


def put(service: Service, key: str, data: bytes = b"bytes") -> None:
    source = service.scratch.path / "in"
    source.write_bytes(data)
    service.storage.put(key, source)
    assert not source.exists()


def keys(service: Service) -> list[str]:
    return sorted(stored.key for stored in service.storage.list("media"))


def test_what_is_put_comes_back_until_it_is_deleted(service: Service) -> None:
    service.storage.check()
    put(service, "media/a", b"one")
    put(service, "media/b", b"two")
    with service.storage.local("media/a", service.scratch.path) as path:
        assert path.read_bytes() == b"one"
        with service.storage.local("media/a", service.scratch.path):
            pass  # another job on the same media comes and goes
        assert path.read_bytes() == b"one"
    assert keys(service) == ["media/a", "media/b"]
    service.storage.delete("media/a")
    service.storage.delete("media/a")
    assert keys(service) == ["media/b"]
    with (
        pytest.raises(InputNotFound),
        service.storage.local("media/a", service.scratch.path),
    ):
        pytest.fail("it was there")
    assert [path.name for path in service.scratch.path.iterdir()] == [".lock"]


@pytest.mark.parametrize("key", ["../a", "media/../../a", "/etc/passwd", "media/.lock", "", "A b"])
def test_no_key_leads_elsewhere(service: Service, key: str) -> None:
    with pytest.raises(ValueError, match="storage key"):
        service.storage.delete(key)


def test_a_storage_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="AURA_STORAGE_URL"):
        open_storage(Settings(data_dir=tmp_path, storage_url="ftp://x"))


def test_media_go_with_the_analysis_unless_they_are_kept(service: Service) -> None:
    made = {}
    for name, keep in {"gone": False, "kept": True}.items():
        put(service, f"media/{name}", b"no video")
        wanted = wish("ann", media_key=f"media/{name}", keep_media=keep)
        made[name] = service.store.submit(wanted)[0].id
    while run_job(service):
        pass
    jobs = {name: service.store.get(job_id) for name, job_id in made.items()}
    assert {job.state for job in jobs.values()} == {JobState.FAILED}
    assert jobs["gone"].error_kind == "unreadable_media"
    assert "ann.mp4" in jobs["gone"].error_message
    assert str(service.settings.data_dir) not in jobs["gone"].error_message
    assert keys(service) == ["media/kept"]
    clear(service)
    assert keys(service) == ["media/kept"]


def test_housekeeping_finds_what_a_killed_process_left(service: Service) -> None:
    put(service, "media/done")
    put(service, "media/dead")
    put(service, "media/waits")
    put(service, "media/orphan")
    service.store.submit(wish("ann", media_key="media/done"))
    claimed = service.claims.claim("w")
    service.claims.complete(claimed, finished_report())  # killed before it deleted the media
    service.store.submit(wish("ann", media_key="media/dead"))
    doomed = service.claims.claim("w")
    service.claims.bury(doomed, Error("internal", "something broke"))
    service.store.submit(wish("ann", media_key="media/waits"))
    clear(service)
    assert keys(service) == ["media/dead", "media/orphan", "media/waits"]

    service.settings = replace(service.settings, orphan_seconds=-60.0)
    clear(service)
    assert keys(service) == ["media/dead", "media/waits"]


def test_results_are_erased_when_their_time_is_over(service: Service) -> None:
    past = utc_now() - timedelta(days=60)
    service.store.clock = service.claims.clock = lambda: past
    job, _ = service.store.submit(wish("ann", media_key=None))
    service.claims.complete(service.claims.claim("w"), finished_report())
    service.store.clock = service.claims.clock = utc_now
    recent, _ = service.store.submit(wish("ann", media_key=None))
    clear(service)
    assert service.store.get(job.id) is None
    assert service.store.get(recent.id) is not None


def test_scratch_of_the_living_is_left_alone(tmp_path: Path) -> None:
    alive = Scratch(tmp_path)
    (alive.path / "file").write_text("x")
    child = os.fork()
    if child == 0:
        Scratch(tmp_path).path.joinpath("left").write_text("x")
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 2
    assert clear_abandoned(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [alive.path.name]
    alive.close()
