"""The contract's loss: smoothed cross-entropy, temporal consistency, and the auxiliary tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
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


def contract_loss(outputs: Outputs, targets: Targets, weights: Loss) -> dict[str, Tensor]:
    """All terms by name, unweighted, and their weighted sum as `total`; scalars.

    - `classification`: cross-entropy with label smoothing against `visible_label`.
    - `temporal_consistency`: squared step of the frames' probabilities between neighbours that
      were both seen and are not known to differ; a flicker is seldom real.
    - `manipulation`: binary cross-entropy against the share of manipulated frames where frames
      are labelled, else against `visible_label`.
    - `disagreement`: binary cross-entropy, where both modalities were shown.
    - `frames`: binary cross-entropy on labelled frames that were seen.
    - `landmarks`, `head_pose`: smooth L1, when switched on.

    A term for which nothing is known is 0 and keeps its graph, so that distributed training sees
    the same parameters in each process.
    """
    label = visible_label(outputs, targets)
    seen, frames = outputs.frame_mask, targets.frames
    known = seen & (frames != UNKNOWN)
    terms = {
        "classification": _mean(
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
            torch.where(known.any(dim=1), _share_manipulated(frames, known), label.float()),
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
            terms[name] = _mean(step, there)
    factors = {"classification": 1.0, **weights.model_dump(exclude={"label_smoothing"})}
    terms["total"] = sum((factors[name] * term for name, term in terms.items()), torch.tensor(0.0))
    return terms


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of what counts; 0 with its graph when nothing does."""
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)


def _binary(logits: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    wanted = torch.where(counted, wanted.to(logits.dtype), 0.0)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return _mean(loss, counted)


def _share_manipulated(frames: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, frames, 0).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def _consistency(outputs: Outputs, frames: Tensor) -> Tensor:
    probabilities = outputs.frame_scores.sigmoid()
    seen = outputs.frame_mask
    alike = (
        (frames[:, 1:] == frames[:, :-1]) | (frames[:, 1:] == UNKNOWN) | (frames[:, :-1] == UNKNOWN)
    )
    step = (probabilities[:, 1:] - probabilities[:, :-1]).square()
    return _mean(step, seen[:, 1:] & seen[:, :-1] & alike)
