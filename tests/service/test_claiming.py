"""Many processes claim from one table: nothing done twice, nothing lost, a killed one survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made import finished_report, wish
from servers import wait_until

from aura.service.admission import IdempotencyConflict, LimitReached, Limits
from aura.service.claims import Claims
from aura.service.jobs import JobState, utc_now
from aura.service.store import JobStore

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

HERE = Path(__file__).parent
JOBS = 80
WORKERS = 3
# A worker that does nothing but claim and finish; `stall` makes it keep what it claims.
WORKER = """
import sys
sys.path.insert(0, {here!r})
from datetime import timedelta
from made import finished_report
from aura.service.claims import Claims
from aura.service.database import open_database
import os, time
engine = open_database({url!r})
claims = Claims(engine, lease=timedelta(seconds={lease}))
misses = 0
while misses < 5:
    job = claims.claim(f"process {{os.getpid()}}")
    if job is None:
        misses += 1
        time.sleep(0.02)
        continue
    misses = 0
    print(job.id, job.attempt, flush=True)
    if {stall}:
        time.sleep(600)
    assert claims.complete(job, finished_report()) is not None
"""


def start_worker(url: str, *, stall: bool = False, lease: float = 30) -> subprocess.Popen[str]:
    code = WORKER.format(here=str(HERE), url=url, lease=lease, stall=stall)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_processes_share_the_jobs_without_doubling_or_losing_one(
    engine: Engine, database_url: str
) -> None:
    store = JobStore(engine)
    submitted = {store.submit(wish(f"user{i % 3}"))[0].id for i in range(JOBS)}
    workers = [start_worker(database_url) for _ in range(WORKERS)]
    lines = [
        line.split()
        for worker in workers
        for line in worker.communicate(timeout=50)[0].splitlines()
    ]
    assert [worker.returncode for worker in workers] == [0] * WORKERS
    assert Counter(job_id for job_id, _ in lines) == Counter(submitted)
    assert {attempt for _, attempt in lines} == {"1"}
    for job_id in submitted:
        job = store.get(job_id)
        assert job is not None
        assert job.state is JobState.COMPLETED


def test_a_killed_workers_job_is_done_by_another_once_its_lease_ran_out(
    engine: Engine, database_url: str
) -> None:
    store, claims = JobStore(engine), Claims(engine)
    job, _ = store.submit(wish("ann"))
    worker = start_worker(database_url, stall=True, lease=0.5)
    assert worker.stdout is not None
    assert worker.stdout.readline().split() == [job.id, "1"]
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    assert claims.claim("early") is None  # the lease still stands
    wait_until(lambda: claims.sweep().requeued, 5, "the lease to run out")

    again = claims.claim("another")
    assert again is not None
    assert (again.id, again.attempt) == (job.id, 2)
    assert claims.complete(again, finished_report()) is not None
    kinds = [event.kind for event in store.events(job.id)]
    assert kinds == ["queued", "running", "queued", "running", "completed"]


def test_a_worker_that_was_taken_for_dead_can_no_longer_finish(engine: Engine) -> None:
    now = utc_now()
    store = JobStore(engine, lambda: now)
    claims = Claims(engine, lambda: now)
    job, _ = store.submit(wish("ann"))
    slow = claims.claim("slow")
    assert slow is not None
    now += timedelta(minutes=5)
    claims.sweep()
    quick = claims.claim("quick")
    assert quick is not None
    assert claims.complete(quick, finished_report("real")) is not None

    assert claims.complete(slow, finished_report("fake")) is None
    assert claims.progress(slow, "analyse", 50) is False
    kept = store.get(job.id)
    assert kept is not None
    assert kept.verdict == "real"


def test_a_job_that_loses_its_worker_each_time_is_dead_and_can_be_requeued(engine: Engine) -> None:
    now = utc_now()
    store = JobStore(engine, lambda: now, max_attempts=3)
    claims = Claims(engine, lambda: now)
    job, _ = store.submit(wish("ann"))
    for _ in range(3):
        assert claims.claim("doomed") is not None
        now += timedelta(minutes=5)
        claims.sweep()
    dead = store.get(job.id)
    assert dead is not None
    assert (dead.state, dead.error_kind) == (JobState.DEAD, "worker_lost")
    assert claims.claim("w") is None
    assert store.requeue(job.id) is not None
    alive = claims.claim("w")
    assert alive is not None
    assert alive.attempt == 4


def test_the_same_bytes_are_analysed_once_while_others_wait_for_the_report(engine: Engine) -> None:
    store, claims = JobStore(engine), Claims(engine)
    first, _ = store.submit(wish("ann", "bytes"))
    second, _ = store.submit(wish("bob", "bytes"))
    claimed = claims.claim("w1")
    assert claimed is not None
    assert claimed.id == first.id
    assert claims.claim("w2") is None
    claims.complete(claimed, finished_report("fake"))
    third, _ = store.submit(wish("eve", "bytes"))

    for job_id, owner in ((second.id, "bob"), (third.id, "eve")):
        job, report = store.get(job_id), store.report(job_id)
        assert job is not None
        assert report is not None
        assert (job.state, job.attempt, job.cached_from) == (JobState.COMPLETED, 0, first.id)
        assert report["job_id"] == job_id
        # What ann called her file, and where the server keeps it, is none of their business.
        assert report["provenance"]["input"]["name"] == f"{owner}.mp4"
        assert report["provenance"]["input"]["path"] == f"{owner}.mp4"


def test_users_take_turns_and_priority_reorders_only_ones_own(engine: Engine) -> None:
    store, claims = JobStore(engine), Claims(engine)
    for index in range(6):
        store.submit(wish("ann", filename=f"ann{index}"))
    store.submit(wish("bob", filename="bob0"))
    store.submit(wish("bob", filename="bob1"))
    store.submit(wish("ann", filename="ann-urgent", priority=9))
    order = []
    while (job := claims.claim("w")) is not None:
        order.append(job.filename)
        claims.complete(job, finished_report())
    assert Counter(name[:3] for name in order[:4]) == {"ann": 2, "bob": 2}
    assert [name for name in order if name[:3] == "ann"] == [
        "ann-urgent",
        *(f"ann{index}" for index in range(6)),
    ]


def test_limits_are_told_with_a_time_to_come_back(engine: Engine) -> None:
    store = JobStore(engine)
    limits = Limits(daily=3, concurrent=2)
    first, _ = store.submit(wish("ann"), limits)
    store.submit(wish("ann"), limits)
    with pytest.raises(LimitReached, match="at once"):
        store.submit(wish("ann"), limits)
    store.cancel(first.id)
    store.erase(first.id)
    store.submit(wish("ann"), limits)
    with pytest.raises(LimitReached, match="a day") as refused:
        store.submit(wish("ann"), limits)
    assert 0 < refused.value.retry_after <= 86400
    store.submit(wish("bob"), limits)
    with pytest.raises(LimitReached, match="slowly"):
        store.submit(wish("bob"), Limits(burst=1))


def test_a_repeated_idempotency_key_gives_the_same_job(engine: Engine) -> None:
    store = JobStore(engine)
    job, new = store.submit(wish("ann", idempotency_key="k", request_hash="r"))
    again, new_again = store.submit(wish("ann", idempotency_key="k", request_hash="r"))
    assert (new, new_again, again.id) == (True, False, job.id)
    with pytest.raises(IdempotencyConflict):
        store.submit(wish("ann", idempotency_key="k", request_hash="other"))
    other, _ = store.submit(wish("bob", idempotency_key="k", request_hash="r"))
    assert other.id != job.id


def test_an_erased_job_is_gone_and_its_worker_can_not_bring_it_back(engine: Engine) -> None:
    store, claims = JobStore(engine), Claims(engine)
    job, _ = store.submit(wish("ann", "bytes"))
    claimed = claims.claim("w")
    assert claimed is not None
    assert store.erase(job.id, "bob") is None
    erased = store.erase(job.id, "ann")
    assert erased is not None
    assert erased.media_key == job.media_key
    assert claims.complete(claimed, finished_report()) is None
    assert store.get(job.id) is None
    assert store.report(job.id) is None
    assert store.events(job.id) == []
    assert store.list("ann") == []


def test_pages_of_jobs_neither_repeat_nor_leave_out(engine: Engine) -> None:
    now = utc_now()
    store = JobStore(engine, lambda: now)  # all at the same instant
    made = {store.submit(wish("ann"))[0].id for _ in range(7)}
    store.submit(wish("bob"))
    seen: list[str] = []
    while page := store.list("ann", limit=3, before=seen[-1] if seen else None):
        seen += [job.id for job in page]
    assert len(seen) == len(made)
    assert set(seen) == made
    assert store.list("bob", before=seen[0]) == []  # a stranger's job is no place in one's list


def test_bells_are_rung_once_and_again_when_nobody_came(engine: Engine) -> None:
    now = utc_now()
    store = JobStore(engine, lambda: now)
    claims = Claims(engine, lambda: now)
    job, _ = store.submit(wish("ann"))
    assert claims.take_unrung() == [job.id]
    assert claims.take_unrung() == []
    now += timedelta(minutes=2)
    assert claims.take_unrung() == [job.id]
