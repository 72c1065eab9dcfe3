"""What has to be done every now and then, by any number of processes at once.

Jobs are taken from silent workers, bells rung again, webhooks sent, and everything deleted that
nobody needs any more.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from aura.service.jobs import utc_now
from aura.service.logs import get_logger
from aura.service.scratch import clear_abandoned
from aura.service.webhooks import deliver_due

if TYPE_CHECKING:
    from aura.service.context import Service

log = get_logger("housekeeping")

CLEAR_EVERY = 15.0  # seconds between looks for leftovers, which need no haste


class Housekeeper:
    """A thread that keeps house until it is stopped."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._cleared = -CLEAR_EVERY
        self._threads = [
            threading.Thread(target=self._run, args=(task,), name=f"aura-{name}", daemon=True)
            for name, task in {"sweep": self._keep, "webhooks": self._deliver}.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, task: object) -> None:
        while not self._stop.is_set():
            try:
                task()  # type: ignore[operator]
            except Exception as error:  # noqa: BLE001 - the next round may work
                log.warning("round_failed", error=f"{type(error).__name__}: {error}"[:300])
            self._stop.wait(self._service.settings.sweep_seconds)

    def _keep(self) -> None:
        sweep(self._service)
        now = time.monotonic()
        if now - self._cleared >= min(CLEAR_EVERY, self._service.settings.orphan_seconds):
            self._cleared = now
            clear(self._service)

    def _deliver(self) -> None:
        deliver_due(self._service, self._stop)


def sweep(service: Service) -> None:
    """Take jobs from silent workers, and ring for those that wait."""
    swept = service.claims.sweep()
    for job in swept.requeued:
        log.warning("worker_lost", job_id=job.id, attempt=job.attempt)
    for job in swept.buried:
        log.error("dead", job_id=job.id, attempt=job.attempt)
    service.ring()


def clear(service: Service) -> None:
    """Delete what nobody needs: media, old results, files of killed processes."""
    settings, now = service.settings, utc_now()
    for job in service.claims.with_leftover_media(now - timedelta(days=settings.media_days)):
        service.drop_media(job)
    for job in service.claims.finished_before(now - timedelta(days=settings.results_days)):
        service.store.erase(job.id)
        service.drop_media(job)
    clear_abandoned(service.scratch_root)
    orphaned = now - timedelta(seconds=settings.orphan_seconds)
    for stored in service.storage.list("media"):
        if stored.changed_at < orphaned and not service.claims.knows_media(stored.key):
            service.storage.delete(stored.key)
            log.info("orphan_deleted", key=stored.key)
