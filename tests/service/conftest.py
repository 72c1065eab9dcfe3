"""Databases for the tests of the service: each test gets its own, SQLite and PostgreSQL alike."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `servers`
# One thread a process: the tests run several processes on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.importorskip("fastapi", reason="needs the extra: pip install 'aura-veracity[service]'")

import boto3
import servers
import structlog
from moto.server import ThreadedMotoServer

from aura.service.database import migrate, open_database
from aura.service.settings import Settings

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


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3-compatible store on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """With a folder as storage, and with a bucket."""
    if request.param == "folder":
        return Settings(data_dir=tmp_path / "data")
    endpoint = request.getfixturevalue("s3_endpoint")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"b{time.monotonic_ns()}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return Settings(
        data_dir=tmp_path / "data",
        storage_url=f"s3://{bucket}/some/prefix",
        s3_endpoint=endpoint,
    )
