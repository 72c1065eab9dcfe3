"""`aura evaluate FOLDER`: run a profile over clips with known answers and print the table."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.batch import Outcome as FileOutcome
    from aura.evaluation.clips import LabelledClip
    from aura.evaluation.table import Outcome


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Clips with labels, see `docs/evaluation.md`.")],
    *,
    profile: Annotated[str, typer.Option(help="Which detectors to use.")] = "lite",
    jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the reports there; run again to go on."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table there as well.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure a profile on clips with known answers: AUC with intervals, per kind and detector."""
    # `aura --help` must not load the decoder
    from aura.evaluation import table  # noqa: PLC0415
    from aura.evaluation.clips import labelled_clips  # noqa: PLC0415

    clips = labelled_clips(folder)
    outcomes = _outcomes(clips, profile, jsonl, device, quiet=quiet)
    rows = [*table.rows(outcomes), *table.metadata_rows(clips)]
    text = table.markdown(rows, table.decisions(outcomes))
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")


def _outcomes(
    clips: Sequence[LabelledClip], profile: str, jsonl: Path | None, device: str, *, quiet: bool
) -> list[Outcome]:
    from contextlib import ExitStack  # noqa: PLC0415

    from aura.batch import ResultsFile, Settings, read_reports, run_batch  # noqa: PLC0415
    from aura.cli import progress_bars  # noqa: PLC0415
    from aura.evaluation.table import Outcome, outcome_of  # noqa: PLC0415
    from aura.pipeline import analyze  # noqa: PLC0415

    reports: dict[Path, Mapping[str, Any]] = {}
    errors: dict[Path, str] = {}

    def keep(outcome: FileOutcome, _line: str | None) -> None:
        if outcome.report is not None:
            reports[outcome.path] = outcome.report.model_dump(mode="json")
        elif outcome.error is not None:
            errors[outcome.path] = outcome.error

    files = [clip.path for clip in clips]
    with ExitStack() as stack:
        results = stack.enter_context(ResultsFile(jsonl)) if jsonl else None
        bars = stack.enter_context(progress_bars(quiet=quiet))

        def one(path: Path) -> Any:
            name = f"[{files.index(path) + 1}/{len(files)}] {path.name}"
            return analyze(path, profile=profile, device=device, hook=bars.begin(name))

        run_batch(files, one, Settings(profile), results=results, on_outcome=keep)
    if jsonl is not None:
        kept = read_reports(jsonl, Settings(profile))
        reports.update({path: kept[path] for path in files if path in kept})
    return [
        outcome_of(clip, reports[clip.path])
        if clip.path in reports
        else Outcome(clip, None, None, error=errors.get(clip.path, "failed in an earlier run"))
        for clip in clips
    ]
