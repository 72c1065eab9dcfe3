"""A short run of `chaos`; the long one is a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import chaos
import psutil
import pytest
import servers
from deployment import Deployment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mode", ["machine", "fleet"])
def test_every_job_ends_exactly_once_whatever_is_killed(
    mode: str, tmp_path: Path, postgres_url: str
) -> None:
    figures = chaos.run(mode, tmp_path, postgres_url, jobs=6, clients=3, seed=1)
    assert figures["killed by the poison file"] == chaos.ATTEMPTS


def test_a_killed_worker_takes_its_celery_with_it(
    tmp_path: Path, postgres_url: str, redis: servers.Redis
) -> None:
    url = servers.new_postgres_database(postgres_url)
    deployment = Deployment(tmp_path, {"AURA_DATABASE_URL": url, "AURA_REDIS_URL": redis.url})
    deployment.aura("db", "upgrade")
    worker = deployment.start("worker", "-c", "1")
    try:
        below: list[psutil.Process] = []

        def pool_is_up() -> bool:
            below[:] = psutil.Process(worker.pid).children(recursive=True)
            return len(below) >= 2

        servers.wait_until(pool_is_up, 60, "Celery and its pool")
        worker.kill()
        worker.wait()
        _, alive = psutil.wait_procs(below, timeout=60)
        assert alive == []
    finally:
        deployment.stop()
