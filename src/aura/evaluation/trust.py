"""How far scores can be believed: calibration, and what the reject option buys.

Probabilities are P(fake) in [0, 1], labels 1 = fake; entries may carry weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aura.calibration import ECE_BINS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


class Reliability(NamedTuple):
    """Equal-width bins of P(fake): weight, mean P(fake) and share of fakes in each, (bins,)."""

    weight: Floats
    predicted: Floats
    fake: Floats

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al., AAAI 2015)."""
        total = self.weight.sum()
        return float((self.weight * np.abs(self.predicted - self.fake)).sum() / total)


def reliability(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: Floats | None = None,
    bins: int = ECE_BINS,
) -> Reliability:
    """Bins for a reliability diagram; empty ones hold zeros.

    >>> round(reliability([1, 1, 1, 0], [0.9, 0.9, 0.9, 0.9]).error, 4)
    0.15
    """
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    w = np.ones(len(p)) if weights is None else weights
    index = np.minimum((p * bins).astype(int), bins - 1)
    weight = np.asarray(np.bincount(index, w, bins), np.float64)
    there = np.maximum(weight, np.finfo(float).tiny)
    return Reliability(
        weight, np.bincount(index, w * p, bins) / there, np.bincount(index, w * y, bins) / there
    )


class RiskCoverage(NamedTuple):
    """What happens when only the surest are judged, by falling confidence max(p, 1 - p).

    `confidence` (K,) distinct values, descending; `coverage` (K,) share of entries at least that
    sure; `risk` (K,) share of wrong answers among them (El-Yaniv and Wiener, JMLR 2010).
    """

    confidence: Floats
    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """Mean risk over coverage (Geifman and El-Yaniv, NeurIPS 2017); 0 = never wrong."""
        steps = np.diff(self.coverage, prepend=0.0)
        return float((steps * self.risk).sum() / steps.sum()) if steps.sum() > 0 else float("nan")


class Sureness:
    """Labels and probabilities sorted by confidence once, for many weights.

    Args:
        labels: (N,). probabilities: (N,).
    """

    def __init__(self, labels: ArrayLike, probabilities: ArrayLike) -> None:
        y, p = np.asarray(labels), np.asarray(probabilities, np.float64)
        sure = np.maximum(p, 1 - p)
        self._order = np.argsort(-sure, kind="stable")
        ranked = sure[self._order]
        last = [True] if len(p) else []
        self._ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], last])
        self._wrong = ((p >= 0.5) != (y == 1))[self._order].astype(np.float64)
        self._confidence = ranked[self._ends]

    def curve(self, weights: Floats) -> RiskCoverage:
        """The curve when entries count by `weights` (N,)."""
        w = weights[self._order]
        covered = np.cumsum(w)[self._ends]
        wrong = np.cumsum(w * self._wrong)[self._ends]
        total = covered[-1] if len(covered) else 0.0
        return RiskCoverage(
            self._confidence,
            covered / total if total > 0 else covered,
            np.divide(wrong, covered, out=np.zeros_like(wrong), where=covered > 0),
        )


def risk_coverage(labels: ArrayLike, probabilities: ArrayLike) -> RiskCoverage:
    """Risk against coverage of labels (N,) and P(fake) (N,).

    >>> risk_coverage([1, 0, 1, 1], [0.9, 0.2, 0.3, 0.6]).risk.round(2).tolist()
    [0.0, 0.0, 0.33, 0.25]
    """
    return Sureness(labels, probabilities).curve(np.ones(np.shape(labels)))
