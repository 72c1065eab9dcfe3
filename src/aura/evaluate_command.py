"""`aura evaluate DATA` and `aura compare DIR DIR`: how good is it on clips with known answers."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aura.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from aura.evaluation.clips import LabelledClip
    from aura.evaluation.predictions import Header
    from aura.evaluation.profile_run import ProfileRun

# What marks a folder as a prepared set, for which a checkpoint is needed.
PREPARED_MARK = "prepared.json"
# Runs checkpoints; loaded by name because the core must not know PyTorch.
CHECKPOINT_MODULE = "aura.training.contract.evaluate_run"
ROLES = ("reporting", "selection", "unknown")
COMPARISON = "comparison"
MARKDOWN_KEYS = ("auc", "ap", "eer", "accuracy", "brier", "ece", "aurc")

EVALUATE_HELP = (
    "Measure a profile or a checkpoint on clips with known answers.\n\n"
    "DATA is a folder of labelled clips (--profile) or a folder that `aura data prepare` made "
    "(--model RUN). The table goes to the terminal; --out DIR gets predictions, figures with "
    "intervals, plots and one page. Run it again with the same DIR to go on after a stop."
)
COMPARE_HELP = (
    "Hold evaluation folders side by side on the clips that all of them scored, with paired "
    "bootstraps against the first."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help=EVALUATE_HELP)(evaluate)
    app.command(help=COMPARE_HELP)(compare)


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Clips with labels.")],
    *,
    profile: Annotated[str | None, typer.Option(help="Which detectors to use (lite).")] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="A run of `aura train`, on prepared data; 3 to 5 of them are an ensemble.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="DETECTOR", help="Switch a detector off (profiles); may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write predictions, figures and page there.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the reports there; run again to go on."),
    ] = None,
    robustness: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Perturbations, say blur,jpeg, or video, sound, all."),
    ] = None,
    levels: Annotated[
        str, typer.Option(metavar="LIST", help="Of the perturbations, 1 (mild) to 5.")
    ] = "1,2,3,4,5",
    adversarial: Annotated[
        bool, typer.Option("--adversarial", help="Attack the checkpoint (FGSM, PGD).")
    ] = False,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Switch off parts of the checkpoint.")
    ] = False,
    aggregation: Annotated[
        str,
        typer.Option(
            help="From windows to the clip (checkpoints): logits (their mean), mean, max, top-k, "
            "voting, attention or lstm."
        ),
    ] = "logits",
    mc_dropout: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Passes with dropout on, for an interval (checkpoints); 30."
        ),
    ] = 0,
    split: Annotated[str, typer.Option(help="Which split of a prepared set.")] = "test",
    pairs: Annotated[
        str | None,
        typer.Option(help="Fakes made of the split's real clips: as in `aura train`, or none."),
    ] = None,
    role: Annotated[
        str, typer.Option(help=f"What these clips were used for: {', '.join(ROLES)}.")
    ] = "unknown",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Evaluate; see `EVALUATE_HELP`."""
    if role not in ROLES:
        raise UsageError(f"--role {role!r}: choose one of {', '.join(ROLES)}")
    if out is None and (robustness or adversarial or ablation):
        raise UsageError("--robustness, --adversarial and --ablation need --out DIR")
    if out is not None:
        _check_out(out)
    wanted = _perturbations(robustness, levels)
    prepared = (data / PREPARED_MARK).is_file()
    if not model:
        if prepared:
            raise UsageError(
                f"{data} is a prepared set, which a checkpoint is measured on: add --model RUN"
            )
        if adversarial or ablation or mc_dropout or aggregation != "logits":
            raise UsageError(
                "--adversarial, --ablation, --aggregation and --mc-dropout need a checkpoint: add "
                "--model RUN"
            )
        off = tuple(without or ())
        header = _profile_header(data, profile or "lite", role, off)
        with _bars(quiet=quiet) as bars:
            run = _profile_run(profile or "lite", device, bars, off)
            _evaluate_profile(data, header, run, out, jsonl, perturbations=wanted)
        if out is not None:
            _finish(out, quiet=quiet)
        return
    if profile is not None or jsonl is not None or without:
        raise UsageError("--profile, --without and --jsonl don't go with --model")
    if not prepared:
        raise UsageError(
            f"{data} is no prepared set (no {PREPARED_MARK}); run `aura data prepare` first"
        )
    if out is None:
        raise UsageError("--model needs --out DIR")
    module = _checkpoint_module()
    with _bars(quiet=quiet) as bars:
        notes = module.evaluate_checkpoint(
            data,
            model,
            out,
            bars=bars,
            split=split,
            pairs=pairs,
            aggregation=aggregation,
            passes=mc_dropout,
            perturbations=wanted,
            adversarial=adversarial,
            ablation=ablation,
            device=device,
            command=_command(),
        )
    for note in () if quiet else notes:
        typer.echo(f"Note: {note}", err=True)
    _finish(out, quiet=quiet, table=True)


