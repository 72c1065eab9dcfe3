"""The life of jobs, walked at random: a model of what may happen against the real tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from made import finished_report, wish

from aura.service.claims import Claims
from aura.service.jobs import MOVES, Error, Job, JobState, Move
from aura.service.store import JobStore
from aura.service.tables import detection_jobs, job_events, metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

LEASE = timedelta(seconds=30)
ATTEMPTS = 2
OWNERS = st.sampled_from(["ann", "bob"])
CONTENTS = st.sampled_from(["", "same", "other"])


@dataclass
class Expected:
    """What the model knows of a job."""

    content: str
    state: JobState = JobState.QUEUED
    attempt: int = 0
    tries_left: int = ATTEMPTS
    lease_until: datetime | None = None
    verdict: str | None = None
    ended: int = 0
    kinds: list[str] = field(default_factory=lambda: ["queued"])


class Jobs(RuleBasedStateMachine):
    engine: Engine
    job_ids = Bundle("job_ids")
    held = Bundle("held")  # claims, some of which are lost by now

    @initialize()
    def begin(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        with self.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.store = JobStore(self.engine, lambda: self.now, ATTEMPTS)
        self.claims = Claims(self.engine, lambda: self.now, LEASE)
        self.model: dict[str, Expected] = {}
        self.verdicts: dict[str, str] = {}  # content -> the one verdict made of it

    def is_held(self, job: Job) -> bool:
        known = self.model[job.id]
        return known.state is JobState.RUNNING and known.attempt == job.attempt

    def end(self, known: Expected, state: JobState) -> None:
        known.state, known.lease_until = state, None
        known.kinds.append(state.value)

    @rule(target=job_ids, owner=OWNERS, content=CONTENTS)
    def submit(self, owner: str, content: str) -> str:
        wanted = wish(owner, content)
        job, new = self.store.submit(wanted)
        assert new
        known = self.model[job.id] = Expected(wanted.cache_key or "")
        if known.content in self.verdicts:
            known.verdict = self.verdicts[known.content]
            self.end(known, JobState.COMPLETED)
        return job.id

    @rule(target=held)
    def claim(self) -> Job | None:
        job = self.claims.claim("worker")
        busy = {k.content for k in self.model.values() if k.state is JobState.RUNNING}
        open_ids = {
            job_id
            for job_id, k in self.model.items()
            if k.state is JobState.QUEUED and k.content not in busy
        }
        if job is None:
            assert not open_ids, "a job waits and nobody may have it"
            return None
        assert job.id in open_ids, "a job was handed out that was not free"
        known = self.model[job.id]
        known.state, known.lease_until = JobState.RUNNING, self.now + LEASE
        known.attempt += 1
        known.tries_left -= 1
        known.kinds.append("running")
        assert job.attempt == known.attempt
        return job

    @rule(job=held)
    def heartbeat(self, job: Job | None) -> None:
        if job is None:
            return
        ours = self.is_held(job)
        assert self.claims.heartbeat(job) is ours
        if ours:
            self.model[job.id].lease_until = self.now + LEASE

    @rule(job=held, percent=st.floats(0, 100))
    def progress(self, job: Job | None, percent: float) -> None:
        if job is None:
            return
        ours = self.is_held(job)
        assert self.claims.progress(job, "analyse", percent) is ours
        if ours:
            self.model[job.id].lease_until = self.now + LEASE
            self.model[job.id].kinds.append("progress")

    @rule(job=consumes(held), verdict=st.sampled_from(["real", "fake", "uncertain"]))
    def complete(self, job: Job | None, verdict: str) -> None:
        if job is None:
            return
        ours = self.is_held(job)
        done = self.claims.complete(job, finished_report(verdict))
        assert (done is not None) is ours
        if not ours:
            return
        content = self.model[job.id].content
        self.verdicts.setdefault(content, verdict)
        for job_id, known in self.model.items():
            waits = known.state is JobState.QUEUED and known.content == content
            if job_id == job.id or waits:
                known.verdict = verdict if job_id == job.id else self.verdicts[content]
                self.end(known, JobState.COMPLETED)

    @rule(job=held)
    def fail(self, job: Job | None) -> None:
        if job is None:
            return
        ours = self.is_held(job)
        done = self.claims.fail(job, Error("unreadable_media", "no video"))
        assert (done is not None) is ours
        if ours:
            self.end(self.model[job.id], JobState.FAILED)

    @rule(job=held, counts=st.booleans())
    def release(self, job: Job | None, counts: bool) -> None:
        if job is None:
            return
        ours = self.is_held(job)
        assert (self.claims.release(job, "stopped", counts=counts) is not None) is ours
        if ours:
            known = self.model[job.id]
            known.tries_left += not counts
            self.end(known, JobState.QUEUED)

    @rule(job_id=job_ids)
    def cancel(self, job_id: str) -> None:
        active = self.model[job_id].state in {JobState.QUEUED, JobState.RUNNING}
        assert (self.store.cancel(job_id) is not None) is active
        if active:
            self.end(self.model[job_id], JobState.CANCELLED)

    @rule(job_id=job_ids)
    def requeue(self, job_id: str) -> None:
        known = self.model[job_id]
        stuck = known.state in {JobState.FAILED, JobState.DEAD}
        assert (self.store.requeue(job_id) is not None) is stuck
        if stuck:
            known.tries_left = ATTEMPTS
            self.end(known, JobState.QUEUED)

    @rule(seconds=st.sampled_from([1, 20, 40]))
    def wait_and_sweep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        swept = self.claims.sweep()
        lost = {
            job_id: known
            for job_id, known in self.model.items()
            if known.lease_until is not None and known.lease_until < self.now
        }
        assert {job.id for job in (*swept.requeued, *swept.buried)} == set(lost)
        for known in lost.values():
            self.end(known, JobState.QUEUED if known.tries_left > 0 else JobState.DEAD)

    @rule()
    def a_worker_is_lost_and_another_takes_over(self) -> None:
        """The walk that matters most and that chance alone seldom takes."""
        job = self.claim()
        self.wait_and_sweep(40)
        self.claim()
        self.complete(job, "real")

    @invariant()
    def tables_agree_with_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        with self.engine.connect() as connection:
            rows = {row.id: row for row in connection.execute(sa.select(detection_jobs))}
            events: dict[str, list[tuple[int, str]]] = {}
            query = sa.select(job_events).order_by(job_events.c.number)
            for row in connection.execute(query):
                events.setdefault(row.job_id, []).append((row.number, row.kind))
        assert set(rows) == set(self.model)
        for job_id, known in self.model.items():
            row = rows[job_id]
            assert (row.state, row.attempt) == (known.state.value, known.attempt)
            assert row.verdict == known.verdict
            assert events[job_id] == list(enumerate(known.kinds, start=1))
            assert (row.report is not None) is (known.state is JobState.COMPLETED)
            assert (row.lease_until is not None) is (known.state is JobState.RUNNING)


def test_whatever_happens_a_job_is_where_the_state_machine_says(engine: Engine) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        type("JobsOnThisDatabase", (Jobs,), {"engine": engine}),
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=slow,
            derandomize=True,  # the same walks on every machine
            database=None,
        ),
    )


def test_every_state_can_be_reached_and_only_active_ones_are_left_by_workers() -> None:
    reached = {target for _, target in MOVES.values()} | {JobState.QUEUED}
    assert reached == set(JobState)
    by_hand = {Move.REQUEUE}
    for move, (sources, _) in MOVES.items():
        assert move in by_hand or sources <= {JobState.QUEUED, JobState.RUNNING}
