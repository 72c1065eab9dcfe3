"""Fifty clients at once while workers are busy: how fast the API answers, on both databases.

    PYTHONPATH=tests:tests/service python tests/service/load.py     # the figures of docs/service.md

API, workers, clients and the database share this machine, so the figures are those of all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import servers
from chaos import variants
from deployment import Deployment, finished

from media_factory import moving_texture, write_clip


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    found = np.percentile(np.array(seconds) * 1000, (50, 95, 99))
    return {f"p{p}_ms": round(float(v), 1) for p, v in zip((50, 95, 99), found, strict=True)}


def measure(deployment: Deployment, files: list[bytes], clients: int) -> dict[str, Any]:
    """Each client submits its files and asks for the state of each a few times."""
    submissions: list[float] = []
    states: list[float] = []
    start = threading.Barrier(clients + 1)
    last = 0.0

    def one(client: int) -> list[str]:
        nonlocal last
        ids = []
        with httpx.Client(base_url=f"http://127.0.0.1:{deployment.port}", timeout=60) as http:
            http.get("/health/live")
            start.wait()
            for data in files[client::clients]:
                began = time.monotonic()
                answer = http.post("/analyze-video", files={"file": ("a.mp4", data)})
                submissions.append(time.monotonic() - began)
                assert answer.status_code == 202, answer.text
                ids.append(answer.json()["job_id"])
                for _ in range(3):
                    began = time.monotonic()
                    assert http.get(f"/jobs/{ids[-1]}").status_code == 200
                    states.append(time.monotonic() - began)
            last = max(last, time.monotonic())
        return ids

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(one, client) for client in range(clients)]
        start.wait()
        began = time.monotonic()
        ids = [job_id for result in running for job_id in result.result()]
    with deployment.client() as http:
        counts = http.get("/metrics").text
        left = [
            line for line in counts.splitlines() if line.startswith('aura_jobs{state="queued"}')
        ]
    return {
        "clients": clients,
        "submissions": len(submissions),
        "submissions_per_second": round(len(submissions) / (last - began), 1),
        "submission": percentiles(submissions),
        "GET /jobs/{id}": percentiles(states),
        "still_queued_at_the_end": int(float(left[0].split()[-1])),
        "jobs": len(set(ids)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--submissions", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, servers.postgres(Path(name)) as url:
        folder = Path(name)
        clip = write_clip(folder / "clip.mp4", moving_texture(75, 320, 240)).read_bytes()
        files = variants(clip, options.submissions)
        for database in ("sqlite", "postgresql"):
            settings = {"AURA_SWEEP_SECONDS": "2", "AURA_LEASE_SECONDS": "30"}
            if database == "postgresql":
                settings["AURA_DATABASE_URL"] = servers.new_postgres_database(url)
            deployment = Deployment(folder / database, settings)
            try:
                deployment.aura("db", "upgrade")
                deployment.serve()
                with deployment.client() as http:  # the worker is warm, and then never idle
                    first = http.post("/analyze-video", files={"file": ("w.mp4", clip)}).json()
                    finished(http, first["job_id"])
                figures = measure(deployment, files, options.clients)
            finally:
                deployment.stop()
            sys.stdout.write(json.dumps({"database": database, **figures}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
