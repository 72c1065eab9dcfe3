"""Where a manipulation lies: average precision of found stretches against true ones.

As in LAV-DF (Cai et al., DICTA 2022) and AV-Deepfake1M (Cai et al., ACM MM 2024), after
ActivityNet (Caba Heilbron et al., CVPR 2015): a found stretch is right when its temporal
intersection over union with a true one, not yet taken by a better found one, reaches the
threshold. Precision is made monotone before it is averaged over recall (PASCAL VOC 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.75, 0.95)  # of both papers

Stretch = tuple[float, float]  # start, end in seconds
ScoredStretch = tuple[float, float, float]  # start, end, score


def overlap(one: Stretch, other: Stretch) -> float:
    """Intersection over union of two stretches of time, in [0, 1].

    >>> overlap((0.0, 2.0), (1.0, 3.0))
    0.3333333333333333
    """
    common = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - common
    return common / union if union > 0 else 0.0


@dataclass(frozen=True)
class Matches:
    """Found stretches of all clips, the highest score first, held against the true ones.

    `clip` (M,) index of the clip, `right` (M,) bool; `scores` (M,) descending; `true_counts` (C,)
    true stretches a clip.
    """

    clip: NDArray[np.int64]
    right: NDArray[np.bool_]
    scores: NDArray[np.float64]
    true_counts: NDArray[np.float64]

    def average_precision(self, weights: NDArray[np.float64] | None = None) -> float:
        """AP when clips count by `weights` (C,); nan without any true stretch."""
        by_clip = np.ones(len(self.true_counts)) if weights is None else weights
        total = float((self.true_counts * by_clip).sum())
        if total <= 0:
            return float("nan")
        w = by_clip[self.clip]
        found, all_found = np.cumsum(w * self.right), np.cumsum(w)
        # Stretches with equal scores come in together.
        ends = np.flatnonzero(np.r_[self.scores[1:] != self.scores[:-1], [True][: len(w)]])
        found, all_found = found[ends], all_found[ends]
        precision = np.divide(found, all_found, out=np.ones_like(found), where=all_found > 0)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(found / total, prepend=0.0) * precision).sum())


def match(
    found: Sequence[Sequence[ScoredStretch]], true: Sequence[Sequence[Stretch]], threshold: float
) -> Matches:
    """Hold the found stretches of each clip against its true ones.

    Args:
        found: (C) lists. true: (C) lists. threshold: intersection over union from which on it fits.
    """
    entries: list[tuple[float, int, bool]] = []
    for clip, (stretches, wanted) in enumerate(zip(found, true, strict=True)):
        free = list(wanted)
        for start, end, score in sorted(stretches, key=lambda one: -one[2]):
            best = max(free, key=lambda one: overlap((start, end), one), default=None)
            right = best is not None and overlap((start, end), best) >= threshold
            if right and best is not None:
                free.remove(best)
            entries.append((score, clip, right))
    entries.sort(key=lambda one: -one[0])
    return Matches(
        np.array([one[1] for one in entries], np.int64),
        np.array([one[2] for one in entries], np.bool_),
        np.array([one[0] for one in entries], np.float64),
        np.array([len(one) for one in true], np.float64),
    )


def localisation_ap(
    found: Sequence[Sequence[ScoredStretch]], true: Sequence[Sequence[Stretch]], threshold: float
) -> float:
    """Average precision over the clips at one threshold.

    >>> localisation_ap([[(0.0, 1.0, 0.9), (4.0, 5.0, 0.3)]], [[(0.0, 1.0)]], 0.5)
    1.0
    >>> localisation_ap([[(0.0, 1.0, 0.9)], []], [[(0.0, 1.0)], [(2.0, 3.0)]], 0.5)
    0.5
    """
    return match(found, true, threshold).average_precision()
