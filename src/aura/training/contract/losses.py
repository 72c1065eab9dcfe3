"""The contract's loss: smoothed cross-entropy, temporal consistency, and the auxiliary tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from aura.training.contract.config import Loss
    from aura.training.contract.network import Outputs

UNKNOWN = -1  # a label that nobody gave; it enters no term


class Targets(NamedTuple):
    """What is known of a batch of windows; `UNKNOWN` where it isn't.

    `label`, `visual`, `audio` (B,) int64: the window, its face, its voice; 1 = fake.
    `disagreement` (B,) int64: 1 when face and voice were not recorded together (shifted, swapped
    or re-voiced sound, a pasted or re-enacted face). `frames` (B, T) int64: 1 = this frame is
    manipulated. `landmarks` (B, T, 10) in shares of the crop and `head_pose` (B, T, 3) in radians,
    NaN where unknown; (B, T, 0) when not asked for.
    """

    label: Tensor
    visual: Tensor
    audio: Tensor
    disagreement: Tensor
    frames: Tensor
    landmarks: Tensor
    head_pose: Tensor


def visible_label(outputs: Outputs, targets: Targets) -> Tensor:
    """The label that can be told from what the network was shown, (B,) int64.

    Where one modality is missing or was dropped, the label of the other one: a swapped voice
    can't be seen in a mute film, and asking for it would teach a guess. Where that one is unknown
    the window's own label stands, and where nothing was shown there is none.
    """
    own = torch.where(outputs.has_video, targets.visual, targets.audio)
    one = outputs.has_video ^ outputs.has_audio
    label = torch.where(one & (own != UNKNOWN), own, targets.label)
    return torch.where(outputs.has_video | outputs.has_audio, label, UNKNOWN)


class Share(NamedTuple):
    """This process's part of a batch that several processes hold together.

    `add_up` gives the sums over all processes of a vector (K,); `processes` how many there are.
    """

    add_up: Callable[[Tensor], Tensor]
    processes: int


def contract_loss(
    outputs: Outputs, targets: Targets, weights: Loss, share: Share | None = None
) -> dict[str, Tensor]:
    """All terms by name, unweighted, and their weighted sum as `total`; scalars.

    - `classification`: cross-entropy with label smoothing against `visible_label`.
    - `temporal_consistency`: squared step of the frames' probabilities between neighbours that
      were both seen and are not known to differ; a flicker is seldom real.
    - `manipulation`: binary cross-entropy against the share of manipulated frames where any is
      known to be, else against `visible_label` (a face may be real and the voice not).
    - `disagreement`: binary cross-entropy, where both modalities were shown.
    - `frames`: binary cross-entropy on labelled frames that were seen.
    - `landmarks`, `head_pose`: smooth L1, when switched on.

    A term for which nothing is known is 0 and keeps its graph, so that distributed training sees
    the same parameters in each process.

    Each term is a mean over what counts in the batch. With `share`, over what counts in the batches
    of all processes: the mean of the processes' terms, and so of their gradients, is then that of
    one process with the whole batch, whatever each of them happened to get.
    """
    label = visible_label(outputs, targets)
    seen, frames = outputs.frame_mask, targets.frames
    known = seen & (frames != UNKNOWN)
    manipulated = _share_manipulated(frames, known)
    parts = {
        "classification": _counted(
            F.cross_entropy(
                outputs.logits,
                label.clamp(min=0),
                label_smoothing=weights.label_smoothing,
                reduction="none",
            ),
            label != UNKNOWN,
        ),
        "temporal_consistency": _consistency(outputs, frames),
        "manipulation": _binary(
            outputs.manipulation,
            torch.where(manipulated > 0, manipulated, label.float()),
            label != UNKNOWN,
        ),
        "disagreement": _binary(
            outputs.disagreement,
            targets.disagreement,
            outputs.has_video & outputs.has_audio & (targets.disagreement != UNKNOWN),
        ),
        "frames": _binary(outputs.frame_scores, frames, known),
    }
    for name in ("landmarks", "head_pose"):
        found: Tensor = getattr(outputs, name)
        if found.shape[-1]:
            wanted: Tensor = getattr(targets, name)
            there = seen[..., None] & wanted.isfinite()
            step = F.smooth_l1_loss(found, torch.where(there, wanted, 0.0), reduction="none")
            parts[name] = _counted(step, there)
    counts = torch.stack([count for _, count in parts.values()]).float()
    processes = 1
    if share is not None:
        counts, processes = share.add_up(counts), share.processes
    terms = {
        name: summed * processes / count.clamp(min=1)
        for (name, (summed, _)), count in zip(parts.items(), counts, strict=True)
    }
    factors = {"classification": 1.0, **weights.model_dump(exclude={"label_smoothing"})}
    terms["total"] = torch.stack([factors[name] * term for name, term in terms.items()]).sum()
    return terms


Part = tuple[Tensor, Tensor]  # sum over what counts, and how much that is


def _counted(values: Tensor, counted: Tensor) -> Part:
    """The sum keeps its graph when nothing counts."""
    return torch.where(counted, values, 0.0).sum(), counted.sum()


def _binary(logits: Tensor, wanted: Tensor, counted: Tensor) -> Part:
    wanted = torch.where(counted, wanted.to(logits.dtype), 0.0)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return _counted(loss, counted)


def _share_manipulated(frames: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, frames, 0).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def _consistency(outputs: Outputs, frames: Tensor) -> Part:
    probabilities = outputs.frame_scores.sigmoid()
    seen = outputs.frame_mask
    alike = (
        (frames[:, 1:] == frames[:, :-1]) | (frames[:, 1:] == UNKNOWN) | (frames[:, :-1] == UNKNOWN)
    )
    step = (probabilities[:, 1:] - probabilities[:, :-1]).square()
    return _counted(step, seen[:, 1:] & seen[:, :-1] & alike)
