"""Learned aggregation of a run: fitted behind its best checkpoint, kept beside it, loaded.

The network keeps still: the windows of the training clips go through it once, what remains is a
sequence of `Outputs.joint` for each clip, and both aggregators are fitted on those in seconds.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from aura.errors import UsageError, WeightsError
from aura.training.contract.aggregate import LEARNED, build_aggregator
from aura.training.contract.checkpoint import BEST, LATEST, load_checkpoint, read_info
from aura.training.contract.dataset import AS_IT_IS, Recipe, WindowSet
from aura.training.contract.feed import Feed
from aura.training.contract.known_faces import KnownFaces
from aura.training.contract.network import Windows
from aura.training.data.clip import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from pathlib import Path

    from aura.training.contract.aggregate import AttentionAggregator, LSTMAggregator
    from aura.training.contract.dataset import Making, Unit
    from aura.training.contract.network import ContractNetwork
    from aura.training.data.prepared import PreparedSet

    Aggregators = dict[str, AttentionAggregator | LSTMAggregator]

FORMAT = 1  # the newest layout of the file that this version reads
FILE = "aggregators.safetensors"
ABOUT = "about"  # key of what is said about them, within the file
# Of each class, evenly over the set: hundreds of sequences decide some ten thousand weights, and
# encoding more would take longer than they can tell.
MOST_CLIPS = 1000
WINDOWS_AT_ONCE = 8
STEPS, BATCH, RATE, DECAY = 300, 32, 1e-2, 1e-2


class Sequences(NamedTuple):
    """Clips as the aggregators see them: `joint` of each, (W, width), and its label."""

    joint: list[Tensor]
    labels: list[int]


def fit_aggregators(
    run: Path,
    clips: PreparedSet,
    *,
    making: Making,
    device: torch.device,
    workers: int = 0,
    hook: Callable[[str, float, float | None], None] | None = None,
) -> bool:
    """Fit both aggregators on the training clips of a run, unless its best weights have theirs.

    Args:
        run: of `aura train`. clips: what it was trained on. making: how its fakes are made.
        workers: processes that load. hook: told of progress, in clips.

    Returns:
        Whether anything was fitted; not where the clips in which anything was seen or heard are
        all of one class.

    Raises:
        WeightsError: no checkpoint. InputError: a prepared clip can't be read.
        UsageError: the run's folder can't be written.
    """
    if fits(run, read_info(run / BEST).weights_sha256):
        return False
    network, info = load_checkpoint(run / BEST)
    kinds = tuple(info.training.get("pairs", ()))
    seed = int(info.training.get("seed", 0))
    chosen = [i for i, row in enumerate(clips.rows) if row.split == "train"]
    source = WindowSet(
        clips,
        chosen,
        network.config,
        Recipe(kinds) if kinds else AS_IT_IS,
        seed=seed,
        making=making,
    )
    found = _sequences(network.to(device), source, workers, device, hook)
    if len(set(found.labels)) < 2:
        return False
    fitted = {name: fitted_aggregator(name, found, seed) for name in LEARNED}
    about = {
        "format": FORMAT,
        "width": network.config.joint_width,
        "weights_sha256": info.weights_sha256,
        "data_hash": clips.data_hash,
        "clips": len(found.labels),
        "fake": sum(found.labels),
        "windows": sum(len(one) for one in found.joint),
        "split": "train",
        "steps": STEPS,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _save(run / FILE, fitted, about)
    return True


def _sequences(
    network: ContractNetwork,
    source: WindowSet,
    workers: int,
    device: torch.device,
    hook: Callable[[str, float, float | None], None] | None,
) -> Sequences:
    """What the network makes of the training clips: of one stretch of each, and of its fake."""
    units = source.units(0)
    plan: list[list[Hashable]] = []
    for fake in (False, True):
        alike = [one for one in units if _is_fake(source, one) == fake]
        count = min(len(alike), MOST_CLIPS)
        plan += [[alike[i * len(alike) // count]] for i in range(count)]
    look = KnownFaces(network)
    found = Sequences([], [])
    for number, batch in enumerate(Feed(source, workers).batches(plan)):
        parts = []
        for first in range(0, len(batch), WINDOWS_AT_ONCE):
            part = batch.part(first, first + WINDOWS_AT_ONCE)
            frames, *others = part.inputs
            windows = Windows(frames, *(value.to(device) for value in others))
            with torch.no_grad():
                outputs = network.decide(network.encode(windows, look))
            parts.append(outputs.joint[outputs.has_video | outputs.has_audio].float().cpu())
        joint, label = torch.cat(parts), batch.origins[0].label
        if len(joint) and label != UNKNOWN:
            found.joint.append(joint)
            found.labels.append(label)
        if hook is not None:
            hook("aggregation", number + 1, len(plan))
    return found


def _is_fake(source: WindowSet, unit: Unit) -> bool:
    return unit.made or bool(source.clips.rows[unit.clip].target)


def fitted_aggregator(
    name: str, found: Sequences, seed: int = 0
) -> AttentionAggregator | LSTMAggregator:
    """One of `LEARNED`, fitted; both classes count equally, and the same seed gives the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_aggregator(name, found.joint[0].shape[1])
        windows = pad_sequence(found.joint, batch_first=True)
        lengths = torch.tensor([len(one) for one in found.joint])
        mask = torch.arange(windows.shape[1])[None] < lengths[:, None]
        model.scale.fit(windows[mask])
        labels = torch.tensor(found.labels, dtype=torch.float32)
        share = labels.mean()
        weights = torch.where(labels == 1, 0.5 / share, 0.5 / (1 - share))
        optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(STEPS):
            some = torch.randint(len(labels), (min(BATCH, len(labels)),))
            optimiser.zero_grad()
            logits = model(windows[some], mask[some])
            loss = F.binary_cross_entropy_with_logits(logits, labels[some], weights[some])
            torch.autograd.backward(loss)
            optimiser.step()
    return model.eval()


