"""How good scores are: areas and rates with bootstrap intervals, as plain functions.

`labels` are 1 for fake and 0 for real, `scores` are higher for fake. Intervals resample whole
groups (a person, a clip with its variants), because files of one group err together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
LEVEL = 0.95

Statistic = Callable[[NDArray[Any], NDArray[Any]], float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; nan when the data can't give one."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "n/a"
        return f"{self.value:.2f} [{self.low:.2f}-{self.high:.2f}]"


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real one, ties half.

    Mann-Whitney's U by ranks; nan when a class is missing.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    y, x = np.asarray(labels), np.asarray(scores, np.float64)
    positives = int((y == 1).sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    area = (ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(area)


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Share of fakes found when at most `fpr` of the real ones may be called fake.

    The threshold is the lowest that keeps the false alarms within bounds on these very scores, so
    on few clips the figure is optimistic; nan when a class is missing.

    >>> tpr_at_fpr([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.5, 0.95], 0.25)
    1.0
    """
    y, x = np.asarray(labels), np.asarray(scores, np.float64)
    real, fake = np.sort(x[y == 0])[::-1], x[y == 1]
    if not len(real) or not len(fake):
        return float("nan")
    allowed = int(np.floor(fpr * len(real) + 1e-9))
    if allowed >= len(real):
        return 1.0
    return float((fake > real[allowed]).mean())


def bootstrap(
    statistic: Statistic,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Estimate:
    """A statistic with its percentile interval over resampled groups.

    Args:
        statistic: of (labels, scores). labels, scores: (N,).
        groups: (N,) names; entries of one group are drawn together. Every entry alone by default.
        seed: equal seed, equal interval. Resamples in which a class is missing are left out.
    """
    y, x = np.asarray(labels), np.asarray(scores, np.float64)
    names = np.arange(len(y)) if groups is None else np.asarray(groups)
    value = statistic(y, x)
    if np.isnan(value):
        return Estimate(value, value, value)
    _, codes = np.unique(names, return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        picks = random.integers(0, len(members), len(members))
        rows = np.concatenate([members[pick] for pick in picks])
        drawn = statistic(y[rows], x[rows])
        if not np.isnan(drawn):
            draws.append(drawn)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def auc_interval(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
    """`auc` with its interval.

    >>> auc_interval([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]).value
    1.0
    """
    return bootstrap(auc, labels, scores, groups)


def share_interval(hits: int, cases: int) -> Estimate:
    """A share with Wilson's 95 % interval (Wilson, JASA 1927).

    >>> str(share_interval(1, 25))
    '0.04 [0.01-0.20]'
    """
    if cases == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    z = 1.959964
    share = hits / cases
    centre = (share + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z * np.sqrt(share * (1 - share) / cases + z * z / (4 * cases**2)) / (1 + z * z / cases)
    return Estimate(share, float(max(0.0, centre - half)), float(min(1.0, centre + half)))
