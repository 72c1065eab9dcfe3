"""Many videos through a service's workers: submitted a few ahead, resumed where a run stopped.

What stands in the jobs table is the state: every video has an idempotency key made from what it is
and what is asked, so that a second run finds its jobs again, done or not, and submits the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from aura.errors import InputError
from aura.service.access import User
from aura.service.admission import IdempotencyConflict, Limits
from aura.service.database import reading
from aura.service.jobs import ACTIVE, JobState, Options
from aura.service.keys import SCOPES
from aura.service.logs import get_logger
from aura.service.manifest import digest_of
from aura.service.problems import Problem
from aura.service.reports import analysis_version
from aura.service.schemas import AnalyzeUrl
from aura.service.storage import StorageAway
from aura.service.submitting import NOT_A_VIDEO_URL, check_wish, submit_file, submit_url
from aura.service.tables import detection_jobs
from aura.service.uploads import ReceivedFile, safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aura.service.context import Service
    from aura.service.manifest import Row

log = get_logger("bulk")

POLL_SECONDS = 0.5
AWAY_SECONDS = 5.0  # before a store that is away is tried again
COPY_BYTES = 2**20
PRIORITY = 2  # of 0 to 9: among the user's jobs those that somebody waits for come first
jobs = detection_jobs.c


@dataclass
class Progress:
    """Where a run stands; `refused` are rows that never became a job, by number, with the reason.

    `found`: rows that an earlier run submitted. `store_away`: nothing can be submitted now.
    """

    total: int
    submitted: int = 0
    found: int = 0
    by_state: Counter[str] = field(default_factory=Counter)
    by_verdict: Counter[str] = field(default_factory=Counter)
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)
    seconds: float = 0.0
    finished_before: int = 0
    store_away: bool = False

    @property
    def active(self) -> int:
        """Jobs that wait or run."""
        return sum(self.by_state[state.value] for state in ACTIVE)

    @property
    def finished(self) -> int:
        """Rows about which everything is known."""
        return self.submitted + self.found - self.active + len(self.refused)

    @property
    def failed(self) -> int:
        """Rows without a report."""
        ended = self.by_state.total() - self.active - self.by_state[JobState.COMPLETED.value]
        return ended + len(self.refused)

    @property
    def per_minute(self) -> float | None:
        """Rows of this run that were finished a minute; None: too early to say."""
        done = self.finished - self.finished_before
        return None if done <= 0 or self.seconds < 1.0 else 60.0 * done / self.seconds


class Bulk:
    """One run over a manifest.

    Args:
        service: whose workers do the jobs.
        rows: the manifest.
        owner: whose jobs they are.
        options: of every analysis.
        ahead: how many jobs may wait or run at once; their media take room in the store.
    """

    def __init__(
        self, service: Service, rows: Sequence[Row], owner: str, options: Options, ahead: int
    ) -> None:
        self._service = service
        self._options = options
        self._ahead = ahead
        self.owner = owner
        self._user = User(owner, None, frozenset(SCOPES), Limits())
        self._wish = AnalyzeUrl.model_validate(
            {
                "video_url": NOT_A_VIDEO_URL,
                "profile": options.profile,
                "faces": options.faces,
                "fps": options.fps,
                "priority": PRIORITY,
            }
        )
        check_wish(service, self._wish)
        asked = (owner, repr(options), analysis_version(options.profile))
        self.id = digest_of(list(rows), *asked)
        self.keys = {
            row.number: "bulk:"
            + hashlib.sha256(
                "\n".join([*asked, row.identity()]).encode("utf-8", "surrogateescape")
            ).hexdigest()
            for row in rows
        }
        # What stands in the manifest twice is analysed once, and has two rows of results.
        self._rows = list({self.keys[row.number]: row for row in reversed(rows)}.values())[::-1]
        self.progress = Progress(total=len(self._rows))

    def run(self, tell: Callable[[Progress], None] = lambda _: None) -> Progress:
        """Submit and wait until everything is finished; `tell` is called every half second.

        Raises:
            UsageError: the options are none. KeyboardInterrupt passes: the next run goes on.
        """
        began, told, pause = time.monotonic(), 0.0, POLL_SECONDS
        known = self._known()
        waiting = iter([row for row in self._rows if self.keys[row.number] not in known])
        self.progress.found = len(known)
        self._count()
        self.progress.finished_before = self.progress.finished
        more = True
        while True:
            while more and self.progress.active < self._ahead:
                row = next(waiting, None)
                more = row is not None
                if row is not None:
                    self._submit(row, tell)
                if time.monotonic() - told > POLL_SECONDS:
                    break  # a slow store must not hide that others are done
            self._service.ring()
            asked = time.monotonic()
            self._count()
            pause = max(POLL_SECONDS, 10 * (time.monotonic() - asked))  # a long list costs more
            self.progress.seconds = time.monotonic() - began
            told = time.monotonic()
            tell(self.progress)
            if not more and not self.progress.active:
                return self.progress
            if not more or self.progress.active >= self._ahead:
                time.sleep(pause)

    def _submit(self, row: Row, tell: Callable[[Progress], None]) -> None:
        while True:
            try:
                self._submit_once(row)
            except StorageAway as error:
                log.warning("storage_away", error=str(error)[:200])
                self.progress.store_away = True
                tell(self.progress)
                time.sleep(AWAY_SECONDS)
                continue
            except (InputError, IdempotencyConflict) as error:
                self.progress.refused[row.number] = (error.kind, str(error))
            except Problem as error:
                self.progress.refused[row.number] = (error.problem_kind, str(error))
            except OSError as error:
                text = f"{row.path} can't be read ({error.strerror})"
                self.progress.refused[row.number] = ("input_not_found", text)
            else:
                self.progress.submitted += 1
                self.progress.by_state[JobState.QUEUED.value] += 1
            self.progress.store_away = False
            return

    def _submit_once(self, row: Row) -> None:
        service, named = self._service, {"idempotency_key": self.keys[row.number]}
        if row.path is None:
            wish = self._wish.model_copy(update={"video_url": row.url})
            submit_url(service, self._user, wish, batch_id=self.id, **named)
            return
        copy = service.scratch.path / f"bulk-{uuid.uuid4().hex}"
        try:
            size, sha256 = _copy(row.path, copy)
            file = ReceivedFile(copy, safe_name(row.path.name), "file", size, sha256)
            submit_file(service, self._user, file, self._wish, batch_id=self.id, **named)
        finally:
            copy.unlink(missing_ok=True)

    def _ours(self) -> sa.ColumnElement[bool]:
        """Jobs of these rows, whichever run submitted them."""
        return sa.and_(jobs.owner == self._user.name, jobs.idempotency_key.startswith("bulk:"))

    def _known(self) -> set[str]:
        query = sa.select(jobs.idempotency_key).where(self._ours())
        with reading(self._service.engine) as connection:
            found = set(connection.execute(query).scalars())
        return found & set(self.keys.values())

    def _count(self) -> None:
        wanted = set(self.keys.values())
        columns = (jobs.idempotency_key, jobs.state, jobs.verdict)
        states: Counter[str] = Counter()
        verdicts: Counter[str] = Counter()
        with reading(self._service.engine) as connection:
            for key, state, verdict in connection.execute(sa.select(*columns).where(self._ours())):
                if key in wanted:
                    states[state] += 1
                    if verdict is not None:
                        verdicts[verdict] += 1
        self.progress.by_state, self.progress.by_verdict = states, verdicts


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file and hash it on the way; returns its size in bytes and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        read = stack.enter_context(source.open("rb"))
        written = stack.enter_context(target.open("xb"))
        if shutil.disk_usage(target.parent).free < source.stat().st_size:
            raise OSError(28, "no room for a copy of it")
        while part := read.read(COPY_BYTES):
            written.write(part)
            digest.update(part)
            size += len(part)
    return size, digest.hexdigest()
