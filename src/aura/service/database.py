"""Opens the database, SQLite or PostgreSQL, and brings its tables up to date."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "head"

SQLITE_BUSY_MS = 30_000  # how long a writer waits for the one before it
# Connections that a process keeps, which the API's threads share: as many as there are threads on
# SQLite, where one costs nothing, or a thread that only reads would wait for one of those that wait
# for a writer. More than these are not opened for a moment and closed again, which costs more than
# waiting for one of them.
SQLITE_POOL = 44
POSTGRES_POOL = 20
MIGRATION_LOCK = 0x61757261  # PostgreSQL advisory lock: one process migrates, the others wait

READ_ONLY = {"aura_read_only": True}  # execution option of a connection that will only read


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///path` or `postgresql+psycopg://...`.

    Raises:
        UsageError: not a URL of one of these two.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise UsageError(
            "the database URL is none; give one such as postgresql+psycopg://user@host/aura"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        return _open_sqlite(parsed)
    if parsed.drivername != "postgresql+psycopg":
        raise UsageError(
            f"the database URL names {parsed.drivername!r}; sqlite and postgresql are supported"
        )
    return sa.create_engine(parsed, pool_size=POSTGRES_POOL, max_overflow=0, pool_pre_ping=True)


def _open_sqlite(url: sa.URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise UsageError("the database must be a file: processes share it")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url,
        pool_size=SQLITE_POOL,
        max_overflow=0,
        connect_args={"timeout": SQLITE_BUSY_MS / 1000},
    )

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # Transactions begin where `begun` below begins them, not where the driver guesses.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # Survives a killed process; the last moments before a power cut may be lost, no more.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MS}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A writer takes its lock at once: one that reads first can't wait for it any more later.
        read_only = connection.get_execution_options().get("aura_read_only")
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for reading: on SQLite it does not wait for writers."""
    with engine.connect().execution_options(**READ_ONLY) as connection:
        yield connection


def migrate(engine: Engine, revision: str = HEAD) -> None:
    """Bring the tables to `revision`, up or down; several processes may call this at once."""
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        if _is_upgrade(connection, config, revision):
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)


def revision_of(engine: Engine) -> str | None:
    """The revision that the tables are at, None for an empty database."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def check_revision(engine: Engine) -> None:
    """Refuse tables of another version than this program's.

    Raises:
        UsageError: older or newer tables.
    """
    here, wanted = revision_of(engine), newest_revision()
    if here != wanted:
        raise UsageError(
            f"the database's tables are at revision {here}, this version needs {wanted}; "
            "run `aura db upgrade` with the newest version that uses this database"
        )


def newest_revision() -> str | None:
    """The revision that this program's tables are at."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _is_upgrade(connection: Connection, config: Config, revision: str) -> bool:
    if revision in {HEAD, "heads"}:
        return True
    if revision == "base":
        return False
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        return True
    scripts = ScriptDirectory.from_config(config)
    older = {script.revision for script in scripts.iterate_revisions(current, "base")}
    return revision not in older
