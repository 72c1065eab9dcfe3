"""`aura bulk`: a manifest through a service's workers, with a live table, into Parquet."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from aura import interrupts
from aura.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from aura.service.bulk import Progress

EXIT_SOME_FAILED = 3
LINE_SECONDS = 15.0  # between two lines where there is no terminal
QUIET_SECONDS = 60.0  # without anything finished, begun or submitted before that is said


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bulk)


def bulk(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet with a column `path` or `url`; or a path or URL a line."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file for the results.")],
    *,
    user: Annotated[str, typer.Option(help="Whose jobs they are.")] = "bulk",
    profile: Annotated[str, typer.Option(help="What runs.")] = "lite",
    single_face: Annotated[
        bool, typer.Option("--single-face", help="Judge pictures with one face only.")
    ] = False,
    fps: Annotated[float | None, typer.Option(min=1, max=30, help="Pictures a second.")] = None,
    ahead: Annotated[
        int, typer.Option(min=1, help="Jobs that may wait or run at once; media take room.")
    ] = 100,
    reports: Annotated[bool, typer.Option("--reports", help="Whole reports as well.")] = False,
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR")] = None,
) -> None:
    """Analyse many videos through the workers of a service: those of AURA_REDIS_URL, or of the
    `aura serve` that runs on this folder.

    A run that was stopped goes on where it was: give the same command again. Exit code 3 if a
    video has no report.
    """
    from rich.console import Console  # noqa: PLC0415 - not for `aura --help`

    from aura.service.bulk import Bulk  # noqa: PLC0415
    from aura.service.bulk_results import need_parquet, write_results  # noqa: PLC0415
    from aura.service.command import open_service  # noqa: PLC0415
    from aura.service.jobs import Options  # noqa: PLC0415
    from aura.service.manifest import read_manifest  # noqa: PLC0415

    need_parquet()
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}; make it first")
    rows = read_manifest(manifest)
    service = open_service(data_dir, ring=True)
    console = Console(stderr=True)
    try:
        options = Options(profile, "single" if single_face else "all", fps)
        run = Bulk(service, rows, user, options, ahead)
        with _Shown(console) as shown:
            run.run(shown.tell)
        completed = write_results(service, run, rows, out, reports=reports)
    finally:
        service.close()
    typer.echo(f"{out}: {completed} of {len(rows)} videos have a report")
    if completed < len(rows):
        raise typer.Exit(EXIT_SOME_FAILED)


class _Shown:
    """A table that is drawn anew in its place; lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live  # noqa: PLC0415 - as above

        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._line_at = self._moved_at = time.monotonic()
        self._state: tuple[object, ...] = ()

    def __enter__(self) -> _Shown:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, progress: Progress) -> None:
        """Show where the run stands."""
        interrupts.look()
        now = time.monotonic()
        state = (progress.finished, progress.submitted, progress.by_state["running"])
        if state != self._state:
            self._state, self._moved_at = state, now
        note = _note(progress, now - self._moved_at)
        if self._live is not None:
            self._live.update(_table(progress, note))
        elif now - self._line_at > LINE_SECONDS or progress.finished == progress.total:
            self._line_at = now
            running, waiting = progress.by_state["running"], progress.by_state["queued"]
            self._console.print(
                f"{progress.finished} of {progress.total} finished, {progress.failed} without a "
                f"report, {running} running, {waiting} waiting. {note}".rstrip(),
                highlight=False,
            )


def _note(progress: Progress, quiet: float) -> str:
    if progress.store_away:
        return "The store is away; waiting for it."
    if quiet > QUIET_SECONDS and progress.active:
        return f"Nothing moved for {quiet:.0f} s: does a worker run?"
    return ""


def _table(progress: Progress, note: str) -> Table:
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(title=f"{progress.finished} of {progress.total}", caption=note or None)
    for name in ("waiting", "running", "manipulated", "no sign", "uncertain", "failed"):
        table.add_column(name, justify="right")
    for name in ("a minute", "left"):
        table.add_column(name, justify="right", style="dim")
    rate = progress.per_minute
    left = None if rate is None else (progress.total - progress.finished) / rate
    table.add_row(
        str(progress.by_state["queued"]),
        str(progress.by_state["running"]),
        *(str(progress.by_verdict[name]) for name in ("fake", "real", "uncertain")),
        str(progress.failed),
        "" if rate is None else f"{rate:.1f}",
        "" if left is None else f"{int(left) // 60}:{int(left) % 60:02} h",
    )
    return table
