"""Backup and restore as docs/service.md tells it, on both databases, with data in use."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING

from made import finished_report, wish
from servers import find_program, new_postgres_database

from aura.service.claims import Claims
from aura.service.database import check_revision, migrate, open_database
from aura.service.jobs import JobState
from aura.service.keys import create_key, find_key
from aura.service.store import JobStore

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine


def fill(engine: Engine) -> tuple[str, str, str]:
    store, claims = JobStore(engine), Claims(engine)
    done, _ = store.submit(wish("ann"))
    claimed = claims.claim("w")
    assert claimed is not None
    claims.complete(claimed, finished_report("fake"))
    waiting, _ = store.submit(wish("bob"))
    key, _ = create_key(engine, "ann")
    return done.id, waiting.id, key


def check(engine: Engine, done: str, waiting: str, key: str) -> None:
    check_revision(engine)
    store, claims = JobStore(engine), Claims(engine)
    report = store.report(done)
    assert report is not None
    assert report["prediction"]["overall_class"] == "fake"
    assert [event.kind for event in store.events(done)] == ["queued", "running", "completed"]
    owner = find_key(engine, key)
    assert owner is not None
    assert owner.owner == "ann"
    claimed = claims.claim("w")  # work goes on where it was
    assert claimed is not None
    assert claimed.id == waiting
    assert claims.complete(claimed, finished_report()) is not None
    job = store.get(waiting)
    assert job is not None
    assert job.state is JobState.COMPLETED


def test_sqlite_is_backed_up_while_it_is_open(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'aura.db'}")
    migrate(engine)
    known = fill(engine)
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "aura.db")) as source,
        contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as target,
    ):
        source.backup(target)  # what the `.backup` of the sqlite3 program does
    engine.dispose()
    shutil.move(tmp_path / "copy.db", tmp_path / "restored.db")
    restored = open_database(f"sqlite:///{tmp_path / 'restored.db'}")
    check(restored, *known)
    restored.dispose()


def test_postgresql_is_dumped_and_restored(tmp_path: Path, postgres_url: str) -> None:
    before, after = new_postgres_database(postgres_url), new_postgres_database(postgres_url)
    engine = open_database(before)
    migrate(engine)
    known = fill(engine)
    dump = tmp_path / "aura.dump"
    command = [find_program("pg_dump"), "--format", "custom", "--file", dump, before]
    subprocess.run(command, check=True)
    subprocess.run([find_program("pg_restore"), "--dbname", after, dump], check=True)
    engine.dispose()
    restored = open_database(after)
    check(restored, *known)
    restored.dispose()
