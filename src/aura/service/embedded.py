"""Worker processes beside the API: started with it, started again when they die.

A worker listens on its standard input: a byte is a bell, the end means that the API is gone.
`python -m aura.service.embedded` is such a worker; it reads its settings from the environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from aura.service.context import Service
from aura.service.limits import limit_memory
from aura.service.logs import configure_logs, get_logger
from aura.service.settings import read_settings
from aura.service.work import run_job, warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.service.settings import Settings

log = get_logger("embedded")

RESTART_PAUSE = 0.5  # seconds before a worker that died is started again, doubled each time
RESTART_PAUSE_MAX = 5.0  # up to this,
SETTLED_SECONDS = 60.0  # unless it lived so long
STOP_SECONDS = 20.0  # for a worker to give its job back before it is killed
LISTEN_BYTES = 4096


class EmbeddedWorkers:
    """Keeps worker processes alive; is their bell as well."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **settings.environment()}
        self._stopping = threading.Event()
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * settings.workers
        self._threads = [
            threading.Thread(target=self._keep, args=(slot,), name="aura-keeper", daemon=True)
            for slot in range(settings.workers)
        ]

    def start(self) -> None:
        """Start them."""
        for thread in self._threads:
            thread.start()

    def ring(self, job_ids: Sequence[str]) -> None:
        """Wake all: each looks into the table."""
        del job_ids
        for process in self._processes:
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError, ValueError):
                    process.stdin.write(b"!")
                    process.stdin.flush()

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that run now."""
        return [process.pid for process in self._processes if process and process.poll() is None]

    def stop(self) -> None:
        """Let each give its job back, then end it."""
        self._stopping.set()
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.terminate()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.kill()

    def _keep(self, slot: int) -> None:
        pause = RESTART_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "aura.service.embedded"],
                stdin=subprocess.PIPE,
                env=self._environment,
            )
            self._processes[slot] = process
            if self._stopping.is_set():
                process.terminate()
            code = process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - began
            pause = RESTART_PAUSE if lived > SETTLED_SECONDS else min(2 * pause, RESTART_PAUSE_MAX)
            log.warning("worker_died", code=code, seconds=round(lived, 1))
            self._stopping.wait(pause)


def main() -> None:
    """Body of a worker process."""
    configure_logs()
    settings = read_settings()
    limit_memory(settings.worker_memory)
    service = Service(settings)
    stopping, bell = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        bell.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the API, which tells us
    threading.Thread(target=_listen, args=(bell, stop), daemon=True).start()
    log.info("worker_ready", pid=os.getpid())
    warm = False
    while not stopping.is_set():
        bell.clear()
        try:
            done = run_job(service, stopping=stopping)
        except Exception:  # the database is away, for instance
            log.exception("round_failed")
            done = None
        if done is None and not warm:
            warm_up()
            warm = True
        elif done is None:
            bell.wait(settings.poll_seconds)
    service.close()


def _listen(bell: threading.Event, stop: object) -> None:
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, LISTEN_BYTES):
        bell.set()
    stop()  # type: ignore[operator]


if __name__ == "__main__":
    main()