def _check_out(out: Path) -> None:
    """Say early what would otherwise come after hours of work."""
    from aura.evaluation.plots import need_matplotlib  # noqa: PLC0415

    need_matplotlib()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")


def _perturbations(robustness: str | None, levels: str) -> list[tuple[str, int]]:
    if robustness is None:
        return []
    from aura.evaluation.robustness import chosen  # noqa: PLC0415

    return chosen(robustness, levels)


def _command() -> str:
    return "aura " + shlex.join(sys.argv[1:])


def _checkpoint_module() -> Any:
    try:
        return import_module(CHECKPOINT_MODULE)
    except ImportError as error:
        if (error.name or "").startswith("aura"):
            raise
        raise MissingExtra("--model", "train") from None


def _evaluate_profile(
    data: Path,
    header: Header,
    run: ProfileRun,
    out: Path | None,
    jsonl: Path | None,
    *,
    perturbations: Sequence[tuple[str, int]],
) -> None:
    from aura.evaluation import profile_run, table  # noqa: PLC0415
    from aura.evaluation.clips import labelled_clips  # noqa: PLC0415
    from aura.evaluation.predictions import PREDICTIONS, PredictionsFile  # noqa: PLC0415

    clips = labelled_clips(data)
    _check_classes(data, clips, needed=out is not None)
    root = data.absolute()
    if out is None:
        predictions = profile_run.predict(clips, root, run, jsonl=jsonl)
    else:
        with PredictionsFile(out / PREDICTIONS, header) as file:
            predictions = profile_run.predict(clips, root, run, out=file, jsonl=jsonl)
    run.bars.hide()
    outcomes = [table.outcome_of(clip, one) for clip, one in zip(clips, predictions, strict=True)]
    rows = [*table.rows(outcomes), *table.metadata_rows(clips)]
    typer.echo(table.markdown(rows, table.decisions(outcomes)))
    if out is not None:
        profile_run.predict_perturbed(clips, root, run, header, out, perturbations=perturbations)


def _bars(*, quiet: bool) -> AbstractContextManager[Any]:
    from aura.cli import progress_bars  # noqa: PLC0415 - imports this module

    return progress_bars(quiet=quiet)


def _profile_run(profile: str, device: str, bars: Any, without: tuple[str, ...]) -> ProfileRun:
    from aura.evaluation.profile_run import ProfileRun  # noqa: PLC0415 - loads the decoder

    return ProfileRun(profile, device, bars, without=without)


def _profile_header(data: Path, profile: str, role: str, without: tuple[str, ...]) -> Header:
    from aura.evaluation.predictions import Header  # noqa: PLC0415
    from aura.evaluation.profile_run import model_sha256  # noqa: PLC0415

    return Header(
        model=" without ".join((f"profile {profile}", *without)),
        model_sha256=model_sha256(profile, without),
        data=data.absolute().name,
        role=role,  # type: ignore[arg-type]  # checked by `evaluate`
        command=_command(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        options={"without": list(without)} if without else {},
    )


def _check_classes(data: Path, clips: Sequence[LabelledClip], *, needed: bool) -> None:
    labels = {clip.label for clip in clips}
    if needed and len(labels) < 2:
        name = "real" if labels == {1} else "fake"
        raise UsageError(
            f"{data} has no {name} clip; an evaluation with --out needs real and fake ones"
        )


def _finish(out: Path, *, quiet: bool, table: bool = False) -> None:
    from aura.evaluation.folder import PAGE, TABLES, write_evaluation  # noqa: PLC0415

    write_evaluation(out)
    if table:
        typer.echo((out / TABLES).read_text(encoding="utf-8"), nl=False)
    if not quiet:
        typer.echo(f"Figures, plots and page: {out / PAGE}", err=True)


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Of `aura evaluate --out`; first = base.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write it there as JSON, Markdown and a page."),
    ] = None,
) -> None:
    """Compare; see `COMPARE_HELP`."""
    from aura.evaluation import compare as comparing  # noqa: PLC0415
    from aura.evaluation.predictions import read_predictions  # noqa: PLC0415

    if out is not None:
        _check_out(out)
    names = _names(folders)
    contenders = [
        comparing.Contender(name, *read_predictions(folder))
        for name, folder in zip(names, folders, strict=True)
    ]
    comparison = comparing.compare(contenders)
    typer.echo(comparing.markdown(comparison, MARKDOWN_KEYS))
    if out is not None:
        from aura.evaluation.folder import write_comparison  # noqa: PLC0415

        write_comparison(out, comparison, MARKDOWN_KEYS)
        typer.echo(f"Comparison: {out / COMPARISON}.html", err=True)


def _names(folders: Sequence[Path]) -> list[str]:
    """Short names of folders, whole paths where short ones are equal."""
    short = [folder.absolute().name for folder in folders]
    if len(set(short)) == len(short):
        return short
    if len({folder.absolute() for folder in folders}) < len(folders):
        raise UsageError("the same folder is named twice; compare different evaluations")
    return [str(folder) for folder in folders]
