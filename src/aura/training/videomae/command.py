"""`aura train --config videomae`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from aura.cli import progress_bars
from aura.errors import UsageError
from aura.training.contract.settings import read_pace
from aura.training.data.prepared import open_prepared
from aura.training.videomae.settings import read_tune_settings
from aura.training.videomae.tune import tune

if TYPE_CHECKING:
    from pathlib import Path


def run(  # noqa: PLR0917
    prepared: Path,
    out: Path,
    start: Path | None,
    file: Path | None,
    changes: dict[str, Any],
    pace: dict[str, Any],
    *,
    resume: bool,
    quiet: bool,
) -> None:
    """Fine-tune as the options say.

    Args:
        file: with settings; `changes` are laid over it. pace: as `read_pace` takes it.

    Raises:
        UsageError: options that make no sense. Else what `tune` raises.
    """
    if start is None:
        raise UsageError(
            "--config videomae needs --start FOLDER: a VideoMAE checkpoint to begin from, such as "
            "MCG-NJU/videomae-base"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--config videomae trains in one process: leave out torchrun")
    settings = read_tune_settings(file, **changes)
    with progress_bars(quiet=quiet) as bars:

        def tell(line: str) -> None:
            if not quiet:
                bars.hide()
                typer.echo(line)

        result = tune(
            open_prepared(prepared),
            start,
            out,
            settings,
            pace=read_pace(**pace),
            must_resume=resume,
            hook=bars.begin(out.resolve().name),
            tell=tell,
        )
    if not quiet:
        typer.echo(
            f"{out / 'best'}: epoch {result.best['epoch']:g} of {result.epochs}, AUC "
            f"{result.best['auc']:.3f} on the {result.best['clips']:g} validation clips that picked"
            f" it.\nNext: aura weights pull ensemble --only videomae-deepfake --from {out / 'best'}"
        )
