"""Whole journeys through a fleet: PostgreSQL, Redis, a Celery worker, HTTP on all sides.

Only Meta's API is stood in for. S3 lies behind a gate that can be shut.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import httpx2 as httpx
import psycopg
import pyarrow.parquet as pq
import pytest
import servers
from deployment import Deployment, finished
from gate import gate_before
from meta import deliver, media, meta_api, post, text_of
from receiver import Receiver
from standardwebhooks.webhooks import Webhook

from media_factory import moving_texture, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gate import Gate
    from meta import Meta

pytest.importorskip("pywa", reason="needs the extra: pip install 'aura-veracity[whatsapp]'")
pytest.importorskip("psycopg_pool", reason="needs the extra: pip install 'aura-veracity[dev]'")

BUCKET = "flows"
SLOW = 90.0  # seconds; on an idle machine each wait takes one or two


@dataclass
class Fleet:
    """A running fleet with all its neighbours."""

    deployment: Deployment
    meta: Meta
    store: Gate
    receiver: Receiver
    client: httpx.Client
    database_url: str

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            found = connection.execute(text, values)
            return found.fetchall() if found.description else []

    def make_due(self, *tables: str) -> None:
        """Time passes for what waits for its next try."""
        for table in tables:
            self.query(f"UPDATE {table} SET next_at = now() - interval '1 s'")


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, s3_endpoint: str
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("flows")
    redis = servers.Redis(folder)
    ours, theirs = (servers.new_postgres_database(postgres_url) for _ in range(2))
    with meta_api() as meta, gate_before(int(s3_endpoint.rsplit(":", 1)[1])) as store:
        receiver = Receiver(theirs, "")
        aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        settings = {
            **aws,
            **meta.environment(),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AURA_DATABASE_URL": ours,
            "AURA_STORAGE_URL": f"s3://{BUCKET}/aura",
            "AURA_S3_ENDPOINT": f"http://{store.host}",
            "AURA_STORAGE_SECONDS": "1",
            "AURA_STORAGE_PAUSE": "0.3",
            "AURA_SECRET": "flows",
            "AURA_SWEEP_SECONDS": "0.5",
            "AURA_ORPHAN_SECONDS": "3600",
            "AURA_WHATSAPP_PROGRESS_SECONDS": "600",  # a busy machine takes long,
            "AURA_WHATSAPP_API_SECONDS": "20",  # and what is taken for lost is sent again
            "AURA_PUBLIC_URL": "https://aura.test",
            "AURA_ALLOWED_HOSTS": f"{meta.host},{receiver.host}",
        }
        options = {name.lower(): value for name, value in aws.items()}
        s3 = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1", **options)
        s3.create_bucket(Bucket=BUCKET)
        deployment = Deployment(folder, settings)
        try:
            redis.start()
            deployment.settings["AURA_REDIS_URL"] = redis.url
            deployment.aura("db", "upgrade")
            deployment.start("worker")
            deployment.serve()
            with deployment.client() as client:
                receiver.secret = client.post("/webhooks/secret/rotate").json()["secret"]
                yield Fleet(deployment, meta, store, receiver, client, ours)
        finally:
            deployment.stop()
            redis.stop()
            receiver.stop()


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    """A clip like no other: with the time in it."""
    path = write_clip(tmp_path / "clip.mp4", moving_texture(13, 160, 120))
    return path.read_bytes() + time.monotonic_ns().to_bytes(8, "big")


def submit(fleet: Fleet, clip: bytes, **fields: str) -> str:
    answer = fleet.client.post("/analyze-video", files={"file": ("c.mp4", clip)}, data=fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def test_from_a_message_to_a_job_to_a_worker_to_a_reply(fleet: Fleet, clip: bytes) -> None:
    video = media("video", fleet.meta.offer(clip))
    assert deliver(fleet.client, post(video)).status_code == 200
    servers.wait_until(lambda: len(fleet.meta.sent) >= 1, SLOW, "`received`, at once")
    servers.wait_until(lambda: len(fleet.meta.sent) == 2, SLOW, "the verdict")
    first, verdict = fleet.meta.sent
    assert first["text"]["body"].startswith("Received.")
    # A worker on a busy machine gives a picture up after a while; then there is none to send.
    drawn = fleet.query("SELECT size_bytes FROM job_artifacts WHERE name = 'thumbnail.jpg'")
    assert verdict["type"] == ("image" if drawn else "text")
    assert [b"\xff\xd8\xff" in one for one in fleet.meta.uploaded] == [True] * len(drawn)
    words = text_of(verdict)
    assert words.startswith("*No clear answer.*\nNo face could be judged")
    assert {one["context"]["message_id"] for one in fleet.meta.sent} == {video["id"]}

    ((state, job_id, owner),) = fleet.query(
        "SELECT i.state, i.job_id, j.owner FROM whatsapp_inbox i JOIN detection_jobs j"
        " ON j.id = i.job_id"
    )
    assert state == "done"
    assert fleet.query("SELECT state, message_id FROM whatsapp_outbox ORDER BY number") == [
        ("sent", "wamid.out1"),
        ("sent", "wamid.out2"),
    ]
    assert fleet.query(
        "SELECT owner, verdict FROM detection_history WHERE job_id = %s", job_id
    ) == [(owner, "uncertain")]
    link = words.rsplit("https://aura.test", 1)[1]
    assert fleet.client.get(link.replace("report.pdf", "report.json")).status_code == 403
    assert job_id not in fleet.client.get("/jobs").text  # it is the sender's


def test_a_callback_survives_a_receiver_that_is_down_and_duplicates_change_nothing(
    fleet: Fleet, clip: bytes
) -> None:
    receiver = fleet.receiver
    job_id = submit(fleet, clip, callback_url=receiver.url)
    assert finished(fleet.client, job_id, SLOW)["status"] == "completed"

    def delivery() -> dict[str, Any]:
        (found,) = fleet.client.get(f"/jobs/{job_id}/webhooks").json()["deliveries"]
        return dict(found)

    servers.wait_until(lambda: delivery()["last_error"], SLOW, "the first try")
    for attempts in (1, 2):  # nobody is there
        servers.wait_until(lambda n=attempts: delivery()["attempts"] == n, SLOW, "a try")
        assert delivery()["state"] == "pending"
        fleet.make_due("webhook_deliveries")
    receiver.start()
    with psycopg.connect(receiver.database_url, autocommit=True) as listener:
        listener.execute("LISTEN detection_history")
        fleet.make_due("webhook_deliveries")
        servers.wait_until(lambda: delivery()["state"] == "delivered", SLOW, "the delivery")
        notified = [one.payload for one in listener.notifies(timeout=2, stop_after=1)]
        (row,) = receiver.rows()
        report = fleet.client.get(f"/jobs/{job_id}").json()["report"]
        assert notified == [row["job_id"]] == [job_id]
        assert (row["status"], row["verdict"]) == ("completed", "uncertain")
        assert row["detector_scores"] == report["detector_scores"]
        assert row["model_metadata"] == report["metadata"]

        # The same again, by Aura itself and by somebody who listened in: nothing changes.
        again = fleet.client.post(f"/webhooks/{delivery()['id']}/replay")
        assert again.status_code == 202
        servers.wait_until(lambda: delivery()["state"] == "delivered", SLOW, "the replay")
        assert receiver.rows() == [row]
        assert list(listener.notifies(timeout=0.3)) == []


def test_the_receiver_takes_nothing_that_is_forged_old_or_older_than_what_it_has(
    fleet: Fleet,
) -> None:
    receiver = fleet.receiver
    if receiver.process is None:
        receiver.start()
    now = datetime.now().astimezone()

    def send(status: str, told_at: datetime, secret: str, sent_at: datetime = now) -> int:
        data = {"job_id": "a" * 32, "status": status, "verdict": None}
        body = '{"type":"x","timestamp":"%s","data":%s}'
        body %= (told_at.isoformat(), str(data).replace("'", '"').replace("None", "null"))
        signature = Webhook(secret).sign("msg", sent_at, body)
        headers = {
            "webhook-id": "msg",
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": signature,
        }
        return httpx.post(receiver.url, content=body, headers=headers).status_code

    def status() -> list[str]:
        return [row["status"] for row in receiver.rows() if row["job_id"] == "a" * 32]

    assert send("forged", now, "whsec_" + "A" * 43 + "=") == 403
    assert send("replayed", now, receiver.secret, now - timedelta(minutes=6)) == 403
    assert httpx.post(receiver.url, content=b"{}").status_code == 403
    assert httpx.post(receiver.url, content=bytes(300_000)).status_code == 413
    bad = {"webhook-id": "1", "webhook-timestamp": "x", "webhook-signature": "no"}
    assert httpx.post(receiver.url, content=b"{}", headers=bad).status_code == 403
    assert status() == []
    assert send("completed", now, receiver.secret) == 204
    assert send("dead", now - timedelta(seconds=5), receiver.secret) == 204  # came late
    assert status() == ["completed"]


@pytest.mark.parametrize("trouble", ["failing", "hanging"])
def test_a_store_that_is_away_delays_jobs_and_messages_and_loses_none(
    fleet: Fleet, clip: bytes, trouble: str
) -> None:
    held = clip + b"\0"
    # A worker that can't fetch: the job was taken in before.
    job_id = submit(fleet, clip)
    fleet.store.shut(trouble)
    refused = fleet.client.post("/analyze-video", files={"file": ("c.mp4", held)})
    assert refused.status_code == 503, refused.text
    assert refused.headers["Retry-After"] == "30"
    assert refused.json()["type"].endswith(":storage_away")

    sent = len(fleet.meta.sent)
    video = media("video", fleet.meta.offer(held), "15550100077")
    assert deliver(fleet.client, post(video)).status_code == 200
    waiting = "SELECT attempts, state, last_error FROM whatsapp_inbox WHERE id = %s"
    servers.wait_until(lambda: fleet.query(waiting, video["id"])[0][2], SLOW, "the message's try")
    assert fleet.query(waiting, video["id"])[0][1] == "new"
    assert len(fleet.meta.sent) == sent + 1  # `received` needs no store

    fleet.store.open()
    fleet.make_due("whatsapp_inbox")
    job = finished(fleet.client, job_id, SLOW)
    assert job["status"] == "completed"
    servers.wait_until(lambda: len(fleet.meta.sent) == sent + 2, SLOW, "the verdict")


def test_a_dead_whatsapp_delays_its_messages_while_everything_else_goes_on(
    fleet: Fleet, clip: bytes
) -> None:
    fleet.meta.status = 500
    sent = len(fleet.meta.sent)
    number = "15550100088"
    video = media("video", fleet.meta.offer(clip), number)
    assert deliver(fleet.client, post(video)).status_code == 200
    job_id = submit(fleet, clip + b"\1")
    assert finished(fleet.client, job_id, SLOW)["status"] in {"completed", "failed"}
    assert len(fleet.meta.sent) == sent
    fleet.meta.status = 200

    fleet.make_due("whatsapp_inbox", "whatsapp_outbox")
    servers.wait_until(lambda: len(fleet.meta.to(number)) >= 2, SLOW, "both messages")
    assert fleet.meta.to(number)[0].startswith("Received.")


def test_a_manifest_goes_through_celery_and_a_killed_run_goes_on(
    fleet: Fleet, tmp_path: Path
) -> None:
    for n in range(4):
        write_clip(tmp_path / f"{n}.mp4", moving_texture(13 + n, 160, 120))
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    names = ["0.mp4", "1.mp4", "bad.mp4", "2.mp4", "0.mp4", "3.mp4"]
    lines = ["path,label,score", *(f"{name},real,{n}" for n, name in enumerate(names))]
    manifest, out = tmp_path / "manifest.csv", tmp_path / "results.parquet"
    manifest.write_text("\n".join(lines))
    command = ("bulk", str(manifest), "--out", str(out), "--ahead", "1", "--user", "research")
    done = "SELECT count(*) FROM detection_jobs WHERE owner = 'research' AND state = 'completed'"

    first = fleet.deployment.start(*command)
    servers.wait_until(lambda: fleet.query(done)[0][0] >= 1, SLOW, "the first result")
    first.kill()
    first.wait()
    assert not out.exists()
    second = fleet.deployment.start(*command)
    assert second.wait(2 * SLOW) == 3, fleet.deployment.log  # one of them is no video
    jobs = "SELECT count(*), max(attempt) FROM detection_jobs WHERE owner = 'research'"
    assert fleet.query(jobs) == [(4, 1)]

    rows = pq.read_table(out).to_pylist()
    assert [row["place"] for row in rows] == [str(tmp_path / name) for name in names]
    assert [row["manifest_score"] for row in rows] == [str(n) for n in range(6)]
    assert [row["status"] for row in rows].count("completed") == 5
    bad = rows.pop(2)
    assert (bad["status"], bad["error_kind"]) == ("refused", "unreadable_media")
    assert {row["verdict"] for row in rows} == {"uncertain"}
    assert {row["label"] for row in rows} == {"real"}
    assert rows[0]["job_id"] == rows[3]["job_id"]
    assert {"lip_sync_error", "model_version", "score"} <= rows[0].keys()
