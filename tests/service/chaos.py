"""Clients submit while workers, queue and API are killed: every job must end exactly once.

python tests/service/chaos.py --jobs 200     # both modes; prints the figures of docs/service.md
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import servers
import sqlalchemy as sa
from deployment import Deployment

from aura.service.database import open_database
from aura.service.tables import detection_history, detection_jobs, job_artifacts, job_events
from media_factory import moving_texture, write_clip

ATTEMPTS = 5
JOBS_BETWEEN = (1, 5)  # that end before the next disturbance, so that the run gets on at any speed
PAUSE_MOST = 60.0  # seconds, if they do not
FINAL = ("completed", "failed", "cancelled", "dead")
SETTLE_SECONDS = 900.0
ORPHAN_SECONDS = 60


def variant(clip: bytes, number: int) -> bytes:
    """The same clip with other bytes at its end, in a box that players skip."""
    return clip + struct.pack(">I4s16s", 24, b"free", b"%016d" % number)


class Chaos:
    """One run against one deployment."""

    def __init__(self, deployment: Deployment, redis: servers.Redis | None, seed: int) -> None:
        self.deployment = deployment
        self.redis = redis
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.orphans: list[psutil.Process] = []
        self.done = threading.Event()
        self.engine: sa.Engine

    def start(self) -> None:
        if self.redis is not None:
            self.redis.start()
            self.deployment.aura("db", "upgrade")
            self.deployment.start("worker", "-c", "2")
        self.api = self.deployment.serve()

    def submit(self, client: int, number: int, data: bytes, name: str) -> str:
        """As a careful client does: again with the same key until there is an answer."""
        headers = {"Idempotency-Key": f"{client}-{number}"}
        while True:
            with contextlib.suppress(httpx.TransportError), self.deployment.client() as http:
                answer = http.post("/analyze-video", files={"file": (name, data)}, headers=headers)
                assert answer.status_code == 202, answer.text
                found: str = answer.json()["job_id"]
                return found
            time.sleep(0.2)

    def disturb(self) -> None:
        """Body of the thread that breaks things."""
        acts = [self.kill_worker] * 6 + [self.restart_api]
        if self.redis is not None:
            acts += [self.restart_redis, self.kill_fleet_worker]
        while not self.done.is_set():
            wanted = self.ended() + self.random.randint(*JOBS_BETWEEN)
            latest = time.monotonic() + PAUSE_MOST
            while self.ended() < wanted and time.monotonic() < latest and not self.done.wait(0.3):
                pass
            if not self.done.wait(self.random.uniform(0, 0.5)):
                self.random.choice(acts)()

    def ended(self) -> int:
        query = sa.select(sa.func.count()).where(detection_jobs.c.state.in_(FINAL))
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def workers(self) -> list[psutil.Process]:
        """The processes that run jobs now."""
        found = []
        for started in self.deployment.processes:
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(started.pid).children(recursive=True):
                    line = " ".join(process.cmdline())
                    above = " ".join(psutil.Process(process.ppid()).cmdline())
                    child_of_celery = "aura.service.queue" in line and "aura.service.queue" in above
                    if "aura.service.embedded" in line or child_of_celery:
                        found.append(process)
        return found

    def kill_worker(self) -> None:
        alive = self.workers()
        if alive:
            with contextlib.suppress(psutil.Error):
                self.random.choice(alive).kill()
                self.counts["workers killed"] += 1

    def kill_fleet_worker(self) -> None:
        """`aura worker`, with or without everything below it, and a new one."""
        process = next(p for p in self.deployment.processes if "worker" in p.args)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        if self.random.random() < 0.5:  # else what is below has to notice by itself
            for other in below:
                with contextlib.suppress(psutil.Error):
                    other.kill()
        process.wait()
        self.orphans += below
        self.deployment.processes.remove(process)
        self.deployment.start("worker", "-c", "2")
        self.counts["whole workers killed"] += 1

    def restart_redis(self) -> None:
        assert self.redis is not None
        self.redis.stop()
        time.sleep(self.random.uniform(0, 1))
        self.redis.start()
        self.counts["Redis restarted empty"] += 1

    def restart_api(self) -> None:
        self.api.kill()
        self.api.wait()
        self.deployment.processes.remove(self.api)
        self.api = self.deployment.serve()
        self.counts["API killed and restarted"] += 1

    def hunt_poison(self) -> None:
        """Body of the thread that kills whoever takes the poison file: it stands for a file that
        crashes its decoder."""
        jobs = detection_jobs.c
        query = sa.select(jobs.worker, jobs.attempt).where(
            jobs.filename == "poison.mp4", jobs.state == "running"
        )
        killed = 0
        while killed < ATTEMPTS and not self.done.wait(0.05):
            with contextlib.suppress(sa.exc.SQLAlchemyError), self.engine.connect() as connection:
                row = connection.execute(query).first()
                if row is None or row.attempt <= killed:
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(row.worker.rsplit(":", 1)[1]), signal.SIGKILL)
                killed = row.attempt
                self.counts["killed by the poison file"] += 1


def run(mode: str, folder: Path, postgres_url: str, *, jobs: int, clients: int, seed: int) -> Any:
    """One run; returns its figures after checking that every job ended exactly once."""
    redis = servers.Redis(folder) if mode == "fleet" else None
    settings = {
        "AURA_MAX_ATTEMPTS": str(ATTEMPTS),
        "AURA_LEASE_SECONDS": "2",
        "AURA_SWEEP_SECONDS": "0.5",
        # On a busy machine seconds pass between the end of an upload and its row.
        "AURA_ORPHAN_SECONDS": str(ORPHAN_SECONDS),
    }
    if redis is not None:
        url = servers.new_postgres_database(postgres_url)
        settings |= {"AURA_DATABASE_URL": url, "AURA_REDIS_URL": redis.url}
    deployment = Deployment(folder / mode, settings)
    clip = write_clip(folder / "clip.mp4", moving_texture(75, 320, 240)).read_bytes()
    long = write_clip(folder / "long.mp4", moving_texture(900, 640, 360)).read_bytes()
    chaos = Chaos(deployment, redis, seed)
    began = time.monotonic()
    try:
        chaos.start()
        engine = chaos.engine = open_database(
            settings.get("AURA_DATABASE_URL", f"sqlite:///{deployment.data_dir / 'aura.db'}")
        )
        ids = submit_all(chaos, [variant(clip, number) for number in range(jobs)], long, clients)
        wait_for_all(engine, len(ids))
        chaos.done.set()
        check(engine, ids)
        gone, alive = psutil.wait_procs(chaos.orphans, timeout=30)
        assert alive == [], "a killed worker left processes behind"
        chaos.counts["processes that ended with their killed worker"] = len(gone)
        left = wait_for_tidy(deployment, engine)
        assert left == [], left
        engine.dispose()
    finally:
        chaos.done.set()
        deployment.stop()
        if redis is not None:
            redis.stop()
    return {
        "mode": mode,
        "jobs": len(ids),
        "clients": clients,
        "seconds": round(time.monotonic() - began, 1),
        "load average": os.getloadavg()[1],
        **chaos.counts,
    }


def submit_all(chaos: Chaos, files: list[bytes], poison: bytes, clients: int) -> list[str]:
    threads = [
        threading.Thread(target=chaos.disturb, daemon=True),
        threading.Thread(target=chaos.hunt_poison, daemon=True),
    ]
    ids = [chaos.submit(clients, 0, poison, "poison.mp4")]
    for thread in threads:
        thread.start()

    def one_client(client: int) -> list[str]:
        mine = list(enumerate(files))[client::clients]
        return [chaos.submit(client, number, data, "clip.mp4") for number, data in mine]

    with ThreadPoolExecutor(clients) as pool:
        for found in pool.map(one_client, range(clients)):
            ids += found
    return ids


def wait_for_all(engine: sa.Engine, count: int) -> None:
    query = sa.select(sa.func.count()).where(detection_jobs.c.state.in_(FINAL))

    def ended() -> bool:
        with engine.connect() as connection:
            return int(connection.execute(query).scalar_one()) == count

    servers.wait_until(ended, SETTLE_SECONDS, "all jobs to end")


def check(engine: sa.Engine, ids: list[str]) -> None:
    """Every job ended once, with its own result; the poison file is dead after its attempts."""
    assert len(set(ids)) == len(ids)
    with engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(sa.select(detection_jobs))}
        ends = Counter(
            connection.execute(
                sa.select(job_events.c.job_id).where(job_events.c.kind.in_(FINAL))
            ).scalars()
        )
        results = set(connection.execute(sa.select(detection_history.c.job_id)).scalars())
    assert set(rows) == set(ids), "a job was lost or doubled"
    assert ends == Counter(ids), "a job ended twice or never"
    poison, *others = ids
    assert (rows[poison].state, rows[poison].attempt) == ("dead", ATTEMPTS)
    for job_id in others:
        row = rows[job_id]
        assert row.attempt <= row.max_attempts
        if row.state == "dead":  # killed at random as often as the poison file: it looks like one
            assert (row.error_kind, row.attempt) == ("worker_lost", row.max_attempts)
            continue
        assert row.state == "completed", (row.state, row.error_message)
        assert row.report["job_id"] == job_id
    assert results == {job_id for job_id in others if rows[job_id].state == "completed"}


def wait_for_tidy(deployment: Deployment, engine: sa.Engine) -> list[str]:
    """What is left of temporary files, media and drawn files after the housekeeping's time."""
    with engine.connect() as connection:
        query = sa.select(detection_jobs.c.media_key).where(detection_jobs.c.state == "dead")
        kept = {str(key) for key in connection.execute(query).scalars()}
        kept |= set(connection.execute(sa.select(job_artifacts.c.key)).scalars())

    def left() -> list[str]:
        found = []
        for path in deployment.data_dir.rglob("*"):
            place = path.relative_to(deployment.data_dir).as_posix()
            temporary = place.startswith("scratch/") and path.name != ".lock" and path.is_file()
            stored = place.startswith("storage/") and path.is_file()
            if temporary or (stored and place.removeprefix("storage/") not in kept):
                found.append(place)
        return found

    with contextlib.suppress(BaseException):
        servers.wait_until(lambda: not left(), ORPHAN_SECONDS + 60, "housekeeping")
    return left()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, servers.postgres(Path(name)) as url:
        for mode in ("machine", "fleet"):
            folder = Path(name) / f"run-{mode}"
            folder.mkdir()
            figures = run(
                mode,
                folder,
                url,
                jobs=options.jobs,
                clients=options.clients,
                seed=options.seed,
            )
            sys.stdout.write(json.dumps(figures) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
