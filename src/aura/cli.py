"""The command line: options in, exit code out; everything else is called, and called late.

Commands live in the modules that `COMMAND_MODULES` names, each with `register(app)`. Those modules
import their heavy parts inside their functions, so that `aura --help` answers at once.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import traceback
from enum import StrEnum
from importlib import import_module
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aura import __version__, interrupts
from aura.errors import AuraError, Cancelled, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aura.batch import Outcome, Settings, Summary
    from aura.explain.explainer import Explainer
    from aura.progress import Bars
    from aura.report import Report

    Hook = Callable[[str, float, float | None], None]

COMMAND_MODULES = (
    "aura.doctor",
    "aura.evaluate_command",
    "aura.models_command",
    "aura.report_command",
    "aura.training.data.command",
    "aura.training.weights_command",
    "aura.training.publish_command",
    "aura.training.command",
    "aura.service.command",
    "aura.service.bulk_command",
    "aura.integrations.supabase.command",
)
DEBUG_VARIABLE = "AURA_DEBUG"
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_PIPE_CLOSED = 141  # 128 + SIGPIPE: the reader went away (`| head`), nobody is left to tell

ANALYZE_HELP = (
    "Analyse videos; a single picture or a recording of sound as well.\n\n"
    "One file gives a panel in the terminal. Several files, or a folder, give one line each, "
    "go on after failures, and end with exit code 3 if any failed.\n\n"
    "Exit codes: 0 analysed, 2 wrong option, 3 a file can't be analysed, 4 weights or "
    "environment, 130 stopped."
)

app = typer.Typer(
    name="aura",
    help="Says, with evidence, whether a talking-head video is manipulated.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Faces(StrEnum):
    """Whose face is judged."""

    all = "all"
    single = "single"


class Media(StrEnum):
    """What folders are searched for."""

    video = "video"
    image = "image"
    audio = "audio"
    all = "all"


class Device(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aura {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something breaks.")
    ] = False,
) -> None:
    """Says, with evidence, whether a talking-head video is manipulated."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


@app.command(help=ANALYZE_HELP)
def analyze(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, or folders of videos.")
    ],
    *,
    media: Annotated[
        Media, typer.Option(help="What to take from folders; what is left aside is told.")
    ] = Media.video,
    profile: Annotated[str, typer.Option(help="Which detectors to use.")] = "lite",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each report there as JSON.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only the report (several: one line each).")
    ] = False,
    jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append one JSON line a file; run again to go on."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Draw why: heat on faces, spectrogram, charts, and the report."
        ),
    ] = None,
    faces: Annotated[
        Faces | None,
        typer.Option(
            help="Judge every person, or skip pictures with several (the profile's choice)."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Pictures looked at a second (5; 10 from 1080 lines on)."),
    ] = None,
    false_alarms: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Call at most this share of genuine clips manipulated, 1% or 5%; more stay "
            "uncertain, and the report says how many and what that rests on.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="DETECTOR", help="Switch a detector off; may be given again."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the networks run.")] = Device.auto,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no notes; results only.")
    ] = False,
) -> None:
    """Analyse one video or many; see `ANALYZE_HELP`."""
    from aura.batch import (  # noqa: PLC0415
        Settings,
        make_folder,
        save_report,
    )
    from aura.media_files import SUFFIXES, find_media, is_folder  # noqa: PLC0415
    from aura.profiles import chosen, share_of  # noqa: PLC0415

    # A wrong name and absent weights are told before anything is decoded.
    level, off = share_of(false_alarms), tuple(without or ())
    whom = faces.value if faces else chosen(profile, without=off, false_alarms=level).faces
    settings = Settings(profile, whom, fps, off, level)
    if out is not None:
        make_folder(out)

    def run(path: Path, hook: Hook | None, explainer: Explainer | None = None) -> Report:
        more = {"explain": explainer} if explainer else {}
        report = _load_pipeline()(
            path,
            profile=profile,
            faces=whom,
            fps=fps,
            device=device.value,
            hook=hook,
            without=off,
            false_alarms=level,
            **more,
        )
        interrupts.look()
        return report

    if len(paths) > 1 or jsonl is not None or is_folder(paths[0]):
        if explain is not None:
            raise UsageError("--explain takes one video at a time, as its pictures are of one")
        kinds = tuple(kind for kind in SUFFIXES if media.value in {kind, Media.all.value})
        found = find_media(paths, kinds)
        if found.left and not quiet:
            _note(found.told())
        summary = _analyze_many(
            found.files, run, settings, out=out, jsonl=jsonl, as_json=as_json, quiet=quiet
        )
        raise typer.Exit(EXIT_SOME_FAILED if summary.any_failed else 0)
    with progress_bars(quiet=quiet) as bars:
        report = run(paths[0], bars.begin(paths[0].name), _explainer(explain))
    folder = explain or out
    target = save_report(report, folder) if folder else None
    if explain and out:
        save_report(report, out)
    if as_json:
        _write(report.to_json())
    elif not (quiet and folder):
        from aura.panel import print_report  # noqa: PLC0415

        print_report(report, _console())
    if target and not quiet:
        _note(f"Report written to {target}")


