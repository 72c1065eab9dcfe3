"""`aura calibrate` and `aura export`: what stands between a trained network and its promotion."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from aura.errors import MissingExtra


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(calibrate)
    app.command()(export)


def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="From `aura train`.")],
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="What it was trained on.")],
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Fit temperature and bias on validation people who did not pick the checkpoint."""
    from aura.cli import progress_bars  # noqa: PLC0415

    try:
        from aura.training.contract.calibrate_run import (  # noqa: PLC0415
            ROUGH,
            calibrate_run,
            place_of,
        )
    except ModuleNotFoundError as error:
        raise _missing("aura calibrate", error) from None
    command = shlex.join(["aura", *sys.argv[1:]])
    with progress_bars(quiet=quiet) as bars:
        found = calibrate_run(run, prepared, command=command, hook=bars.begin(run.name))
    before, after = found["before"], found["after"]
    real = found["clips"] - found["fake"]
    typer.echo(f"{place_of(run)}: temperature {found['temperature']}, bias {found['bias']}")
    typer.echo(f"  {found['fake']} fake and {real} real clips ({found['self_made']} self-made)")
    typer.echo(f"  NLL {before['nll']:.3f} -> {after['nll']:.3f}")
    typer.echo(f"  ECE {before['ece']:.3f} -> {after['ece']:.3f}, on the clips it was fitted on")
    if min(found["fake"], real) < ROUGH:
        typer.echo(f"  Rough: fewer than {ROUGH} clips of a class.")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="From `aura train`.")],
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to (RUN/export).")
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(metavar="PREPARED", help="Check parity on its windows as well."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Terms of the weights, for the card.")] = "",
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Without `aura calibrate`.")
    ] = False,
) -> None:
    """Write the network as ONNX with its card, once both engines answer as it does."""
    try:
        from aura.training.contract.export import export_run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing("aura export", error) from None
    target = out or run / "export"
    card, worst = export_run(
        run,
        target,
        prepared=prepared,
        licence=licence,
        uncalibrated=uncalibrated,
    )
    typer.echo(f"{card.parent}: {sum(p.stat().st_size for p in target.iterdir()) / 1e6:.1f} MB")
    for engine, value in worst.items():
        typer.echo(f"  {engine}: at most {value:.1g} from the network")


def _missing(what: str, error: ModuleNotFoundError) -> Exception:
    """Whether a package of the extra is absent, or something of ours is broken."""
    if (error.name or "").split(".")[0] == "aura":
        return error
    return MissingExtra(what, "train")
