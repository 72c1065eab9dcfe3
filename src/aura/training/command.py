"""`aura train`: from a prepared data set to a run folder with the best and the latest weights."""

from __future__ import annotations

import atexit
import importlib.util
import os
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from aura.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from aura.training.contract.config import ContractConfig
    from aura.training.contract.loop import FitResult
    from aura.training.contract.settings import Pace, TrainSettings

NEEDED = ("torch", "transformers", "safetensors")
STORE_VARIABLE = "AURA_ENCODERS"
VIDEOMAE = "videomae"  # the one network of --config that is not the contract's
ONLY_VIDEOMAE = {"start", "layers"}
ONLY_CONTRACT = {"encoders", "pairs", "accumulate", "windows_per_clip", "select_by", "workers"}

TRAIN_HELP = (
    "Train the contract network, or fine-tune VideoMAE, on a prepared data set.\n\n"
    "RUN gets best/ and latest/ (weights as safetensors, and what they are), log.jsonl, "
    "tensorboard/, and behind the best weights aggregators.safetensors (attention and LSTM over "
    "the windows of a clip). Stopped or killed, run the same command again: it goes on from the "
    "last checkpoint and ends with the same weights. On several GPUs or processes: torchrun "
    "--nproc-per-node N -m aura train ...\n\n"
    "With --config videomae --start FOLDER a VideoMAE gets a classifier of faces; RUN/best is then "
    "what `aura weights pull ensemble --only videomae-deepfake --from RUN/best` takes.\n\n"
    "Exit codes: 0 trained, 1 the loss is not a number or another process died, 2 wrong option or "
    "other settings than the run began with, 3 data can't be read, 4 weights or environment, "
    "130 stopped."
)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("train", help=TRAIN_HELP)(train)


def train(
    context: typer.Context,
    prepared: Annotated[Path, typer.Argument(metavar="PREPARED", help="From `aura data prepare`.")],
    *,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run.")],
    config: Annotated[
        str, typer.Option(help="Network: full, small, quick, a JSON file, or videomae.")
    ] = "full",
    start: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="VideoMAE to begin from, with --config videomae."),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(min=0, help="Its last blocks that learn, with --config videomae (4)."),
    ] = None,
    encoders: Annotated[
        Path | None,
        typer.Option(envvar=STORE_VARIABLE, metavar="DIR", help="Pretrained encoders."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON laid over the contract's training settings."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Fakes made of real clips: none, visual, audio, sync, all, or KIND,KIND."
        ),
    ] = None,
    augment: Annotated[
        bool | None, typer.Option("--augment/--no-augment", help="Change clips at random.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs (20).")] = None,
    early_stop: Annotated[
        int | None, typer.Option(help="Epochs without a better one, then stop (5).")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Windows in a step (32).")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Parts of a batch that go through one by one (1).")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of new layers (1e-4).")] = None,
    encoder_learning_rate: Annotated[
        float | None, typer.Option(help="Of pretrained encoders (1e-4).")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Steps of warm-up, at most a tenth of all (1000).")
    ] = None,
    windows_per_clip: Annotated[
        int | None, typer.Option(help="Windows drawn of a clip that is loaded (4).")
    ] = None,
    amp: Annotated[
        str | None, typer.Option(help="bfloat16: on, off, or auto = on a GPU (auto).")
    ] = None,
    select_by: Annotated[
        str | None, typer.Option(help="What picks the best epoch: auc or loss (auc).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all draws (0).")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load data.")] = 1,
    checkpoint_every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints within an epoch (0: none).")
    ] = 0,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between lines of the log.")] = 10,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Refuse to begin anew if RUN has no checkpoint.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Train; see `TRAIN_HELP`."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise MissingExtra("aura train", "train")
    _check_options(context, videomae=config == VIDEOMAE)
    pace_of = {"checkpoint_every": checkpoint_every, "log_every": log_every, "device": device}
    if config == VIDEOMAE:
        changes = {
            "learning_rate": learning_rate,
            "encoder_learning_rate": encoder_learning_rate,
            "warmup_steps": warmup,
            "batch": batch,
            "epochs": epochs,
            "early_stop": early_stop,
            "layers": layers,
            "amp": amp,
            "augment": augment,
            "seed": seed,
        }
        from aura.training.videomae.command import run  # noqa: PLC0415

        run(prepared, out, start, settings, changes, pace_of, resume=resume, quiet=quiet)
        return
    from aura.training.contract.config import read_config  # noqa: PLC0415 - all of it is slow
    from aura.training.contract.distributed import LostPartner, end_at_once  # noqa: PLC0415
    from aura.training.contract.making import pair_kinds  # noqa: PLC0415
    from aura.training.contract.settings import read_pace, read_settings  # noqa: PLC0415

    chosen = read_settings(
        settings,
        pairs=None if pairs is None else tuple(pairs.split(",")),
        augment=augment,
        epochs=epochs,
        early_stop=early_stop,
        batch=batch,
        accumulate=accumulate,
        learning_rate=learning_rate,
        encoder_learning_rate=encoder_learning_rate,
        warmup_steps=warmup,
        windows_per_clip=windows_per_clip,
        amp=amp,
        select_by=select_by,
        seed=seed,
    )
    chosen = chosen.model_copy(update={"pairs": pair_kinds(chosen.pairs)})
    pace = read_pace(workers=workers, **pace_of)
    try:
        result, leads = _train(
            prepared,
            out,
            read_config(config),
            chosen,
            pace,
            encoders=encoders,
            resume=resume,
            quiet=quiet,
        )
    except LostPartner:
        atexit.register(end_at_once)
        raise
    if leads and not quiet:
        early = ", stopped early" if result.early else ""
        typer.echo(
            f"{out / 'best'}: epoch {result.best['epoch']:g} of {result.epochs}{early}, AUC "
            f"{result.best['auc']:.3f} on {result.best['clips']:g} validation clips.\n"
            f"Next: aura calibrate {out} {prepared}"
        )