def _analyze_many(
    files: Sequence[Path],
    run: Callable[[Path, Hook | None], Report],
    settings: Settings,
    *,
    out: Path | None,
    jsonl: Path | None,
    as_json: bool,
    quiet: bool,
) -> Summary:
    from aura.batch import ResultsFile, run_batch, save_report  # noqa: PLC0415
    from aura.panel import outcome_line  # noqa: PLC0415

    console = _console()
    done = 0

    def tell(outcome: Outcome, line: str | None) -> None:
        nonlocal done
        done += 1
        bars.hide()
        if as_json:
            if line is not None:
                _write(line + "\n")
        elif outcome.report is not None and not (quiet and jsonl is not None):
            console.print(outcome_line(outcome.report, outcome.path, console), soft_wrap=True)
        if outcome.error is not None:
            _note(f"aura: {outcome.error}")

    with contextlib.ExitStack() as stack:
        results = stack.enter_context(ResultsFile(jsonl)) if jsonl else None
        bars = stack.enter_context(progress_bars(quiet=quiet))

        def one(path: Path) -> Report:
            report = run(path, bars.begin(f"[{done + 1}/{len(files)}] {path.name}"))
            if out:
                save_report(report, out)
            return report

        try:
            summary = run_batch(
                files, one, settings, results=results, on_outcome=tell, explain=_internal
            )
        except (KeyboardInterrupt, Cancelled):
            again = "; run the same command again to go on" if jsonl else ""
            raise Cancelled(f"stopped after {done} of {len(files)} files{again}") from None
    if not quiet:
        where = f" Results in {jsonl}." if jsonl else ""
        _note(f"{summary}{where}")
    return summary


def _explainer(folder: Path | None) -> Explainer | None:
    if folder is None:
        return None
    from aura.explain.explainer import Explainer  # noqa: PLC0415 - only when asked for

    return Explainer(folder)


def _load_pipeline() -> Callable[..., Report]:
    """`pipeline.analyze`, imported when it is needed and not before."""
    from aura import pipeline  # noqa: PLC0415

    return pipeline.analyze


@app.command()
def schema() -> None:
    """Print the JSON Schema of a report."""
    from aura.report import pretty_json, report_schema  # noqa: PLC0415

    _write(pretty_json(report_schema()) + "\n")


def _console(*, stderr: bool = False) -> Any:
    from aura.panel import Terminal  # noqa: PLC0415 - not needed for `--json`

    return Terminal(stderr=stderr, highlight=False)


def _write(text: str) -> None:
    """Text to standard output as UTF-8, whatever the terminal's encoding says."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _note(text: str) -> None:
    """A line on standard error; control characters in file names can't reach the terminal."""
    shown = "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
    with contextlib.suppress(OSError):
        typer.echo(shown, err=True)


class _NoBars:
    """Stands in for `progress.Bars` where nobody watches."""

    def begin(self, name: str) -> Hook:
        """No bar; the hook only looks whether Ctrl-C was pressed."""
        del name
        return lambda *_: interrupts.look()

    def hide(self) -> None:
        """Nothing to hide."""


@contextlib.contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Bars | _NoBars]:
    """Progress bars on a terminal's standard error, and none elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield _NoBars()
        return
    from aura.progress import Bars  # noqa: PLC0415

    with Bars(_console(stderr=True)) as bars:
        yield bars


def _internal(error: BaseException) -> str:
    """One sentence about an exception that nobody foresaw."""
    if os.environ.get(DEBUG_VARIABLE) not in {None, "", "0"}:
        traceback.print_exception(error)
    text = str(error).strip().splitlines()
    detail = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    return (
        f"internal error ({detail}); please report it, with the traceback that "
        "`aura --debug ...` shows"
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every exception ends here."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a "?" is better than no verdict
    try:
        code = _invoke(arguments)
        sys.stdout.flush()  # here, where a closed pipe can still be dealt with
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - no traceback reaches a user
        return _exit_code(error)
    except SystemExit:  # how the library that prints the help answers a closed pipe
        return _exit_code(BrokenPipeError())
    return code


@functools.cache
def _register_commands() -> None:
    """Once in a process: each time would add all commands once more."""
    for module in COMMAND_MODULES:
        import_module(module).register(app)


def _invoke(arguments: Sequence[str]) -> int:
    _register_commands()
    interrupts.look()
    command = typer.main.get_command(app)
    try:
        with command.make_context("aura", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    return 0


def _exit_code(error: BaseException) -> int:
    """Say what went wrong, in one line, and choose the exit code."""
    if isinstance(error, BrokenPipeError):
        # Python flushes standard output once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    # What is interrupted in the middle may raise anything, an engine's or a decoder's error too.
    interrupted = interrupts.pressed() and not isinstance(error, Cancelled)
    if interrupted or isinstance(error, (KeyboardInterrupt, typer.Abort)):
        error = Cancelled("stopped; nothing was kept")
    if isinstance(error, AuraError):
        _note(f"aura: {error}")
        return error.exit_code
    show = getattr(error, "show", None)
    if callable(show):  # the option parser's own errors know how to show themselves
        show()
        return EXIT_USAGE
    _note(f"aura: {_internal(error)}")
    return EXIT_INTERNAL
