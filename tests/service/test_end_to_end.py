"""The whole journey through real processes: one machine, and a fleet with a Celery worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import servers
from deployment import Deployment, finished, neighbour, read_events
from standardwebhooks.webhooks import Webhook

from aura.report import Report
from media_factory import Sound, head, moving_texture, tone, write_clip, write_sound

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2 as httpx
    import numpy as np
    from deployment import Neighbour
    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def web() -> Iterator[Neighbour]:
    with neighbour() as server:
        yield server


@pytest.fixture(scope="module", params=["machine", "fleet"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, web: Neighbour
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp(request.param)
    deployment = Deployment(folder, {"AURA_ALLOWED_HOSTS": web.host})
    redis = servers.Redis(folder)
    try:
        if request.param == "fleet":
            redis.start()
            url = servers.new_postgres_database(request.getfixturevalue("postgres_url"))
            deployment.settings |= {"AURA_DATABASE_URL": url, "AURA_REDIS_URL": redis.url}
            deployment.aura("db", "upgrade")
            deployment.start("worker")
        deployment.serve()
        yield deployment
    finally:
        deployment.stop()
        redis.stop()


@pytest.fixture
def client(running: Deployment) -> Iterator[httpx.Client]:
    with running.client() as made:
        yield made


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_texture(25, 160, 120))


def upload(client: httpx.Client, path: Path, **fields: str) -> httpx.Response:
    with path.open("rb") as file:
        return client.post("/analyze-video", files={"file": (path.name, file)}, data=fields)


def test_upload_events_report_and_nothing_left(
    running: Deployment, client: httpx.Client, clip: Path
) -> None:
    taken = upload(client, clip)
    assert taken.status_code == 202, taken.text
    job_id = taken.json()["job_id"]
    assert taken.headers["Location"] == f"/jobs/{job_id}"
    assert int(taken.headers["Retry-After"]) >= 1

    events = read_events(client, job_id)
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert [kind for _, kind, _ in events if kind != "progress"] == [
        "queued",
        "running",
        "completed",
    ]
    stages = [data["stage"] for _, kind, data in events if kind == "progress"]
    assert list(dict.fromkeys(stages)) == ["probe", "analyse", "verdict"]

    job = client.get(f"/jobs/{job_id}").json()
    report = Report.model_validate(job["report"])
    assert (job["status"], job["percent"], job["attempt"]) == ("completed", 100, 1)
    assert report.job_id == job_id
    assert report.provenance.input.name == report.provenance.input.path == "clip.mp4"
    assert report.digest() == report.deterministic_digest
    assert job["verdict"] == "uncertain"  # a texture has no face
    left = [path.name for path in (running.data_dir / "storage").rglob("*") if path.is_file()]
    assert left == ["thumbnail.jpg"]
    temporary = [
        path for path in (running.data_dir / "scratch").glob("*/*") if path.name != ".lock"
    ]
    assert temporary == []


def test_events_through_reconnects_miss_and_repeat_nothing(
    client: httpx.Client, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "c.mp4", moving_texture(30, 160, 120))
    job_id = upload(client, path).json()["job_id"]
    seen: list[int] = []
    while True:  # hang up after each event
        part = read_events(client, job_id, after=seen[-1] if seen else 0, limit=1)
        if not part:
            break
        seen += [number for number, _, _ in part]
    assert seen == list(range(1, seen[-1] + 1))
    assert finished(client, job_id)["status"] == "completed"


def test_the_same_bytes_again_are_answered_at_once(client: httpx.Client, clip: Path) -> None:
    first = finished(client, upload(client, clip).json()["job_id"])
    renamed = clip.with_name("renamed.mp4")
    renamed.write_bytes(clip.read_bytes())
    again = upload(client, renamed)
    assert again.json()["status"] == "completed"
    second = client.get(again.headers["Location"]).json()
    assert second["cached"] is True
    assert second["report"]["provenance"]["input"]["name"] == "renamed.mp4"
    digests = {job["report"]["deterministic_digest"] for job in (first, second)}
    assert len(digests) == 1


def test_video_url_and_signed_callback(
    running: Deployment, client: httpx.Client, web: Neighbour, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "far.mp4", moving_texture(26, 160, 120))
    web.files["/far.mp4"] = path.read_bytes()
    web.received.clear()
    secret = client.post("/webhooks/secret/rotate").json()["secret"]
    wish = {"video_url": web.url("/far.mp4"), "callback_url": web.url("/hook")}
    taken = client.post("/analyze-video", json=wish)
    assert taken.status_code == 202, taken.text
    job = finished(client, taken.json()["job_id"])
    assert job["status"] == "completed", job
    assert job["filename"] == "far.mp4"
    servers.wait_until(lambda: web.received, 10, "the webhook")
    headers, body = web.received[0]
    told = Webhook(secret).verify(body, headers)
    assert told["type"] == "job.completed"
    assert told["data"]["job_id"] == job["job_id"]
    with pytest.raises(Exception, match="signature"):
        Webhook(secret).verify(body.replace("completed", "failed"), headers)
    servers.wait_until(
        lambda: (
            client.get(f"/jobs/{job['job_id']}/webhooks").json()["deliveries"][0]["state"]
            == "delivered"
        ),
        5,
        "the delivery to be noted",
    )


def test_a_picture_gets_a_report_without_a_verdict(
    client: httpx.Client, clip: Path, portrait: NDArray[np.uint8], tmp_path: Path
) -> None:
    import cv2

    path = tmp_path / "portrait.png"
    cv2.imwrite(str(path), next(head(portrait, 1))[:, :, ::-1])
    with path.open("rb") as file:
        answer = client.post("/infer", files={"file": ("portrait.png", file)})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    report = Report.model_validate(found)
    assert report.prediction.overall_class == "uncertain"
    assert report.provenance.input.kind == "image"
    assert len(report.subjects) == 1
    judged = {one.name for one in report.detectors if one.status == "ok"}
    assert judged == {"visual_blend", "visual_generated"}
    assert client.get(f"/jobs/{report.job_id}").json()["kind"] == "image"

    with clip.open("rb") as file:
        film = client.post("/infer", files={"file": ("v.mp4", file)})
    assert film.status_code == 422
    assert "is no picture" in film.json()["detail"]
    text = client.post("/infer", files={"file": ("no.png", b"not a picture")})
    assert text.status_code == 422
    assert text.headers["content-type"] == "application/problem+json"


def test_a_voice_note_is_taken_like_a_video(client: httpx.Client, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "note.m4a", Sound(tone(3.0)))
    with path.open("rb") as file:
        job = client.post("/analyze-video", files={"file": ("note.m4a", file)}).json()
    done = finished(client, job["job_id"])
    assert (done["kind"], done["status"]) == ("audio", "completed")
    assert done["report"]["provenance"]["video"] is None
    assert "Too little speech" in done["report"]["prediction"]["reason"]


def test_infer_video_waits_for_the_report(client: httpx.Client, clip: Path) -> None:
    with clip.open("rb") as file:
        answer = client.post("/infer-video", files={"file": ("v.mp4", file)})
    assert answer.status_code == 200
    assert Report.model_validate(answer.json()).status == "completed"


def test_the_plans_names_work(client: httpx.Client, clip: Path) -> None:
    with clip.open("rb") as file:
        task = client.post("/detect_video", files={"file": ("v.mp4", file)}).json()
    finished(client, task["task_id"])
    status = client.get(f"/status/{task['task_id']}").json()
    assert (status["status"], status["progress"]) == ("completed", 100)
    assert status["result"]["job_id"] == task["task_id"]


def test_a_batch_takes_the_good_and_names_the_bad(
    client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing of the kind" * 100)
    files = [("file", (path.name, path.read_bytes())) for path in (clip, bad)]
    batch = client.post("/batches", files=files).json()
    good, refused = batch["items"]
    assert good["error"] is None
    assert refused["job_id"] is None
    assert refused["error"]["kind"] == "unreadable_media"
    assert "bad.mp4" in refused["error"]["message"]
    finished(client, good["job_id"])
    status = client.get(batch["status_url"]).json()
    assert (status["total"], status["finished"]) == (1, 1)


def test_the_example_in_the_repository_works(running: Deployment, clip: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "submit_and_follow.py"
    url = f"http://127.0.0.1:{running.port}"
    done = subprocess.run(
        [sys.executable, str(example), str(clip), url],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("queued")
    assert lines[-1].startswith("uncertain None")


def test_erasing_leaves_nothing(client: httpx.Client, clip: Path) -> None:
    job = finished(client, upload(client, clip).json()["job_id"])
    assert client.delete(f"/jobs/{job['job_id']}").status_code == 204
    for path in ("", "/events", "/artifacts", "/artifacts/report.json"):
        assert client.get(f"/jobs/{job['job_id']}{path}").status_code == 404
    assert job["job_id"] not in client.get("/jobs").text


def test_the_operators_routes_answer(running: Deployment, client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    ready = client.get("/health/ready").json()
    assert ready["parts"]["database"] == "ok"
    profiles = {entry["name"]: entry for entry in client.get("/version").json()["profiles"]}
    assert {model["name"] for model in profiles["lite"]["models"]} >= {"retinaface-mobilenet"}
    figures = client.get("/metrics").text
    assert 'aura_jobs{state="completed"}' in figures
    assert 'aura_stage_seconds_count{stage="analyse"}' in figures
    assert "aura_queue_age_seconds" in figures
    # Nothing that lets somebody in, or tells where news is sent, is in the log.
    secret = client.post("/webhooks/secret/rotate").json()["secret"]
    log = running.log
    assert "claimed" in log
    for word in (secret, "whsec_", "signature", "/hook", "Bearer"):
        assert word not in log
