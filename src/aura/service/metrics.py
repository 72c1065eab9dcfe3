"""Figures for Prometheus, read from the tables when somebody asks, so that all processes count."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from aura.service.database import reading
from aura.service.jobs import JobState, utc_now
from aura.service.tables import detection_history, detection_jobs, webhook_deliveries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from aura.service.context import Service

WINDOW = timedelta(hours=1)  # of analyses whose stage times are told
WINDOW_ROWS = 2000
ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
NVIDIA = ("--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits")
MIB = 2**20


class Metrics:
    """What one API process counts itself, and what the tables know."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Tables(service))
        self._requests = Counter(
            "aura_http_requests", "Answers.", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "aura_http_request_seconds",
            "Time to the first byte of an answer, uploads included.",
            ["route", "method"],
            buckets=ANSWER_SECONDS,
            registry=self._registry,
        )

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """One answer."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Tables(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing beforehand: names are known when the tables are read."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the tables."""
        jobs, now = detection_jobs.c, utc_now()
        with reading(self._service.engine) as connection:
            query = sa.select(jobs.state, sa.func.count()).group_by(jobs.state)
            states = {str(state): int(count) for state, count in connection.execute(query)}
            oldest = connection.execute(
                sa.select(sa.func.min(jobs.queued_at)).where(jobs.state == JobState.QUEUED.value)
            ).scalar_one()
            verdicts = connection.execute(
                sa.select(detection_history.c.verdict, sa.func.count()).group_by(
                    detection_history.c.verdict
                )
            ).all()
            stages = connection.execute(
                sa.select(detection_history.c.stage_seconds)
                .where(
                    detection_history.c.created_at > now - WINDOW,
                    detection_history.c.cached_from.is_(None),
                )
                .order_by(detection_history.c.created_at.desc())
                .limit(WINDOW_ROWS)
            ).scalars()
            times: dict[str, list[float]] = defaultdict(list)
            for entry in stages:
                for stage, seconds in entry.items():
                    times[stage].append(seconds)
            box = webhook_deliveries.c
            hooks = connection.execute(
                sa.select(box.state, sa.func.count()).group_by(box.state)
            ).all()
        gauge = GaugeMetricFamily("aura_jobs", "Jobs by state.", labels=["state"])
        for state in JobState:
            gauge.add_metric([state.value], states.get(state.value, 0))
        yield gauge
        age = (now - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily("aura_queue_age_seconds", "Age of the oldest queued job.", age)
        told = GaugeMetricFamily("aura_verdicts", "Verdicts that are kept.", labels=["verdict"])
        for verdict, count in verdicts:
            told.add_metric([verdict], count)
        yield told
        spent = SummaryMetricFamily(
            "aura_stage_seconds", "Analyses of the last hour, by stage.", labels=["stage"]
        )
        for stage, seconds in sorted(times.items()):
            spent.add_metric([stage], count_value=len(seconds), sum_value=sum(seconds))
        yield spent
        sent = GaugeMetricFamily("aura_webhooks", "Webhooks by state.", labels=["state"])
        for state, count in hooks:
            sent.add_metric([state], count)
        yield sent
        yield from _gpu_memory()


def _gpu_memory() -> Iterator[Metric]:
    """Memory of NVIDIA devices, where their tool is installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    used = GaugeMetricFamily("aura_gpu_memory_used_bytes", "By device.", labels=["device"])
    total = GaugeMetricFamily("aura_gpu_memory_bytes", "By device.", labels=["device"])
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        lines = subprocess.run(  # noqa: S603 - a found program with constant arguments
            [program, *NVIDIA], capture_output=True, text=True, timeout=5, check=True
        ).stdout.splitlines()
        for line in lines:
            device, mib_used, mib_total = (part.strip() for part in line.split(","))
            used.add_metric([device], float(mib_used) * MIB)
            total.add_metric([device], float(mib_total) * MIB)
    yield used
    yield total
