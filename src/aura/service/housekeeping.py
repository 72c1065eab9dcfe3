"""What has to be done every now and then, by any number of processes at once.

Jobs are taken from silent workers, bells rung again, webhooks sent, and everything deleted that
nobody needs any more.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from aura.service import artifacts, sessions, sharing
from aura.service.jobs import utc_now
from aura.service.logs import get_logger
from aura.service.scratch import clear_abandoned
from aura.service.webhooks import deliver_due

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aura.service.context import Service
    from aura.service.extensions import Extension

log = get_logger("housekeeping")

CLEAR_EVERY = 15.0  # seconds between looks for leftovers, which need no haste,
LIST_EVERY = 3600.0  # and between lists of all files of all jobs, of which there can be many
KEYS_AT_ONCE = 500


class Housekeeper:
    """A thread that keeps house until it is stopped."""

    def __init__(self, service: Service, extensions: Sequence[Extension] = ()) -> None:
        self._service = service
        self._stop = threading.Event()
        self._cleared = self._listed = -math.inf
        rounds: dict[str, Callable[[], object]] = {"sweep": self._keep, "webhooks": self._deliver}
        for extension in extensions:
            # A thread each: one that waits for somebody far away must not hold up the others.
            rounds |= {name: partial(do, self._stop) for name, do in extension.rounds.items()}
        self._threads = [
            threading.Thread(target=self._run, args=(do,), name=f"aura-{name}", daemon=True)
            for name, do in rounds.items()
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

    def _run(self, do: Callable[[], object]) -> None:
        while not self._stop.is_set():
            try:
                do()
            except Exception as error:  # noqa: BLE001 - the next round may work
                log.warning("round_failed", error=f"{type(error).__name__}: {error}"[:300])
            self._stop.wait(self._service.settings.sweep_seconds)

    def _keep(self) -> None:
        sweep(self._service)
        now = time.monotonic()
        if now - self._cleared >= min(CLEAR_EVERY, self._service.settings.orphan_seconds):
            self._cleared = now
            clear(self._service)
        if now - self._listed >= min(LIST_EVERY, self._service.settings.orphan_seconds):
            self._listed = now
            clear_orphans(self._service, artifacts.FOLDER)

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
        service.erase(job.id)
    sessions.forget_expired(service.engine, now)
    sharing.forget_expired(service.engine, now)
    clear_abandoned(service.scratch_root)
    clear_orphans(service, "media")


def clear_orphans(service: Service, folder: str) -> None:
    """Delete stored files of a folder that no job names, once they are old enough."""
    orphaned = utc_now() - timedelta(seconds=service.settings.orphan_seconds)
    old = (one.key for one in service.storage.list(folder) if one.changed_at < orphaned)
    while keys := list(itertools.islice(old, KEYS_AT_ONCE)):
        if deleted := service.delete_unneeded(keys):
            log.info("orphans_deleted", folder=folder, files=deleted)
