"""The files about a job: drawn, signed, listed, sent in parts, shared by twins, and erased."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from in_thread import serving
from made import finished_report, wish

from aura import signing, verify
from aura.errors import ReportError, UsageError
from aura.service import artifacts, drawing, printing
from aura.service.housekeeping import clear_orphans
from aura.service.ranges import wanted_part
from aura.service.report_signing import open_report_signer
from aura.service.settings import Settings
from aura.service.work import run_job
from media_factory import head, moving_texture, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2 as httpx
    from in_thread import Api
    from numpy.typing import NDArray

NONE = "0" * 32


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, portrait: NDArray[np.uint8]) -> bytes:
    """A second of a face."""
    path = tmp_path_factory.mktemp("clip") / "face.mp4"
    return write_clip(path, head(portrait, 26)).read_bytes()


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[Api]:
    stored = {"storage_url": settings.storage_url, "s3_endpoint": settings.s3_endpoint}
    with serving(tmp_path, **stored) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    with api.client() as made:
        yield made


def send(client: httpx.Client, data: bytes, name: str = "a b.mp4", **fields: str) -> str:
    answer = client.post("/analyze-video", files={"file": (name, data)}, data=fields)
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["job_id"]
    return found


def listed(client: httpx.Client, job_id: str) -> dict[str, dict[str, Any]]:
    found = client.get(f"/jobs/{job_id}/artifacts").json()["artifacts"]
    return {one["name"]: one for one in found}


def keys(api: Api, folder: str) -> list[str]:
    return [one.key for one in api.service.storage.list(folder)]


def save(client: httpx.Client, files: dict[str, dict[str, Any]], folder: Path) -> None:
    folder.mkdir()
    for name, one in files.items():
        if one["kind"] in {"frame", "saliency", "spectrogram"} or name == "report.json":
            (folder / name).write_bytes(client.get(one["url"]).content)


def test_an_explained_job_has_its_files_signed_and_in_parts_until_it_is_erased(
    api: Api, client: httpx.Client, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURA_HOME", str(tmp_path / "home"))
    job_id = send(client, clip, explain="true", keep_media="true")
    run_job(api.service)
    job = client.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["explain"]) == ("completed", True)
    files = listed(client, job_id)
    assert {one["kind"] for one in files.values()} >= {
        "report", "thumbnail", "frame", "saliency", "chart", "media",
    }  # fmt: skip
    with api.client() as stranger:  # each is what the list says
        for name, one in files.items():
            if name in {"report.html", "report.pdf"}:
                assert one["size_bytes"] is None
                continue
            answer = stranger.get(one["url"])
            assert answer.status_code == 200, name
            assert len(answer.content) == one["size_bytes"] == int(answer.headers["content-length"])
            assert answer.headers["content-type"] == one["media_type"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"].startswith("sandbox;")
            shown = one["media_type"] in {"image/png", "image/jpeg", "video/mp4"}
            assert answer.headers["content-disposition"].startswith(
                "inline" if shown else "attachment"
            )
    thumbnail = client.get(files["thumbnail.jpg"]["url"]).content
    assert cv2.imdecode(np.frombuffer(thumbnail, np.uint8), 1).shape == (180, 320, 3)

    # The media as a player asks for them.
    media = f"/jobs/{job_id}/artifacts/media"
    assert client.get(media).content == clip
    part = client.get(media, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, clip[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(clip)}"
    assert part.headers["content-disposition"] == "inline; filename*=UTF-8''a%20b.mp4"
    tail = client.get(media, headers={"Range": "bytes=-7", "If-Range": part.headers["etag"]})
    assert tail.content == clip[-7:]
    changed = client.get(media, headers={"Range": "bytes=0-7", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, clip)
    beyond = client.get(media, headers={"Range": f"bytes={len(clip)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(clip)}"

    # The report is what the command line verifies, once the service's key is trusted.
    save(client, files, tmp_path / "saved")
    report = tmp_path / "saved" / "report.json"
    assert verify.verify(report).exit_code == verify.EXIT_CODES["unknown_key"]
    pem = tmp_path / "service.pem"
    pem.write_text(client.get("/signing-key").text)
    signing.trust("service", pem)
    done = verify.verify(report)
    assert (done.exit_code, done.findings) == (0, [])
    assert any("pictures are those" in line for line in done.held)
    assert not any("laid out anew" in note for note in done.notes)
    altered = report.read_text().replace('"a b.mp4"', '"b.mp4"')
    report.write_text(altered)
    assert verify.verify(report).exit_code == verify.EXIT_CODES["altered"]

    page = client.get(f"/jobs/{job_id}/artifacts/report.html")
    assert page.status_code == 200, page.text
    assert "data:image/jpeg" in page.text
    assert "unknown here" not in page.text
    assert listed(client, job_id)["report.html"]["size_bytes"] == len(page.content)
    assert ("report.pdf" in files) == printing.can_print("report.pdf")
    if "report.pdf" in files and api.service.settings.storage_url:  # once: it takes seconds
        printed = client.get(f"/jobs/{job_id}/artifacts/report.pdf").content
        assert printed.startswith(b"%PDF")

    assert client.get(f"/jobs/{job_id}/artifacts/moment-99.png").status_code == 404
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert keys(api, "artifacts") == keys(api, "media") == []
    assert client.get(media).status_code == 404
    left = [path for path in api.service.scratch.path.iterdir() if path.name != ".lock"]
    assert left == []


def test_twins_share_what_was_drawn_until_the_last_is_erased_and_have_reports_of_their_own(
    api: Api, client: httpx.Client
) -> None:
    path = api.service.scratch.path / "t.mp4"
    data = write_clip(path, moving_texture(25, 160, 120)).read_bytes()
    first, waits = send(client, data), send(client, data, "other.mp4")
    explained = send(client, data, explain="1")
    while run_job(api.service):
        pass
    later = send(client, data, "later.mp4")
    jobs = {one: client.get(f"/jobs/{one}").json() for one in (first, waits, explained, later)}
    assert [job["cached"] for job in jobs.values()] == [False, True, False, True]
    for job_id, job in jobs.items():
        assert signing.check(job["report"]).status == "unknown"  # it fits: nobody trusts it here
        assert job["report"]["job_id"] == job_id
        text = client.get(f"/jobs/{job_id}/artifacts/report.json").text
        assert json.loads(text) == job["report"]
    assert "spectrogram.png" not in listed(client, explained)  # the clip has no sound
    assert "scores.svg" not in listed(client, first)

    thumbnail = client.get(f"/jobs/{waits}/artifacts/thumbnail.jpg").content
    assert client.delete(f"/jobs/{first}").status_code == 204
    assert client.get(f"/jobs/{waits}/artifacts/thumbnail.jpg").content == thumbnail
    for job_id in (waits, later, explained):
        client.delete(f"/jobs/{job_id}")
    assert keys(api, "artifacts") == []


def test_what_a_killed_worker_drew_is_cleared_up_and_what_is_needed_stays(
    api: Api, client: httpx.Client
) -> None:
    service = api.service
    path = service.scratch.path / "t.mp4"
    job_id = send(client, write_clip(path, moving_texture(25, 160, 120)).read_bytes())
    run_job(service)
    left = service.scratch.path / "x"
    left.write_bytes(b"left")
    service.storage.put(f"artifacts/{NONE}-1/thumbnail.jpg", left)
    service.settings = replace(service.settings, orphan_seconds=-60.0)
    clear_orphans(service, artifacts.FOLDER)
    assert keys(api, "artifacts") == [f"artifacts/{job_id}-1/thumbnail.jpg"]


def test_a_worker_that_lost_its_job_leaves_no_files(
    api: Api, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = api.service.scratch.path / "t.mp4"
    job_id = send(client, write_clip(path, moving_texture(25, 160, 120)).read_bytes())
    keep = drawing.keep

    def cancelled_meanwhile(*arguments: Any) -> Any:
        found = keep(*arguments)
        assert keys(api, "artifacts") != []
        api.service.store.cancel(job_id)
        return found

    monkeypatch.setattr(drawing, "keep", cancelled_meanwhile)
    run_job(api.service)
    assert client.get(f"/jobs/{job_id}").json()["status"] == "cancelled"
    assert keys(api, "artifacts") == []


def test_a_report_that_can_not_be_printed_now_is_a_problem_and_not_a_crash(
    api: Api, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = api.service.store.submit(wish("local", media_key=None))
    claimed = api.service.claims.claim("w", job.id)
    assert claimed is not None
    api.service.claims.complete(claimed, finished_report())  # its report is no whole one
    page = f"/jobs/{job.id}/artifacts/report.html"
    for _ in range(2):
        answer = client.get(page)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:aura:problem:not_printed")
        monkeypatch.setattr(printing, "PRINT_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("seconds=0-1", None),
    ],
)
def test_ranges_are_read_as_the_standard_says(
    text: str | None, part: tuple[int, int] | None
) -> None:
    assert wanted_part(text, 10) == part


def test_the_signing_key_is_that_of_the_setting_or_stays_the_same(tmp_path: Path) -> None:
    made = open_report_signer(Settings(data_dir=tmp_path))
    again = open_report_signer(Settings(data_dir=tmp_path))
    assert made.key_id == again.key_id
    path = tmp_path / "signing.pem"
    assert path.stat().st_mode & 0o077 == 0
    elsewhere = Settings(data_dir=tmp_path / "else", signing_key=path.read_text())
    assert open_report_signer(elsewhere).key_id == made.key_id
    with pytest.raises(UsageError, match="no file"):
        open_report_signer(Settings(data_dir=tmp_path, signing_key=str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match="no Ed25519"):
        open_report_signer(Settings(data_dir=tmp_path, signing_key="-----BEGIN NONSENSE-----"))
    path.chmod(0o644)
    with pytest.raises(ReportError, match="chmod 600"):
        open_report_signer(Settings(data_dir=tmp_path))
