"""Migrations: up and down on both databases, with data in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from made import finished_report, wish

from aura.errors import UsageError
from aura.service.claims import Claims
from aura.service.database import check_revision, migrate, open_database, revision_of
from aura.service.store import JobStore
from aura.service.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def test_migrated_tables_are_those_of_the_program(engine: Engine) -> None:
    def belongs(thing: sa.schema.SchemaItem, _name: str, kind: str, *_: object) -> bool:
        gin = kind == "index" and thing.dialect_kwargs.get("postgresql_using") == "gin"
        return not gin or engine.dialect.name == "postgresql"

    options = {"compare_type": True, "include_object": belongs}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    assert differences == []


def test_down_and_up_again_keeps_the_jobs(engine: Engine) -> None:
    store, claims = JobStore(engine), Claims(engine)
    job, _ = store.submit(wish("ann"))
    claimed = claims.claim("w")
    assert claimed is not None
    claims.complete(claimed, finished_report())
    waiting, _ = store.submit(wish("bob"))

    migrate(engine, "0001")
    assert revision_of(engine) == "0001"
    assert "detection_history" not in sa.inspect(engine).get_table_names()
    migrate(engine)

    check_revision(engine)
    assert store.report(job.id) is not None
    assert [event.kind for event in store.events(job.id)] == ["queued", "running", "completed"]
    taken = claims.claim("w")
    assert taken is not None
    assert taken.id == waiting.id
    assert claims.complete(taken, finished_report()) is not None

    migrate(engine, "base")
    assert set(sa.inspect(engine).get_table_names()) <= {"alembic_version"}


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    engines = [open_database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, engines))
    for engine in engines:
        check_revision(engine)
        engine.dispose()


def test_tables_of_another_version_are_refused_by_name(engine: Engine) -> None:
    migrate(engine, "0001")
    with pytest.raises(UsageError, match="aura db upgrade"):
        check_revision(engine)


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        open_database(url)
