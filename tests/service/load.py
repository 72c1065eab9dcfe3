"""Fifty clients at once while workers are busy: how fast the API answers, on both databases.

    PYTHONPATH=tests:tests/service python tests/service/load.py     # the table of docs/service.md

API, workers, clients and the database share this machine, so the figures are those of all of them;
it takes some three minutes. What else ran shows in the load averages.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import numpy as np
import psutil
import servers
from chaos import variant
from deployment import Deployment, finished

from media_factory import moving_texture, write_clip

QUESTIONS = 3  # about the state of each job that was submitted
HEAD = (
    "| database | submissions/s | submission p50, p95, p99 ms | `GET /jobs/{id}` p50, p95, p99 ms "
    "| API's CPU ms a submission with its questions | submitted, analysed meanwhile "
    "| load average before, after |\n| --- | --- | --- | --- | --- | --- | --- |\n"
)


@dataclass
class Measured:
    """Seconds that each request took; each client adds to them."""

    submissions: list[float] = field(default_factory=list)
    questions: list[float] = field(default_factory=list)


def percentiles(seconds: list[float]) -> str:
    found = np.percentile(np.array(seconds) * 1000, (50, 95, 99))
    return ", ".join(f"{value:.0f}" for value in found)


def client_loop(
    port: int, clip: bytes, numbers: itertools.count[int], ends: float, measured: Measured
) -> None:
    """Submit, ask about it, and again, until it is time."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
        while time.monotonic() < ends:
            data = variant(clip, next(numbers))
            began = time.monotonic()
            answer = http.post("/analyze-video", files={"file": ("a.mp4", data)})
            measured.submissions.append(time.monotonic() - began)
            assert answer.status_code == 202, answer.text
            for _ in range(QUESTIONS):
                began = time.monotonic()
                job = http.get(f"/jobs/{answer.json()['job_id']}")
                measured.questions.append(time.monotonic() - began)
                assert job.status_code == 200, job.text


def states(deployment: Deployment) -> dict[str, int]:
    """How many jobs there are in each state, at one moment."""
    with deployment.client() as http:
        text = http.get("/metrics").text
    found = re.findall(r'aura_jobs\{state="(\w+)"\} ([\d.]+)', text)
    return {state: int(float(number)) for state, number in found}


def measure(deployment: Deployment, clip: bytes, clients: int, seconds: float) -> str:
    """One row of the table."""
    api = psutil.Process(deployment.serve().pid)
    with deployment.client() as http:  # the worker is warm, and then never idle
        first = http.post("/analyze-video", files={"file": ("w.mp4", clip)}).json()
        finished(http, first["job_id"], 120)
    numbers, measured, load = itertools.count(), Measured(), os.getloadavg()[0]
    cpu = sum(api.cpu_times()[:2])
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        running = [
            pool.submit(client_loop, deployment.port, clip, numbers, began + seconds, measured)
            for _ in range(clients)
        ]
        for result in running:
            result.result()
    took = time.monotonic() - began
    cpu = (sum(api.cpu_times()[:2]) - cpu) / len(measured.submissions)
    found = states(deployment)
    done = found["completed"] - 1
    assert done > 0, "no worker was busy"
    assert done + found["queued"] + found["running"] == len(measured.submissions), found
    return (
        f"{len(measured.submissions) / took:.1f} | {percentiles(measured.submissions)} "
        f"| {percentiles(measured.questions)} | {cpu * 1000:.0f} "
        f"| {len(measured.submissions)}, {done} | {load:.1f}, {os.getloadavg()[0]:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="On each database.")
    options = parser.parse_args()
    sys.stdout.write(HEAD)
    with tempfile.TemporaryDirectory() as name, servers.postgres(Path(name)) as url:
        folder = Path(name)
        clip = write_clip(folder / "clip.mp4", moving_texture(75, 320, 240)).read_bytes()
        for database in ("SQLite", "PostgreSQL"):
            settings = {"AURA_SWEEP_SECONDS": "2", "AURA_LEASE_SECONDS": "30"}
            if database == "PostgreSQL":
                settings["AURA_DATABASE_URL"] = servers.new_postgres_database(url)
            deployment = Deployment(folder / database, settings)
            try:
                deployment.aura("db", "upgrade")
                row = measure(deployment, clip, options.clients, options.seconds)
            finally:
                deployment.stop()
            sys.stdout.write(f"| {database} | {row}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
