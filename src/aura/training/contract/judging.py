"""How good the network is on the people that pick the checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from aura.metrics import auc
from aura.training.contract.losses import UNKNOWN, contract_loss
from aura.training.contract.network import ContractNetwork, Encoded, Outputs, Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from aura.training.contract.distributed import Team
    from aura.training.contract.feed import Feed
    from aura.training.contract.samples import Batch

    Floats = NDArray[np.float64]


class Judge(nn.Module):
    """The network on either kind of input: windows, or what the encoders made of them."""

    def __init__(self, network: ContractNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Windows | Encoded) -> Outputs:
        """Judge a batch."""
        if isinstance(inputs, Encoded):
            return self.network.decide(inputs)
        outputs: Outputs = self.network(*inputs)
        return outputs


def in_full(outputs: Outputs) -> Outputs:
    """Outputs of reduced precision as float32, in which losses are taken."""
    return Outputs(*(v.float() if v.is_floating_point() else v for v in outputs))


class _Judged(NamedTuple):
    """What a process found, by window."""

    clips: list[tuple[int, str, int]]  # clip, kind, label of the clip
    scores: list[float]
    labels: list[int]
    disagreement: list[tuple[float, int]]
    losses: list[tuple[float, int]]  # of a part of a batch, and its windows


@torch.no_grad()
def validate(
    network: ContractNetwork,
    feed: Feed,
    plan: list[list[Hashable]],
    team: Team,
    *,
    size: int,
    amp: bool,
    proceed: Callable[[int], bool] | None = None,
) -> dict[str, float] | None:
    """Loss and AUCs over all processes; the same figures in each. nan where a class is missing.

    `auc` by clip (mean over its windows), `window_auc`, `disagreement_auc` by window, `loss`, and
    the counts `clips` and `windows`.

    Args:
        plan: keys of the batches. size: most windows judged at once.
        proceed: told how many batches are done; False ends it without a result.
    """
    judge, found = Judge(network).eval(), _Judged([], [], [], [], [])
    was_training = network.training
    network.eval()
    try:
        for number, whole in enumerate(feed.batches(plan[team.rank :: team.size])):
            if proceed is not None and not proceed(number):
                return None
            for first in range(0, len(whole), size):
                batch = whole.part(first, first + size).to_device(team.device)
                with torch.autocast(team.device.type, torch.bfloat16, enabled=amp):
                    outputs = judge(batch.inputs)
                _note(found, batch, in_full(outputs), network)
    finally:
        network.train(was_training)
    parts = team.gather(found)
    return _figures(_Judged(*(sum((list(one[i]) for one in parts), []) for i in range(5))))  # noqa: RUF017


def _note(found: _Judged, batch: Batch, outputs: Outputs, network: ContractNetwork) -> None:
    loss = contract_loss(outputs, batch.targets, network.config.loss)["total"]
    found.losses.append((float(loss), len(batch)))
    found.clips.extend((one.clip, one.kind, one.label) for one in batch.origins)
    found.scores.extend(outputs.logits.softmax(dim=1)[:, 1].tolist())
    found.labels.extend(batch.targets.label.tolist())
    both = outputs.has_video & outputs.has_audio & (batch.targets.disagreement != UNKNOWN)
    pairs: list[Tensor] = [outputs.disagreement[both], batch.targets.disagreement[both]]
    found.disagreement.extend(zip(*(one.tolist() for one in pairs), strict=True))


def _figures(found: _Judged) -> dict[str, float]:
    by_clip: dict[tuple[int, str, int], list[float]] = {}
    for clip, score in zip(found.clips, found.scores, strict=True):
        by_clip.setdefault(clip, []).append(score)
    known = [clip for clip in by_clip if clip[2] != UNKNOWN]
    windows = [i for i, label in enumerate(found.labels) if label != UNKNOWN]
    weights = np.array([count for _, count in found.losses], np.float64)
    losses = np.array([loss for loss, _ in found.losses], np.float64)
    return {
        "loss": float((losses * weights).sum() / weights.sum()) if len(weights) else float("nan"),
        "auc": _auc([(float(np.mean(by_clip[clip])), clip[2]) for clip in known]),
        "window_auc": _auc([(found.scores[i], found.labels[i]) for i in windows]),
        "disagreement_auc": _auc(found.disagreement),
        "clips": len(by_clip),
        "windows": len(found.scores),
    }


def _auc(pairs: list[tuple[float, int]]) -> float:
    labels = [label for _, label in pairs]
    if len(set(labels)) < 2 or not np.isfinite([score for score, _ in pairs]).all():
        return float("nan")
    return auc(labels, [score for score, _ in pairs])
