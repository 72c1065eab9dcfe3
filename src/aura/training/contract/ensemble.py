"""Several runs that judge together (Lakshminarayanan et al., NeurIPS 2017)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import logit
from aura.errors import UsageError
from aura.training.contract.predict import decision, found_segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.evaluation.predictions import Prediction
    from aura.training.contract.checkpoint import CheckpointInfo

SIZES = (3, 5)  # contract
# What has to agree, for members to look at the same windows and to be switched off alike.
SHARED = ("window_seconds", "window_frames", "enable_video", "enable_audio", "enable_motion")


def check_members(members: Sequence[CheckpointInfo]) -> None:
    """One network, or several that can judge together.

    Raises:
        UsageError: too few or too many, one of them twice, or networks that look at other things.
    """
    if len(members) == 1:
        return
    if not SIZES[0] <= len(members) <= SIZES[1]:
        raise UsageError(
            f"an ensemble has {SIZES[0]} to {SIZES[1]} networks, these are {len(members)}: give "
            "--model as often"
        )
    if len({one.weights_sha256 for one in members}) < len(members):
        raise UsageError("two of these runs have the same weights; train with another --seed")
    for name in SHARED:
        values = {getattr(one.config, name) for one in members}
        if len(values) > 1:
            raise UsageError(
                f"these networks can't judge together: their {name} differ "
                f"({', '.join(sorted(str(value) for value in values))})"
            )


def joint_sha256(members: Sequence[CheckpointInfo]) -> str:
    """Stands for the weights of all of them; of a single one it is its own."""
    if len(members) == 1:
        return members[0].weights_sha256
    together = " ".join(sorted(one.weights_sha256 for one in members))
    return hashlib.sha256(together.encode()).hexdigest()


def ensembled(members: Sequence[Prediction], step: float) -> Prediction:
    """What several networks say of one clip together: the means of their probabilities.

    The interval reaches from the lowest of their scores, or of their own intervals, to the highest.

    Args:
        members: on the same windows of the same clip. step: seconds from a window to the next.
    """
    first = members[0]
    scores = [one.score for one in members if one.score is not None]
    if len(members) == 1 or not scores:
        return first
    mean = float(np.mean(scores))
    reach = [bound for one in members for bound in one.interval or ()] or scores
    apart = [one.disagreement for one in members if one.disagreement is not None]
    windows = tuple(
        same[0]._replace(score=float(np.mean([one.score for one in same])))
        for same in zip(*(one.windows for one in members), strict=True)
    )
    return replace(
        first,
        score=mean,
        logit=float(logit(mean)),
        interval=(min(reach), max(reach)),
        decision=decision(mean),
        windows=windows,
        frames=tuple(
            same[0]._replace(score=float(np.mean([one.score for one in same])))
            for same in zip(*(one.frames for one in members), strict=True)
        ),
        segments_found=found_segments(windows, step),
        disagreement=float(np.mean(apart)) if apart else None,
    )
