"""Broken and hostile uploads: a clear 4xx or a failed job each; the worker lives on."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from deployment import Deployment, finished
from hostile import uploads, valid

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = int(os.environ.get("AURA_TEST_UPLOADS", "45"))  # 300 for the figures in docs/service.md
WORKER_CAP = 2048 * 2**20
CLIENT_ERRORS = range(400, 500)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    settings = {
        "AURA_WORKER_MEMORY": str(WORKER_CAP),
        "AURA_MAX_UPLOAD": str(4 * 2**20),
        "AURA_MAX_DURATION": "60",
        "AURA_CACHE_SCOPE": "off",
    }
    deployment = Deployment(tmp_path_factory.mktemp("hostile"), settings)
    try:
        deployment.serve()
        yield deployment
    finally:
        deployment.stop()


def worker_of(deployment: Deployment) -> psutil.Process:
    (server,) = deployment.processes
    for child in psutil.Process(server.pid).children():
        if "aura.service.embedded" in child.cmdline():
            return child
    pytest.fail("no worker runs")


def peak(process: psutil.Process) -> int:
    """Most memory that it ever had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def test_whatever_is_sent_gets_a_clear_answer_and_the_worker_lives_on(
    running: Deployment, tmp_path: Path
) -> None:
    with running.client() as client:
        name, data = next(valid(tmp_path))
        first = client.post("/analyze-video", files={"file": (name, data)}).json()["job_id"]
        assert finished(client, first)["status"] == "completed"
        worker = worker_of(running)
        jobs, answers = {}, Counter()
        for name, data in uploads(tmp_path, COUNT):
            answer = client.post("/analyze-video", files={"file": (name, data)})
            if answer.status_code == 202:
                jobs[answer.json()["job_id"]] = name
                continue
            assert answer.status_code in CLIENT_ERRORS, (name, answer.text)
            assert answer.headers["content-type"] == "application/problem+json", name
            detail = answer.json()["detail"]
            assert str(running.folder) not in detail, detail
            answers[answer.status_code] += 1
        for job_id, name in jobs.items():
            job = finished(client, job_id)
            assert job["status"] in {"completed", "failed"}, (name, job["error"])
            assert job["attempt"] == 1, name
            if job["error"] is not None:
                assert len(job["error"]["message"]) > 10
                assert str(running.folder) not in job["error"]["message"]
            answers[job["status"]] += 1
        figures = f"{sum(answers.values())} uploads: {dict(answers)}, peak {peak(worker) >> 20} MiB"
        sys.stdout.write(figures + "\n")  # for `pytest -s`
        assert worker_of(running).pid == worker.pid
        assert peak(worker) < WORKER_CAP
        assert answers[422] >= 10
        again = client.post(
            "/analyze-video", files={"file": ("valid.mp4", next(valid(tmp_path))[1])}
        )
        assert finished(client, again.json()["job_id"])["status"] == "completed"
    # Of what was sent nothing is kept; each job that ended well has its thumbnail, and no more.
    kept = [path for path in (running.data_dir / "storage").rglob("*") if path.is_file()]
    assert {path.name for path in kept} <= {"thumbnail.jpg"}
    assert len(kept) <= answers["completed"] + 2  # the first and the last upload


def exchange(deployment: Deployment, *parts: bytes, hang_up: bool = False) -> bytes:
    """Bytes on the wire; what comes back until the server hangs up or a second passes."""
    with socket.create_connection(("127.0.0.1", deployment.port), 5) as connection:
        for part in parts:
            connection.sendall(part)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(3)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
                if b"\r\n\r\n" in found and not hang_up:
                    break
        except TimeoutError:
            pass
        return found


def request(length: int | str, body: bytes, kind: str = "multipart/form-data; boundary=B") -> bytes:
    head = f"POST /analyze-video HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode() + body


PART = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'


def test_lies_about_length_and_form_are_refused_and_leave_nothing(running: Deployment) -> None:
    huge = 10 * 2**20
    assert b" 413 " in exchange(running, request(huge, PART))  # before a byte of it is read
    assert b" 413 " in exchange(running, request(5 * 2**20, PART + bytes(5 * 2**20 - len(PART))))
    assert b" 400 " in exchange(running, request(len(PART) + 5, PART + b"12345"))
    assert b" 400 " in exchange(running, request("nonsense", PART))
    assert b" 400 " in exchange(running, request(-5, PART))
    assert b" 415 " in exchange(running, request(5, b"12345", "text/plain"))
    assert b" 415 " in exchange(running, request(5, b"12345", "multipart/form-data"))
    assert b" 400 " in exchange(running, request(huge // 5, b"--B\r\nX: " + b"y" * (huge // 5 - 8)))
    many = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' for _ in range(999)
    )
    assert b" 413 " in exchange(running, request(len(many), many))
    # Promised more than it sends, then gone: nobody is there to be answered, nothing must stay.
    exchange(running, request(100_000, PART + bytes(5000)), hang_up=True)
    scratch = running.data_dir / "scratch"
    left = [path for path in scratch.glob("*/upload-*") if path.exists()]
    assert left == []
    with running.client() as client:
        assert client.get("/health/ready").status_code == 200