def place_of(run: Path) -> Path:
    """Where a run's aggregators lie; those of a checkpoint lie beside it."""
    return (run.parent if run.name in {BEST, LATEST} else run) / FILE


def fits(run: Path, weights_sha256: str) -> bool:
    """Whether the run has aggregators of these weights."""
    try:
        load_aggregators(run, weights_sha256)
    except (UsageError, WeightsError):
        return False
    return True


def load_aggregators(run: Path, weights_sha256: str) -> Aggregators:
    """The run's learned aggregators by name, in evaluation mode on the CPU.

    Raises:
        UsageError: there are none, or they belong to other weights. WeightsError: damaged, or of
            a newer format.
    """
    path = place_of(run)
    if not path.is_file():
        raise UsageError(
            f"{path} is not there: give the command of `aura train` again, it fits the learned "
            "aggregations of a run that has none"
        )
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[ABOUT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version, width, sha256 = about["format"], about["width"], about["weights_sha256"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        raise WeightsError(
            f"{path} can't be read; delete it and give the command of `aura train` again"
        ) from None
    if not isinstance(version, int) or version > FORMAT:
        raise WeightsError(
            f"{path} has format {version!r}, this version reads up to {FORMAT}: upgrade "
            "aura-veracity"
        )
    if sha256 != weights_sha256:
        raise UsageError(
            f"{path} belongs to other weights than the checkpoint has; give the command of `aura "
            "train` again, or evaluate RUN/best"
        )
    return {name: _filled(path, name, width, tensors) for name in LEARNED}


def _filled(
    path: Path, name: str, width: object, tensors: Mapping[str, Tensor]
) -> AttentionAggregator | LSTMAggregator:
    own = {
        key.removeprefix(f"{name}."): value
        for key, value in tensors.items()
        if key.startswith(f"{name}.")
    }
    try:
        model = build_aggregator(name, int(str(width)))
        model.load_state_dict(own, strict=True)
    except (RuntimeError, ValueError):
        raise WeightsError(
            f"{path} does not hold the aggregator {name!r} as this version builds it; delete it "
            "and give the command of `aura train` again"
        ) from None
    return model.eval()


def _save(path: Path, fitted: Aggregators, about: Mapping[str, Any]) -> None:
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name, model in fitted.items()
        for key, value in model.state_dict().items()
    }
    part = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, part, metadata={ABOUT: json.dumps(about)})
        part.chmod(0o644)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path} can't be written ({error}); make room and train again") from error
