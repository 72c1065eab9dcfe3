"""Modal: its client's own local runner does what its cloud would; only the way there is stood in.

`Worker().run.local()` is Modal's: it runs what is decorated with `enter` once and then the method.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import servers
from deployment import finished
from in_thread import serving

from aura.errors import UsageError
from aura.service.deadlines import Deadlines
from aura.service.extensions import bell_elsewhere
from aura.service.settings import read_settings
from media_factory import moving_texture, write_clip

pytest.importorskip("modal", reason="needs the extra: pip install 'aura-veracity[modal]'")

import modal

from aura.integrations import modal_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from in_thread import Api

    from aura.service.settings import Settings


class Cloud:
    """Where calls go: each in a thread, all in one container; `away`, or losing what it takes."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.away = self.loses = False
        self.done: list[str | None] = []
        self._worker: Any = modal_app.Worker()

    def lookup(self, app: str, name: str) -> Any:
        assert (app, name) == ("aura", "Worker")
        return lambda: self

    @property
    def run(self) -> Any:
        return self

    def spawn(self, job_id: str) -> None:
        if self.away:
            raise modal.exception.ConnectionError("no route to Modal")
        self.calls.append(job_id)
        if not self.loses:
            threading.Thread(target=self.call, args=(job_id,), daemon=True).start()

    def call(self, job_id: str) -> None:
        self.done.append(self._worker.run.local(job_id))


@pytest.fixture
def running(
    postgres_url: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Api, Cloud, list[str]]]:
    """The API of a fleet whose workers are at Modal; what a container starts is counted."""
    url = servers.new_postgres_database(postgres_url)
    shared = {
        "AURA_DATABASE_URL": url,
        "AURA_STORAGE_URL": settings.storage_url,
        "AURA_S3_ENDPOINT": settings.s3_endpoint,
        "AURA_DISPATCHER": "modal",
    }
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(modal_app, "DATA", tmp_path / "container")
    started: list[str] = []
    monkeypatch.setattr("aura.service.work.warm_up", lambda: started.append("container"))
    cloud = Cloud()
    monkeypatch.setattr(modal.Cls, "from_name", cloud.lookup)
    options = {name: getattr(settings, name) for name in ("storage_url", "s3_endpoint")}
    with serving(tmp_path / "api", database_url=url, ring_again=0.0, **options) as api:
        api.service.bell = bell_elsewhere(read_settings())
        yield api, cloud, started


@pytest.mark.parametrize("settings", ["s3"], indirect=True)
def test_jobs_are_done_at_modal_and_a_lost_or_doubled_call_does_no_harm(
    running: tuple[Api, Cloud, list[str]], tmp_path: Path
) -> None:
    api, cloud, started = running

    def submit(count: int) -> str:
        clip = write_clip(tmp_path / "c.mp4", moving_texture(count, 160, 120)).read_bytes()
        answer = client.post("/analyze-video", files={"file": ("c.mp4", clip)})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    with api.client() as client:
        first = submit(13)
        job = finished(client, first, 90)
        assert (job["status"], job["attempt"]) == ("completed", 1)
        assert client.get(f"/jobs/{first}/artifacts/thumbnail.jpg").status_code in {200, 404}
        assert cloud.calls == [first]

        cloud.away = True
        second = submit(14)
        assert client.get(f"/jobs/{second}").json()["status"] == "queued"
        cloud.away, cloud.loses = False, True
        assert api.service.ring() == 1  # as the sweep does
        cloud.loses = False
        assert api.service.ring() == 1  # and again, for nobody answered
        cloud.call(second)  # and once more by mistake
        assert finished(client, second, 90)["status"] == "completed"
        servers.wait_until(lambda: len(cloud.done) == 3, 30, "all calls")
    assert sorted(filter(None, cloud.done)) == sorted([first, second])
    assert started == ["container"]  # for three calls


def test_every_job_is_ended_by_its_own_clock_before_modal_ends_the_call() -> None:
    longest = Deadlines.for_clip(read_settings({}), duration=None)
    assert longest.end < modal_app.TIMEOUT


def test_workers_elsewhere_need_a_database_and_a_store_that_they_can_reach() -> None:
    for given in ({}, {"AURA_DATABASE_URL": "postgresql://h/d"}, {"AURA_STORAGE_URL": "s3://b"}):
        with pytest.raises(UsageError, match="workers on Modal reach nothing on this machine"):
            bell_elsewhere(read_settings({**given, "AURA_DISPATCHER": "modal"}))
    with pytest.raises(UsageError, match="choose one of embedded, celery, modal"):
        read_settings({"AURA_DISPATCHER": "cron"})
    assert bell_elsewhere(read_settings({"AURA_DISPATCHER": "celery"})) is None
