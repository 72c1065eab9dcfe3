"""`aura evaluate PREPARED --model RUN`: a checkpoint over a split, under every condition asked for.

All of it becomes files of predictions; figures, plots and the page are made from those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from aura.calibration import Calibration
from aura.errors import UsageError
from aura.evaluation.predictions import PREDICTIONS, Header, PredictionsFile, Role
from aura.evaluation.robustness import options_of
from aura.evaluation.variants import variant_path
from aura.training.contract.adversarial import ATTACKS, Attack, attacked
from aura.training.contract.calibrate_run import place_of, read_calibration
from aura.training.contract.checkpoint import load_checkpoint
from aura.training.contract.making import pair_kinds
from aura.training.contract.predict import Condition, Predictor, cases, decision
from aura.training.contract.robustness import clip_change
from aura.training.data.prepared import open_prepared
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aura.evaluation.predictions import Prediction
    from aura.training.contract.checkpoint import CheckpointInfo
    from aura.training.contract.network import ContractNetwork, Windows
    from aura.training.contract.predict import Case
    from aura.training.contract.samples import Batch
    from aura.training.data.prepared import PreparedSet

WINDOW_SECONDS = (0.5, 1.0, 2.0)  # of the ablation, where they hold as many frames as are taken
# Splits by what they were used for. `calibrate` is the part of `val` that set the temperature.
ROLES: dict[str, Role] = {"test": "reporting", "val": "selection", "train": "selection"}


@dataclass
class Work:
    """A checkpoint, what it judges, and where its predictions go."""

    network: ContractNetwork
    info: CheckpointInfo
    calibration: Calibration
    prepared: PreparedSet
    chosen: list[int]
    cases: list[Case]
    header: Header
    out: Path
    device: torch.device
    bars: Any


def evaluate_checkpoint(
    data: Path,
    run: Path,
    out: Path,
    *,
    bars: Any,
    split: str = "test",
    pairs: str | None = None,
    perturbations: Sequence[tuple[str, int]] = (),
    adversarial: bool = False,
    ablation: bool = False,
    device: str = "auto",
    command: str = "",
) -> list[str]:
    """Judge a split of a prepared set; what is in `out` already is not judged again.

    Args:
        data: a prepared folder. run: of `aura train`, or one checkpoint. out: evaluation folder.
        bars: of `cli.progress_bars`. pairs: kinds of fakes to make of the real clips; by default
            those that the run trained on, when the split has no fakes of its own.
        perturbations: of `robustness.chosen`. command: as it was typed.

    Returns:
        Notes for the user, such as parts of the ablation that make no sense here.

    Raises:
        WeightsError, InputError: checkpoint or prepared set can't be read.
        UsageError: an empty or one-class split, or another run's predictions in `out`.
    """
    network, info = load_checkpoint(run)
    prepared = open_prepared(data)
    chosen = prepared.split(split)
    kinds = _kinds(prepared, chosen, split, info, pairs)
    place = torch.device(_device(device))
    calibration, told = _calibration(run, info)
    header = Header(
        model=f"{info.config.name} ({run.absolute().name})",
        model_sha256=info.weights_sha256,
        data=data.absolute().name,
        data_sha256=prepared.data_hash,
        split=split,
        role=ROLES.get(split, "unknown"),
        trained_on=tuple(
            sorted({row.source for row in prepared.rows if row.split == "train" and row.source})
        )
        if info.data_hash == prepared.data_hash
        else (),
        options={
            "calibration": told,
            **({"self-made fakes": ", ".join(kinds)} if kinds else {}),
        },
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    work = Work(
        network.to(place),
        info,
        calibration,
        prepared,
        chosen,
        cases(prepared, chosen, kinds),
        header,
        out,
        place,
        bars,
    )
    notes = [] if calibration != Calibration() else [told]
    base = _judge(work, Condition(), None, {})
    for name, level in perturbations:
        motion = info.config.enable_motion
        condition = Condition(clip=clip_change(name, level, motion=motion))
        _judge(work, condition, ("robustness", f"{name}-{level}"), options_of(name, level))
    if ablation:
        notes += _ablation(work, base)
    if adversarial:
        for attack in _attacks(info):
            _judge(
                work,
                Condition(batch=_attacker(attack)),
                ("adversarial", f"{attack.name}-{attack.setting}".replace("/", " of ")),
                {
                    "adversarial": attack.name,
                    "setting": attack.setting,
                    **({"level": attack.pixels} if attack.pixels else {}),
                },
            )
    return notes


def _kinds(
    prepared: PreparedSet,
    chosen: Sequence[int],
    split: str,
    info: CheckpointInfo,
    pairs: str | None,
) -> tuple[str, ...]:
    """Kinds of fakes to make, after a look at whether the split can be measured at all."""
    if not chosen:
        there = sorted({row.split or "none" for row in prepared.rows})
        raise UsageError(
            f"no clip of {prepared.folder} is in the split {split!r} (there are: "
            f"{', '.join(there)}); name another with --split, or fill the manifest's column split"
        )
    fakes = sum(prepared.rows[i].target for i in chosen)
    if fakes == len(chosen):
        raise UsageError(
            f"the split {split!r} has {fakes} fake clips and no real one; an evaluation needs both"
        )
    if pairs is not None:
        kinds = pair_kinds([one.strip() for one in pairs.split(",")])
    else:
        kinds = () if fakes else tuple(info.training.get("pairs", ()))
    if not fakes and not kinds:
        raise UsageError(
            f"the split {split!r} has {len(chosen)} real clips and no fake one; add fakes to the "
            "manifest, or let them be made of the real ones: --pairs all"
        )
    return kinds


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    return name


def _calibration(run: Path, info: CheckpointInfo) -> tuple[Calibration, str]:
    """The run's calibration and its words for the header; none at all is no error."""
    if not place_of(run).is_file():
        return Calibration(), "none; run `aura calibrate` for probabilities"
    raw = read_calibration(run, info.weights_sha256)
    found = Calibration(float(raw["temperature"]), float(raw["bias"]))
    return found, f"temperature {found.temperature:g}, bias {found.bias:g}"


