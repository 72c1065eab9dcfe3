"""Celery with Redis: rings the bell for a fleet of workers, and does nothing else.

A message is worth one job, whichever is next in the table's order; so fairness is the table's, a
lost message costs a delay until the sweep rings again, and a doubled one finds nothing to do.
Results go into the table, never into a result backend, where they would expire.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery import Celery, signals

from aura.errors import UsageError
from aura.service.context import Service
from aura.service.deafness import start_watching
from aura.service.limits import limit_memory
from aura.service.logs import configure_logs
from aura.service.settings import read_settings
from aura.service.work import run_job

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE = "aura"
TASK = "aura.run"
# Redis hands a message out again when it is unconfirmed for so long. Longer than any deadline, so
# that it does not happen to a job that merely takes its time; if it does, nothing is done twice.
VISIBILITY_TIMEOUT = 6 * 3600
PROCESS_SECONDS = 60.0  # a new pool process may take to come up; on a busy machine 4 s are too few
ENDS_WITH_STDIN = "AURA_ENDS_WITH_STDIN"  # set by `aura worker`, which holds the other end
CONNECT_SECONDS = 2.0  # the API does not wait longer for Redis; the sweep rings later


def make_app(redis_url: str) -> Celery:
    """A Celery application on this Redis."""
    app = Celery("aura", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        # Confirmed when done, and handed out again when the child that had it was killed.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_proc_alive_timeout=PROCESS_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # Redis may be away for as long as it likes
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": 10.0,
            "socket_keepalive": True,
        },
        task_serializer="json",
        accept_content=["json"],
    )
    return app


class CeleryBell:
    """Sends a message for each job."""

    def __init__(self, redis_url: str) -> None:
        self._app = make_app(redis_url)

    def ring(self, job_ids: Sequence[str]) -> None:
        """Send them; raises what the connection raises, at once."""
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            for job_id in job_ids:
                self._app.send_task(TASK, (job_id,), connection=connection, retry=False)


_service: Service | None = None


def _worker_app() -> Celery:
    """The application as `aura worker` runs it, with its task."""
    settings = read_settings()
    if not settings.redis_url:
        raise UsageError(
            "AURA_REDIS_URL is not set; a worker of a fleet needs a queue to listen to"
        )
    app = make_app(settings.redis_url)

    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def set_logs_up(**_: Any) -> None:
        configure_logs()

    @signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
    def end_with_parent(**_: Any) -> None:
        if os.environ.get(ENDS_WITH_STDIN):
            threading.Thread(target=_await_parents_end, name="aura-parent", daemon=True).start()
            start_watching(settings.redis_url, QUEUE)  # who ends is started anew

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def run(job_id: str) -> None:
        """One bell: do one job. `job_id` says whose submission rang, not which is done."""
        del job_id
        global _service  # noqa: PLW0603 - one a process; made here, after the pool has forked
        if _service is None:
            limit_memory(settings.worker_memory)
            _service = Service(settings)
        run_job(_service)

    return app


def _await_parents_end() -> None:
    """When `aura worker` is gone, however it ended: take no more jobs, finish those under way."""
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def __getattr__(name: str) -> Any:
    """`celery -A aura.service.queue` looks for `app`; it is made for whoever asks."""
    if name == "app":
        return _worker_app()
    raise AttributeError(name)
