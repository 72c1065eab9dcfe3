"""The service as an operator runs it, in processes of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
from servers import free_port, port_answers, wait_until

from stand_in import Answering, answering

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = {
    "AURA_LEASE_SECONDS": "3",
    "AURA_SWEEP_SECONDS": "0.2",
    "AURA_POLL_SECONDS": "0.1",
    "AURA_RING_AGAIN": "3",
    "AURA_ORPHAN_SECONDS": "5",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Deployment:
    """One API, and the workers that belong to it; `settings` as environment variables."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        data = {"AURA_DATA_DIR": str(self.data_dir)}
        return {**os.environ, **QUICK, **data, **self.settings}

    def aura(self, *arguments: str) -> str:
        """Run a command to its end; returns what it printed."""
        return subprocess.run(
            [sys.executable, "-m", "aura", *arguments],
            env=self.environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aura", *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        process = self.start("serve", "--host", self.host, "--port", str(self.port))
        wait_until(lambda: port_answers(self.port) or process.poll() is not None, what="aura serve")
        assert process.poll() is None, self.log
        return process

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, **options)

    def stop(self) -> None:
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            # What a killed parent left behind is in its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def finished(client: httpx.Client, job_id: str, seconds: float = 40.0) -> dict[str, Any]:
    """The job once it is finished."""
    found: dict[str, Any] = {}

    def check() -> bool:
        nonlocal found
        found = client.get(f"/jobs/{job_id}").json()
        return found["finished_at"] is not None

    wait_until(check, seconds, f"job {job_id}")
    return found


def read_events(
    client: httpx.Client, job_id: str, after: int = 0, limit: int | None = None
) -> list[tuple[int, str, dict[str, Any]]]:
    """Events as (number, kind, data), as they come; hangs up after `limit`."""
    events: list[tuple[int, str, dict[str, Any]]] = []
    headers = {"Last-Event-ID": str(after)} if after else {}
    with client.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return []
        assert answer.headers["content-type"].startswith("text/event-stream")
        entry: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(":")
                entry[name] = value.strip()
            elif "data" in entry:
                events.append((int(entry["id"]), entry["event"], json.loads(entry["data"])))
                entry = {}
                if limit is not None and len(events) >= limit:
                    break
    return events


@dataclass
class Neighbour:
    """A web server that hands out files and takes webhooks in; answers with `status`."""

    port: int = 0
    status: int = 200
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    received: list[tuple[dict[str, str], str]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"


@contextlib.contextmanager
def neighbour() -> Iterator[Neighbour]:
    state = Neighbour()

    class Answers(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in state.redirects:
                self.answer(302, Location=state.redirects[self.path])
                return
            body = state.files.get(self.path)
            self.answer(404 if body is None else 200, body or b"")

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            text = self.rfile.read(size).decode()
            state.received.append(({k.lower(): v for k, v in self.headers.items()}, text))
            self.answer(state.status)

    with answering(Answers) as state.port:
        yield state