def _judge(
    work: Work,
    condition: Condition,
    variant: tuple[str, str] | None,
    options: dict[str, Any],
) -> list[Prediction]:
    """Predictions of all cases under a condition, from the file where they are there."""
    header = replace(work.header, options={**work.header.options, **options})
    path = variant_path(work.out, *variant) if variant else work.out / PREDICTIONS
    predictor = Predictor(work.network, work.prepared, work.calibration, work.device, condition)
    hook = work.bars.begin(" ".join(variant) if variant else f"split {work.header.split}")
    with PredictionsFile(path, header) as file:
        for number, case in enumerate(work.cases):
            if case.name not in file.done:
                found = predictor.judge(case, work.chosen)
                if found is not None:
                    file.add(found)
            if hook is not None:
                hook("looking and listening", number + 1, len(work.cases))
        return list(file.done.values())


def _ablation(work: Work, base: Sequence[Prediction]) -> list[str]:
    """Parts switched off, other aggregations, other windows; returns what made no sense here."""
    config, notes = work.info.config, []

    def judge(name: str, condition: Condition) -> None:
        _judge(work, condition, ("ablation", name), {"ablation": name})

    if config.enable_video and config.enable_audio:
        judge("video only", Condition(hear=False))
        judge("audio only", Condition(see=False))
    else:
        notes.append("the network has one modality, so none was switched off")
    if config.enable_video and config.enable_motion:
        judge("no flow", Condition(move=False))
    for method in SlidingWindows.aggregators:
        _aggregated(work, base, method)
    fewest, most = config.window_frames
    rates = {work.prepared.fps_of(i) for i in work.chosen}
    for seconds in WINDOW_SECONDS:
        if seconds == config.window_seconds:
            continue
        if all(fewest <= round(rate * seconds) <= most for rate in rates):
            judge(f"windows of {seconds:g} s", Condition(window_seconds=seconds))
        else:
            notes.append(
                f"windows of {seconds:g} s left out: they don't hold {fewest} to {most} frames at "
                f"{', '.join(f'{rate:g}' for rate in sorted(rates))} pictures a second"
            )
    notes.append("aggregation by attention or LSTM left out: no trained one lies in the run")
    return notes


def _aggregated(work: Work, base: Sequence[Prediction], method: str) -> None:
    """The untouched predictions, their windows' probabilities put together in another way."""
    name = f"aggregation {method}"
    setting = "of the windows' probabilities; untouched: mean of their logits"
    options = {**work.header.options, "ablation": name, "setting": setting}
    path = variant_path(work.out, "ablation", name)
    with PredictionsFile(path, replace(work.header, options=options)) as file:
        for one in base:
            if one.path in file.done:
                continue
            score = None
            if one.windows:
                score = SlidingWindows.aggregate([w.score for w in one.windows], method)
            file.add(
                replace(
                    one,
                    score=score,
                    logit=None,
                    decision=decision(score),
                    windows=(),
                    frames=(),
                    segments_found=(),
                )
            )


def _attacks(info: CheckpointInfo) -> list[Attack]:
    """Those that touch what the network looks at."""
    config = info.config
    return [
        one
        for one in ATTACKS
        if (one.pixels and config.enable_video) or (one.snr is not None and config.enable_audio)
    ]


def _attacker(attack: Attack) -> Any:
    def move(network: ContractNetwork, batch: Batch) -> Windows:
        return attacked(network, batch, attack)

    return move
