"""How good scores are: areas and rates with bootstrap intervals, as plain functions.

`labels` are 1 for fake and 0 for real, `scores` are higher for fake. Intervals resample whole
groups (a person, a clip with its variants), because files of one group err together.

Areas and rates are read off one `Curve`; entries may carry weights, which is how a bootstrap draws
an entry several times without sorting anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
LEVEL = 0.95
ROUNDING = 1e-9  # so that a limit of 0.05 of 20 real ones allows exactly one

Statistic = Callable[[NDArray[Any], NDArray[Any]], float]
Floats = NDArray[np.float64]


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


@dataclass(frozen=True)
class Curve:
    """What a falling threshold finds, one point a distinct score (K,), from the highest down.

    `thresholds` (K,); `found` (K,) weight of the fakes at or above each, `alarms` (K,) of the real
    ones. The last point holds all. ROC and precision-recall figures come from these counts.
    """

    thresholds: Floats
    found: Floats
    alarms: Floats

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> Self:
        """The curve of labels (N,) and scores (N,), every entry counted once."""
        ranked = Ranking(labels, scores)
        found, alarms = ranked.counts(np.ones(len(ranked)))
        return cls(ranked.thresholds, found, alarms)

    @property
    def tpr(self) -> Floats:
        """(K,) share of the fakes found (recall); nan without fakes."""
        return _share(self.found, self.found)

    @property
    def fpr(self) -> Floats:
        """(K,) share of the real ones called fake; nan without real ones."""
        return _share(self.alarms, self.alarms)

    @property
    def precision(self) -> Floats:
        """(K,) share of fakes in what is called fake."""
        called = self.found + self.alarms
        return np.divide(self.found, called, out=np.ones_like(called), where=called > 0)

    @property
    def complete(self) -> bool:
        """Whether there are entries of both classes."""
        return len(self.found) > 0 and self.found[-1] > 0 and self.alarms[-1] > 0

    @property
    def auc(self) -> float:
        """Area under ROC; nan when a class is missing."""
        if not self.complete:
            return float("nan")
        steps = np.diff(self.alarms, prepend=0.0)
        before = np.concatenate([[0.0], self.found[:-1]])
        area = float((steps * (self.found + before) / 2).sum())
        return area / float(self.found[-1] * self.alarms[-1])

    @property
    def average_precision(self) -> float:
        """Precision, averaged over recall, without interpolation; nan when a class is missing."""
        if not self.complete:
            return float("nan")
        return float((np.diff(self.tpr, prepend=0.0) * self.precision).sum())

    @property
    def equal_error_rate(self) -> float:
        """Where as many fakes are missed as real ones are called fake, between points linearly."""
        if not self.complete:
            return float("nan")
        fpr, missed = np.r_[0.0, self.fpr], np.r_[1.0, 1.0 - self.tpr]
        gap = fpr - missed  # rises from -1 to 1
        after = int(np.argmax(gap >= 0))
        before = after - 1
        share = -gap[before] / (gap[after] - gap[before])
        return float(fpr[before] + share * (fpr[after] - fpr[before]))

    def tpr_at(self, fpr: float) -> float:
        """See `tpr_at_fpr`."""
        if not self.complete:
            return float("nan")
        within = self.alarms <= fpr * self.alarms[-1] + ROUNDING
        return float(self.found[within].max(initial=0.0) / self.found[-1])

    def fpr_at(self, tpr: float) -> float:
        """See `fpr_at_tpr`."""
        if not self.complete:
            return float("nan")
        enough = self.found >= tpr * self.found[-1] - ROUNDING
        return float(self.alarms[enough].min() / self.alarms[-1])


def _share(counts: Floats, total: Floats) -> Floats:
    whole = float(total[-1]) if len(total) else 0.0
    return counts / whole if whole > 0 else np.full(len(counts), np.nan)


class Ranking:
    """Labels and scores sorted once, for many curves over the same entries.

    Args:
        labels: (N,). scores: (N,).
    """

    def __init__(self, labels: ArrayLike, scores: ArrayLike) -> None:
        y, x = np.asarray(labels), np.asarray(scores, np.float64)
        self.order = np.argsort(-x, kind="stable")
        ranked = x[self.order]
        # Entries with equal scores fall below a threshold together.
        last = [True] if len(x) else []
        self._ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], last])
        self._fake = (y[self.order] == 1).astype(np.float64)
        self._real = (y[self.order] == 0).astype(np.float64)
        self.thresholds: Floats = ranked[self._ends]

    def __len__(self) -> int:
        return len(self.order)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """`Curve.found` and `Curve.alarms` for weights (N,) in the order of the labels given."""
        ranked = weights[self.order]
        return (
            np.cumsum(ranked * self._fake)[self._ends],
            np.cumsum(ranked * self._real)[self._ends],
        )

    def curve(self, weights: Floats) -> Curve:
        """The curve when entries count by `weights` (N,)."""
        return Curve(self.thresholds, *self.counts(weights))


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real one, ties half.

    Equals Mann-Whitney's U over all pairs (Hanley and McNeil, Radiology 1982); nan when a class
    is missing.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return Curve.of(labels, scores).auc


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under precision over recall as a sum of steps (Manning et al., 2008, chapter 8).

    It depends on the share of fakes, so compare it on equal data only; nan when a class is missing.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return Curve.of(labels, scores).average_precision


def equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> float:
    """The error rate at which misses and false alarms are equal (ISO/IEC 19795-1), interpolated.

    >>> equal_error_rate([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    """
    return Curve.of(labels, scores).equal_error_rate


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Share of fakes found when at most `fpr` of the real ones may be called fake.

    The threshold is the lowest that keeps the false alarms within bounds on these very scores, so
    on few clips the figure is optimistic; nan when a class is missing.

    >>> tpr_at_fpr([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.5, 0.95], 0.25)
    1.0
    """
    return Curve.of(labels, scores).tpr_at(fpr)


def fpr_at_tpr(labels: ArrayLike, scores: ArrayLike, tpr: float) -> float:
    """Share of real ones called fake at the highest threshold that finds `tpr` of the fakes.

    >>> fpr_at_tpr([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9, 0.5, 0.95], 0.95)
    0.25
    """
    return Curve.of(labels, scores).fpr_at(tpr)


@dataclass(frozen=True)
class Confusion:
    """Weights of the four outcomes at one threshold; a score at the threshold is called fake."""

    found: float
    missed: float
    alarms: float
    passed: float

    @classmethod
    def of(
        cls,
        labels: ArrayLike,
        scores: ArrayLike,
        threshold: float = 0.5,
        weights: Floats | None = None,
    ) -> Self:
        """Count labels (N,) against scores (N,) from `threshold` on.

        >>> Confusion.of([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.2])
        Confusion(found=1.0, missed=1.0, alarms=1.0, passed=1.0)
        """
        fake = np.asarray(labels) == 1
        called = np.asarray(scores, np.float64) >= threshold
        w = np.ones(len(fake)) if weights is None else weights
        return cls(
            float(w[fake & called].sum()),
            float(w[fake & ~called].sum()),
            float(w[~fake & called].sum()),
            float(w[~fake & ~called].sum()),
        )

    @property
    def accuracy(self) -> float:
        """Share of right answers; says little where the classes are of different sizes."""
        return _ratio(
            self.found + self.passed, self.found + self.missed + self.alarms + self.passed
        )

    @property
    def precision(self) -> float:
        """Share of fakes in what is called fake; 0 when nothing is."""
        return _ratio(self.found, self.found + self.alarms, empty=0.0)

    @property
    def recall(self) -> float:
        """Share of the fakes that are called fake."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall (van Rijsbergen, 1979); 0 when nothing is found."""
        return _ratio(2 * self.found, 2 * self.found + self.alarms + self.missed, empty=0.0)


def _ratio(part: float, whole: float, empty: float = float("nan")) -> float:
    return part / whole if whole > 0 else empty


def resamples(groups: ArrayLike, count: int = RESAMPLES, seed: int = 0) -> Iterator[Floats]:
    """How often each entry (N,) is drawn when whole groups are drawn with replacement.

    Args:
        groups: (N,) names. count: how many draws. seed: equal seed, equal draws.
    """
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    many = int(codes.max()) + 1
    random = np.random.default_rng(seed)
    for _ in range(count):
        picks = random.integers(0, many, many)
        yield np.bincount(picks, minlength=many)[codes].astype(np.float64)


def percentile_interval(draws: ArrayLike) -> tuple[float, float]:
    """The middle 95 % of a bootstrap's draws (Efron, 1979), nan ones left out; nan when none is."""
    values = np.asarray(draws, np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


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
    draws = []
    for weights in resamples(names, seed=seed):
        rows = np.repeat(np.arange(len(y)), weights.astype(int))
        draws.append(statistic(y[rows], x[rows]))
    return Estimate(value, *percentile_interval(draws))


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
