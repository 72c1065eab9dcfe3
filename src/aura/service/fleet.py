"""`aura worker`: a Celery worker, kept alive, and the housekeeping beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.service.context import Service
from aura.service.extensions import load_extensions
from aura.service.housekeeping import Housekeeper
from aura.service.logs import configure_logs, get_logger
from aura.service.queue import ENDS_WITH_STDIN, CeleryBell

if TYPE_CHECKING:
    from aura.service.settings import Settings

log = get_logger("fleet")

POOLS = ("prefork", "solo")
RESTART_PAUSE = 1.0  # seconds before Celery is started again, doubled each time
RESTART_PAUSE_MAX = 10.0
SETTLED_SECONDS = 60.0


def run_worker(settings: Settings, concurrency: int, pool: str) -> None:
    """Work until told to stop: SIGTERM lets the jobs under way end first.

    Raises:
        UsageError: the settings name no queue, or tables of another version.
    """
    if pool not in POOLS:
        raise UsageError(f"--pool {pool}: choose one of {', '.join(POOLS)}")
    if not settings.redis_url:
        raise UsageError(
            "AURA_REDIS_URL is not set; a worker of a fleet needs a queue to listen to"
        )
    configure_logs()
    # With its own connection to the queue: the sweep of every worker rings for what waits.
    service = Service(settings, CeleryBell(settings.redis_url))
    keeper = Housekeeper(service, load_extensions(service))
    keeper.start()
    stopping = threading.Event()
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        if process is not None:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    command = [sys.executable, "-m", "celery", "--app", "aura.service.queue", "--quiet", "worker"]
    command += ["--pool", pool, "--concurrency", str(concurrency)]
    command += ["--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    pause = RESTART_PAUSE
    while not stopping.is_set():
        began = time.monotonic()
        # A group of its own: Ctrl-C reaches it through `stop` once, not twice. Its input is a pipe
        # from us, and ends with us, even if we are killed.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            env={**os.environ, **settings.environment(), ENDS_WITH_STDIN: "1"},
            process_group=0,
        )
        if stopping.is_set():
            process.terminate()
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if not stopping.is_set():
            settled = time.monotonic() - began > SETTLED_SECONDS
            pause = RESTART_PAUSE if settled else min(2 * pause, RESTART_PAUSE_MAX)
            log.warning("celery_ended", code=code)
            stopping.wait(pause)
    keeper.stop()
    service.close()
