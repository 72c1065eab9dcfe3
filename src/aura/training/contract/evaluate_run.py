"""`aura evaluate PREPARED --model RUN`: checkpoints over a split, under every condition asked for.

All of it becomes files of predictions; figures, plots and the page are made from those.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from aura.calibration import Calibration
from aura.errors import UsageError
from aura.evaluation.predictions import PREDICTIONS, Header, PredictionsFile, Role
from aura.evaluation.robustness import options_of
from aura.evaluation.variants import variant_path
from aura.training.contract.adversarial import ATTACKS, Attack, attacked
from aura.training.contract.aggregate import LEARNED, METHODS
from aura.training.contract.aggregate_run import load_aggregators
from aura.training.contract.calibrate_run import place_of, read_calibration
from aura.training.contract.cases import cases
from aura.training.contract.certainty import FEWEST_PASSES
from aura.training.contract.checkpoint import load_checkpoint
from aura.training.contract.ensemble import check_members, ensembled, joint_sha256
from aura.training.contract.making import pair_kinds
from aura.training.contract.predict import LOGITS, Condition, Predictor
from aura.training.contract.robustness import clip_change
from aura.training.data.prepared import open_prepared
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aura.evaluation.predictions import Prediction
    from aura.training.contract.aggregate_run import Aggregators
    from aura.training.contract.cases import Case
    from aura.training.contract.checkpoint import CheckpointInfo
    from aura.training.contract.network import ContractNetwork, Look, Windows
    from aura.training.contract.samples import Batch
    from aura.training.data.prepared import PreparedSet

UNCALIBRATED = "none; run `aura calibrate` for probabilities"
# Of a clip, evenly spread: ten steps of gradient on every window of 16 clips would take hours.
ATTACKED_WINDOWS = 3
WINDOW_SECONDS = (0.5, 1.0, 2.0)  # of the ablation, where they hold as many frames as are taken
# Splits by what they were used for. `calibrate` is the part of `val` that set the temperature.
ROLES: dict[str, Role] = {"test": "reporting", "val": "selection", "train": "selection"}


class Wanted(NamedTuple):
    """A condition, the file that its predictions go to, and what its header says of it.

    `bare`: windows and frames stay away, since they are those of the untouched predictions.
    """

    condition: Condition
    path: Path
    options: dict[str, Any]
    bare: bool = False


@dataclass
class Work:
    """What judges, what is judged, and where the predictions go."""

    members: list[Predictor]
    infos: list[CheckpointInfo]
    prepared: PreparedSet
    chosen: list[int]
    cases: list[Case]
    header: Header
    out: Path
    bars: Any


def evaluate_checkpoint(
    data: Path,
    runs: Sequence[Path],
    out: Path,
    *,
    bars: Any,
    split: str = "test",
    pairs: str | None = None,
    aggregation: str = LOGITS,
    passes: int = 0,
    perturbations: Sequence[tuple[str, int]] = (),
    adversarial: bool = False,
    ablation: bool = False,
    device: str = "auto",
    command: str = "",
) -> list[str]:
    """Judge a split of a prepared set; what is in `out` already is not judged again.

    Args:
        data: a prepared folder. runs: of `aura train`, or single checkpoints; several are an
            ensemble. out: evaluation folder.
        bars: of `cli.progress_bars`. pairs: kinds of fakes to make of the real clips; by default
            those that the run trained on, when the split has no fakes of its own.
        aggregation: `LOGITS` or one of `aggregate.METHODS`. passes: with dropout on, for the
            interval. perturbations: of `robustness.chosen`. command: as it was typed.

    Returns:
        Notes for the user, such as parts of the ablation that make no sense here.

    Raises:
        WeightsError, InputError: checkpoint or prepared set can't be read.
        UsageError: an empty or one-class split, an unknown or unfitted aggregation, runs that are
            no ensemble, or another run's predictions in `out`.
    """
    _check_options(aggregation, passes, adversarial=adversarial, members=len(runs))
    prepared = open_prepared(data)
    chosen = prepared.split(split)
    place = torch.device(_device(device))
    members, infos, told = [], [], []
    lacking = ""
    for run in runs:
        network, info = load_checkpoint(run)
        calibration, words = _calibration(run, info)
        aggregators: Aggregators = {}
        if ablation or aggregation in LEARNED:
            try:
                aggregators = load_aggregators(run, info.weights_sha256)
            except UsageError as error:
                if aggregation in LEARNED:
                    raise
                lacking = str(error)
        members.append(
            Predictor(
                network.to(place),
                prepared,
                chosen,
                calibration=calibration,
                device=place,
                aggregators=aggregators,
            )
        )
        infos.append(info)
        told.append(words)
    check_members(infos)
    kinds = _kinds(prepared, chosen, split, infos[0], pairs)
    on_this = all(info.data_hash == prepared.data_hash for info in infos)
    header = Header(
        model=_model_name(infos, runs),
        model_sha256=joint_sha256(infos),
        data=data.absolute().name,
        data_sha256=prepared.data_hash,
        split=split,
        role=ROLES.get(split, "unknown"),
        trained_on=tuple(
            sorted({row.source for row in prepared.rows if row.split == "train" and row.source})
        )
        if on_this
        else (),
        options={
            "calibration": "; ".join(told),
            **({"self-made fakes": ", ".join(kinds)} if kinds else {}),
            **({"aggregation": aggregation} if aggregation != LOGITS else {}),
            **({"dropout passes": passes} if passes else {}),
        },
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    work = Work(
        members,
        infos,
        prepared,
        chosen,
        cases(prepared, chosen, kinds),
        header,
        out,
        bars,
    )
    notes = [words for words in told if words == UNCALIBRATED][:1]
    base = Condition(aggregation=aggregation, passes=passes)
    wanted = [Wanted(base, out / PREDICTIONS, {})]
    if ablation:
        found, more = _ablation(work, aggregation, lacking)
        wanted += found
        notes += more
    motion = infos[0].config.enable_motion
    for name, level in perturbations:
        condition = Condition(aggregation=aggregation, clip=clip_change(name, level, motion=motion))
        path = variant_path(out, "robustness", f"{name}-{level}")
        wanted.append(Wanted(condition, path, options_of(name, level)))
    if adversarial:
        wanted += _attacked(work, aggregation)
        notes.append(f"attacks are measured on {ATTACKED_WINDOWS} windows of each clip")
    _judge(work, wanted)
    return notes


def _check_options(aggregation: str, passes: int, *, adversarial: bool, members: int) -> None:
    if aggregation != LOGITS and aggregation not in METHODS:
        known = ", ".join((LOGITS, *METHODS))
        raise UsageError(f"--aggregation {aggregation!r}: choose one of {known}")
    if passes and passes < FEWEST_PASSES:
        raise UsageError(f"--mc-dropout {passes}: at least {FEWEST_PASSES} passes give an interval")
    if passes and aggregation != LOGITS:
        raise UsageError("--mc-dropout goes with the mean of the logits: leave out --aggregation")
    if adversarial and members > 1:
        raise UsageError("--adversarial attacks one network: give one --model")


def _model_name(infos: Sequence[CheckpointInfo], runs: Sequence[Path]) -> str:
    names = [
        f"{info.config.name} ({run.absolute().name})" for info, run in zip(infos, runs, strict=True)
    ]
    return names[0] if len(names) == 1 else f"ensemble of {len(names)}: {', '.join(names)}"


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
        return Calibration(), UNCALIBRATED
    raw = read_calibration(run, info.weights_sha256)
    found = Calibration(float(raw["temperature"]), float(raw["bias"]))
    return found, f"temperature {found.temperature:g}, bias {found.bias:g}"


def _judge(work: Work, wanted: Sequence[Wanted]) -> None:
    """Predictions of all cases under all conditions, but for those that are there.

    Case by case, because what the encoders made of a face serves every condition that leaves the
    face alone.
    """
    hook = work.bars.begin(f"split {work.header.split}")
    with ExitStack() as stack:
        files = []
        for one in wanted:
            header = replace(work.header, options={**work.header.options, **one.options})
            files.append(stack.enter_context(PredictionsFile(one.path, header)))
        for number, case in enumerate(work.cases):
            missing = [i for i, file in enumerate(files) if case.name not in file.done]
            done = number * len(wanted) + len(wanted) - len(missing)
            for place, found in _together(work, case, [wanted[i].condition for i in missing]):
                one = wanted[missing[place]]
                files[missing[place]].add(_bare(found) if one.bare else found)
                done += 1
                if hook is not None:
                    hook("looking and listening", done, len(work.cases) * len(wanted))


def _together(
    work: Work, case: Case, conditions: Sequence[Condition]
) -> Iterator[tuple[int, Prediction]]:
    """What the members say together: the place of each condition and the prediction."""
    for same in zip(*(one.judge(case, conditions) for one in work.members), strict=True):
        place = same[0][0]
        seconds = conditions[place].window_seconds or work.infos[0].config.window_seconds
        yield place, ensembled([found for _, found in same], SlidingWindows(seconds).step)


def _bare(one: Prediction) -> Prediction:
    return replace(one, windows=(), frames=(), segments_found=())


def _ablation(work: Work, aggregation: str, lacking: str) -> tuple[list[Wanted], list[str]]:
    """Parts switched off, other aggregations, other windows; and what makes no sense here.

    Args:
        lacking: why there are no learned aggregations, empty when there are.
    """
    config = work.infos[0].config
    found: list[Wanted] = []
    notes: list[str] = []

    def add(name: str, condition: Condition, setting: str = "", *, bare: bool = False) -> None:
        options = {"ablation": name, **({"setting": setting} if setting else {})}
        found.append(Wanted(condition, variant_path(work.out, "ablation", name), options, bare))

    usual = Condition(aggregation=aggregation)
    # Those that show the encoders the same come first: they and the untouched are encoded once.
    for method in METHODS:
        if method in LEARNED and lacking:
            continue
        setting = "learned, not calibrated" if method in LEARNED else "of windows' probabilities"
        condition = replace(usual, aggregation=method)
        add(f"aggregation {method}", condition, f"{setting}; untouched: {aggregation}", bare=True)
    if lacking:
        notes.append(f"aggregation by {' and '.join(LEARNED)} left out: {lacking}")
    if config.enable_video and config.enable_audio:
        add("video only", replace(usual, hear=False))
        add("audio only", replace(usual, see=False))
    else:
        notes.append("the network has one modality, so none was switched off")
    if config.enable_video and config.enable_motion:
        add("no flow", replace(usual, move=False))
    fewest, most = config.window_frames
    rates = {work.prepared.fps_of(i) for i in work.chosen}
    for seconds in WINDOW_SECONDS:
        if seconds == config.window_seconds:
            continue
        if all(fewest <= round(rate * seconds) <= most for rate in rates):
            add(f"windows of {seconds:g} s", replace(usual, window_seconds=seconds))
        else:
            notes.append(
                f"windows of {seconds:g} s left out: they don't hold {fewest} to {most} frames at "
                f"{', '.join(f'{rate:g}' for rate in sorted(rates))} pictures a second"
            )
    return found, notes


def _attacked(work: Work, aggregation: str) -> list[Wanted]:
    """The attacks that touch what the network looks at, and the same windows untouched."""
    config, found = work.infos[0].config, []
    usual = Condition(aggregation=aggregation, few=ATTACKED_WINDOWS)
    options = {"adversarial": "none", "setting": f"{ATTACKED_WINDOWS} windows a clip"}
    found.append(Wanted(usual, variant_path(work.out, "adversarial", "none"), options))
    for attack in ATTACKS:
        if not (config.enable_video if attack.pixels else config.enable_audio):
            continue
        name = f"{attack.name}-{attack.setting}".replace("/", " of ")
        options = {"adversarial": attack.name, "setting": attack.setting}
        found.append(
            Wanted(
                replace(usual, batch=_attacker(attack)),
                variant_path(work.out, "adversarial", name),
                {**options, **({"level": attack.pixels} if attack.pixels else {})},
            )
        )
    return found


def _attacker(attack: Attack) -> Any:
    def move(network: ContractNetwork, batch: Batch, look: Look) -> Windows:
        return attacked(network, batch, attack, look)

    return move
