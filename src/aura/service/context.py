"""Everything that a process of the service shares: database, storage, settings, bell."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from aura.service import artifacts
from aura.service.claims import Claims
from aura.service.database import check_revision, migrate, open_database
from aura.service.logs import get_logger
from aura.service.report_signing import open_report_signer
from aura.service.reports import cache_key
from aura.service.scratch import Scratch
from aura.service.storage import open_storage
from aura.service.store import JobStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.service.jobs import Job, Options
    from aura.service.settings import Settings

log = get_logger("service")


class Bell(Protocol):
    """Wakes workers up. What it is told may get lost: the table is the truth."""

    def ring(self, job_ids: Sequence[str]) -> None:
        """Tell workers that these jobs wait; an exception means that nobody was told."""


class NoBell:
    """For processes that have nobody to wake."""

    def ring(self, job_ids: Sequence[str]) -> None:
        """Nothing: workers look by themselves every now and then."""


class Service:
    """The parts that API, workers and housekeeping work with."""

    def __init__(
        self, settings: Settings, bell: Bell | None = None, *, may_migrate: bool = False
    ) -> None:
        self.settings = settings
        self.bell: Bell = bell or NoBell()
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.engine = open_database(settings.database)
        if may_migrate:
            migrate(self.engine)
        else:
            check_revision(self.engine)
        self.signer = open_report_signer(settings)
        sign = self.signer.sign
        self.store = JobStore(self.engine, max_attempts=settings.max_attempts, sign=sign)
        self.claims = Claims(self.engine, lease=settings.lease, sign=sign)
        self.storage = open_storage(settings)
        self.scratch_root = settings.data_dir / "scratch"
        self.scratch = Scratch(self.scratch_root)

    def close(self) -> None:
        """Let go of everything."""
        self.scratch.close()
        self.engine.dispose()

    def cache_key(self, media_sha256: str, options: Options, owner: str) -> str | None:
        """What a job shares with others that it may be answered with; None: with none."""
        match self.settings.cache_scope:
            case "off":
                return None
            case "owner":
                return cache_key(media_sha256, options, owner)
            case _:
                return cache_key(media_sha256, options)

    def ring(self) -> int:
        """Ring for every job that waits and that nobody was told of; returns how many."""
        job_ids = self.claims.take_unrung(timedelta(seconds=self.settings.ring_again))
        return self._ring(job_ids) if job_ids else 0

    def ring_for(self, *jobs: Job) -> None:
        """Ring for jobs that were queued with `will_ring`."""
        waiting = [job.id for job in jobs if not job.finished]
        if waiting:
            self._ring(waiting)

    def _ring(self, job_ids: Sequence[str]) -> int:
        try:
            self.bell.ring(job_ids)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            self.claims.unring(job_ids)
            log.warning("nobody_told", jobs=len(job_ids), error=type(error).__name__)
            return 0
        return len(job_ids)

    def drop_media(self, job: Job) -> None:
        """Delete a job's uploaded bytes."""
        if job.media_key is not None:
            self.storage.delete(job.media_key)
            self.store.media_forgotten(job.id, job.media_key)

    def erase(self, job_id: str, owner: str | None = None) -> Job | None:
        """Erase a job with its media and files; None: there is none, or it is another user's.

        What is killed on the way is deleted by the housekeeping.
        """
        keys = [one.key for one in artifacts.stored(self.engine, job_id)]
        job = self.store.erase(job_id, owner)
        if job is not None:
            if job.media_key is not None:
                self.storage.delete(job.media_key)
            self.delete_unneeded(keys)
        return job

    def delete_unneeded(self, keys: Sequence[str]) -> int:
        """Delete those of these stored files that no job names; returns how many."""
        unneeded = artifacts.unneeded(self.engine, keys)
        for key in unneeded:
            self.storage.delete(key)
        return len(unneeded)
