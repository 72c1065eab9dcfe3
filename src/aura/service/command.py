"""The service's commands: `aura serve`, `worker`, `jobs`, `keys` and `db`."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aura.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from aura.service.context import Service
    from aura.service.settings import Settings

DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for everything the service keeps.")
]

jobs = typer.Typer(name="jobs", help="Look at jobs, and give dead ones another chance.")
keys = typer.Typer(name="keys", help="API keys: who may use the service.")
db = typer.Typer(name="db", help="The database's tables.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(worker)
    for group in (jobs, keys, db):
        app.add_typer(group)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the service: API, queue and worker in one command.

    On 127.0.0.1 it is for whoever sits at this machine and asks for no key. Any other address needs
    keys: make one with `aura keys create`.
    """
    _need_extra()
    from aura.service.server import run_server  # noqa: PLC0415

    run_server(_settings(data_dir), host, port)


def worker(
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Jobs at once.")
    ] = 1,
    pool: Annotated[
        str, typer.Option(help="`prefork`; `solo` on a GPU, which does not survive a fork.")
    ] = "prefork",
    data_dir: DataDir = None,
) -> None:
    """Run a worker of a fleet: Celery on AURA_REDIS_URL, jobs in AURA_DATABASE_URL."""
    _need_extra()
    from aura.service.fleet import run_worker  # noqa: PLC0415

    run_worker(_settings(data_dir), concurrency, pool)


@jobs.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    data_dir: DataDir = None,
) -> None:
    """List jobs of all users."""
    from aura.service.operations import recent_jobs  # noqa: PLC0415

    for job in recent_jobs(_open(data_dir), state, limit):
        typer.echo(
            f"{job.id}  {job.state.value:9}  {job.owner}  attempt {job.attempt}/"
            f"{job.max_attempts}  {job.verdict or job.error_kind or ''}"
        )


@jobs.command()
def requeue(
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...")] = None,
    all_dead: Annotated[bool, typer.Option("--dead", help="All dead jobs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give failed or dead jobs whose media are still there a new set of attempts."""
    from aura.service.operations import recent_jobs  # noqa: PLC0415

    service = _open(data_dir)
    wanted = list(job_ids or [])
    if all_dead:
        wanted += [job.id for job in recent_jobs(service, "dead", 1000)]
    if not wanted:
        raise UsageError("name jobs, or --dead for all dead ones")
    refused = [job_id for job_id in wanted if service.store.requeue(job_id) is None]
    typer.echo(f"{len(wanted) - len(refused)} jobs queued again")
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: not failed or dead, or the media are gone; submit them again"
        )


@keys.command()
def create(
    owner: Annotated[str, typer.Argument(metavar="USER", help="Whose key it is.")],
    *,
    daily: Annotated[int | None, typer.Option(min=1, help="Submissions a day.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Unfinished jobs.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="`read`, `submit`, `erase`; all by default.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    from aura.service.keys import create_key  # noqa: PLC0415

    text, key = create_key(
        _open(data_dir).engine,
        owner,
        scopes=scope,
        daily_limit=daily,
        concurrent_limit=concurrent,
        note=note,
    )
    typer.echo(text)
    typer.echo(f"key {key.id} for {owner}; it is not shown again", err=True)


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List keys, never their secrets."""
    from aura.service.keys import all_keys  # noqa: PLC0415

    for key in all_keys(_open(data_dir).engine):
        state = "revoked" if key.revoked_at else "valid"
        used = key.last_used_at.isoformat(timespec="seconds") if key.last_used_at else "never"
        scopes = ",".join(key.scopes)
        typer.echo(f"{key.id}  {state:7}  {key.owner}  {scopes}  used {used}  {key.note or ''}")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `list` shows it.")],
    data_dir: DataDir = None,
) -> None:
    """Make a key worthless at once."""
    from aura.service.keys import revoke_key  # noqa: PLC0415

    if not revoke_key(_open(data_dir).engine, key_id):
        raise UsageError(f"{key_id}: no such key, or revoked before; see `aura keys list`")
    typer.echo(f"{key_id} revoked")


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Which step; the newest by default.")] = "head",
    data_dir: DataDir = None,
) -> None:
    """Bring the tables up to this version's; a fleet's operator runs it before a new version."""
    _migrate(_settings(data_dir), revision)


@db.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Which step, or `base` for none.")],
    data_dir: DataDir = None,
) -> None:
    """Take the tables back to an older version's; what that one can't hold is lost."""
    _migrate(_settings(data_dir), revision)


def _migrate(settings: Settings, revision: str) -> None:
    _need_extra()
    from aura.service.database import migrate, open_database, revision_of  # noqa: PLC0415

    engine = open_database(settings.database)
    before = revision_of(engine)
    migrate(engine, revision)
    typer.echo(f"tables: {before or 'none'} -> {revision_of(engine) or 'none'}")


def _settings(data_dir: Path | None) -> Settings:
    from aura.service.settings import read_settings  # noqa: PLC0415

    return read_settings(data_dir=data_dir)


def _open(data_dir: Path | None) -> Service:
    _need_extra()
    from aura.service.context import Service  # noqa: PLC0415

    settings: Any = _settings(data_dir)
    # A machine's own tables are kept up to date by whoever comes first; a fleet's by `aura db`.
    return Service(settings, may_migrate=not settings.database_url)


def open_service(data_dir: Path | None, *, ring: bool = False) -> Service:
    """The service that the settings name; with `ring`, workers are told of what is submitted.

    Raises:
        UsageError: tables of another version. MissingExtra: the service is not installed.
    """
    from aura.service.logs import configure_logs  # noqa: PLC0415 - needs the extra

    service = _open(data_dir)
    # What a command did it says itself; a log of a thousand jobs would cover it.
    configure_logs(pretty=sys.stderr.isatty(), least=logging.WARNING)
    if ring:
        from aura.service.server import open_bell  # noqa: PLC0415

        # Workers beside an API look by themselves: no others are started here.
        service.bell = open_bell(service.settings) or service.bell
    return service


def _need_extra() -> None:
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("alembic") is None:
        raise MissingExtra("the service", "service")
