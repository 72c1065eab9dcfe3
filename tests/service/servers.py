"""Real servers for tests: PostgreSQL and Redis from the system's packages, on free ports.

A server lives in a folder of its own, keeps nothing, and ends with the tests. Without its program
the tests that need it are skipped aloud (and fail where AURA_NO_SKIPS is set).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 30.0
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(check, seconds: float = START_SECONDS, what: str = "it") -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.02)
    pytest.fail(f"waited {seconds:g} s for {what}")


def port_answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def find_program(name: str) -> str:
    """Path of a program, looked for where Debian keeps PostgreSQL's as well."""
    folders = [str(folder / "bin") for folder in sorted(DEBIAN_POSTGRES.glob("*"), reverse=True)]
    path = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed; on Debian: apt install postgresql redis-server")
    return found


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL server; yields the URL of its database `postgres`."""
    initdb, server = find_program("initdb"), find_program("postgres")
    user = UNPRIVILEGED if os.getuid() == 0 else None
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user)
        for parent in data.parents:  # it must be able to walk there
            if parent.stat().st_uid == os.getuid() and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        [initdb, "-D", data, "-U", "aura", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"],
        check=True,
        user=user,
        cwd=data,
        stdout=subprocess.DEVNULL,
    )
    port = free_port()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": "200",
        "shared_buffers": "32MB",
    }
    settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", data, *settings], user=user, cwd=data, stdout=log, stderr=log
        )
    url = f"postgresql://aura@127.0.0.1:{port}/postgres"

    def ready() -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return True
        return False

    try:
        wait_until(ready, what="PostgreSQL")
        yield url
    finally:
        process.terminate()  # "smart" would wait for clients; a second one is "fast"
        process.send_signal(2)
        process.wait(START_SECONDS)


def new_postgres_database(server_url: str) -> str:
    """A new empty database on the server; returns its URL."""
    name = f"aura_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # a name cannot be a parameter
    return server_url.rsplit("/", 1)[0] + f"/{name}"


@dataclass
class Redis:
    """A Redis server that can be restarted, with or without what it held."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = find_program("redis-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, *options, "--save", "", "--appendonly", "no"], stdout=log, stderr=log
            )
        wait_until(lambda: port_answers(self.port), what="Redis")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None
