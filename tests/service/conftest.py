"""Databases for the tests of the service: each test gets its own, SQLite and PostgreSQL alike."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `servers`
# One thread a process: the tests run several processes on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.importorskip("fastapi", reason="needs the extra: pip install 'aura-veracity[service]'")

import servers
import structlog

from aura.service.database import migrate, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

# What the service logs in the tests' own process is of no interest; its processes write to files.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server for the whole run."""
    with servers.postgres(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[servers.Redis]:
    """A Redis server for one test."""
    server = servers.Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'aura.db'}"
    return servers.new_postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database_url(empty_url: str) -> str:
    """The URL of a database with tables."""
    engine = open_database(empty_url)
    migrate(engine)
    engine.dispose()
    return empty_url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The same, open."""
    opened = open_database(database_url)
    yield opened
    opened.dispose()