def _check_options(context: typer.Context, *, videomae: bool) -> None:
    """Refuse what the chosen network would ignore."""
    foreign = ONLY_CONTRACT if videomae else ONLY_VIDEOMAE
    for name in sorted(foreign):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} means nothing to VideoMAE; leave it out"
                if videomae
                else f"{option} goes with --config {VIDEOMAE} only"
            )


def _train(
    prepared: Path,
    out: Path,
    config: ContractConfig,
    settings: TrainSettings,
    pace: Pace,
    *,
    encoders: Path | None,
    resume: bool,
    quiet: bool,
) -> tuple[FitResult, bool]:
    import torch  # noqa: PLC0415

    from aura.cli import progress_bars  # noqa: PLC0415
    from aura.training.contract.aggregate_run import fit_aggregators  # noqa: PLC0415
    from aura.training.contract.dataset import Recipe, training_sets  # noqa: PLC0415
    from aura.training.contract.distributed import joined  # noqa: PLC0415
    from aura.training.contract.loop import fit  # noqa: PLC0415
    from aura.training.contract.making import self_made  # noqa: PLC0415
    from aura.training.contract.network import ContractNetwork  # noqa: PLC0415
    from aura.training.data.prepared import open_prepared  # noqa: PLC0415

    recipe = Recipe(settings.pairs, settings.augment, settings.balance, settings.windows_per_clip)
    clips = open_prepared(prepared)
    sets = training_sets(clips, config, recipe, seed=settings.seed, making=self_made())
    # Two threads in each of two processes on two processors would get in each other's way.
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - min(1, pace.workers)))
    torch.manual_seed(settings.seed)
    network = ContractNetwork(config, encoders)
    with joined(pace.device) as team, progress_bars(quiet=quiet or not team.leads) as bars:

        def tell(line: str) -> None:
            if team.leads and not quiet:
                bars.hide()
                typer.echo(line)

        result = fit(
            network,
            *sets,
            settings,
            out,
            pace=pace,
            team=team,
            must_resume=resume,
            hook=bars.begin(out.resolve().name),
            tell=tell,
        )
        leads, device = team.leads, team.device
    # By one process alone, after the others are done: it is over soon and talks to nobody.
    if leads:
        with progress_bars(quiet=quiet) as bars:
            fit_aggregators(
                out,
                clips,
                making=self_made(),
                device=device,
                workers=pace.workers,
                hook=bars.begin(out.resolve().name),
            )
    return result, leads
