"""From a detector's raw logit to a probability, and how far such probabilities can be believed.

Temperature scaling (Guo et al., ICML 2017) with an offset: the calibrated logit is
`logit / temperature + bias`. Two numbers can be fitted on a few dozen clips; they never change the
order of two scores, so AUC stays what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# logit(1e-9) = -20.7: beyond that a probability says 0 or 1, and a stored "1.0" has to be undone.
PROBABILITY_FLOOR = 1e-9
# sigmoid(6) = 0.9975: no detector here was tested on enough clips to claim more, and without the
# limit a single overconfident one would outvote all others.
LOGIT_LIMIT = 6.0
NEWTON_STEPS = 100
NEWTON_TOLERANCE = 1e-10
MIN_SLOPE = 1e-6  # 1 / temperature; at or below, the score says nothing or runs backwards
ECE_BINS = 10  # equal-width bins; few, because dev sets here hold hundreds of clips, not thousands


def sigmoid(logits: ArrayLike) -> Floats:
    """Logistic function without overflow; any shape.

    >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    x = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def logit(probabilities: ArrayLike) -> Floats:
    """Inverse of `sigmoid`, for probabilities kept `PROBABILITY_FLOOR` away from 0 and 1.

    >>> float(logit(0.5))
    0.0
    """
    p = np.clip(np.asarray(probabilities, np.float64), PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return np.asarray(np.log(p) - np.log1p(-p))


def limited_logit(probability: float) -> float:
    """A score as a vote: its logit, kept within `LOGIT_LIMIT` of zero.

    >>> limited_logit(1.0)
    6.0
    """
    return float(np.clip(logit(probability), -LOGIT_LIMIT, LOGIT_LIMIT))


@dataclass(frozen=True)
class Calibration:
    """`logit / temperature + bias`; the defaults change nothing."""

    temperature: float = 1.0
    bias: float = 0.0

    def logits(self, raw: ArrayLike) -> Floats:
        """Calibrated logits, same shape as `raw`."""
        return np.asarray(np.asarray(raw, dtype=np.float64) / self.temperature + self.bias)

    def probability(self, raw: ArrayLike) -> Floats:
        """P(fake) in [0, 1], same shape as `raw`."""
        return sigmoid(self.logits(raw))


def fit_temperature(logits: ArrayLike, labels: ArrayLike, *, balanced: bool = True) -> Calibration:
    """Fit temperature and bias by maximum likelihood (Newton's method).

    Targets are Platt's (n + 1) / (n + 2) instead of 1 and 1 / (n + 2) instead of 0, so that clips
    that happen to be perfectly separated give a finite temperature.

    Args:
        logits: (N,) raw logits, higher = more likely fake.
        labels: (N,) 1 = fake, 0 = real.
        balanced: each class counts half in total. The probability then assumes even odds before
            the clip was looked at, not the mix of the clips fitted on.

    Raises:
        ValueError: fewer than one clip of each class, sizes differ, numbers that are not finite,
            or logits that don't rise with the label (no temperature can mend that).
    """
    x = np.asarray(logits, dtype=np.float64).ravel()
    y = np.asarray(labels, dtype=np.float64).ravel()
    if x.shape != y.shape:
        raise ValueError(f"{x.size} logits for {y.size} labels")
    if not np.isfinite(x).all():
        raise ValueError("logits must be finite")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 (real) or 1 (fake)")
    fakes, reals = int(y.sum()), int(y.size - y.sum())
    if not fakes or not reals:
        raise ValueError("calibration needs clips of both classes")
    target = np.where(y == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    weight = np.where(y == 1, 0.5 / fakes, 0.5 / reals) if balanced else np.full(x.size, 1 / x.size)
    centre, spread = float(x.mean()), float(x.std())
    if spread == 0:
        raise ValueError("all logits are equal: they say nothing about the label")
    slope, offset = _newton((x - centre) / spread, target, weight)
    slope, offset = slope / spread, offset - slope / spread * centre
    if slope <= MIN_SLOPE:
        raise ValueError("the logits don't rise with the label: check the score's direction")
    return Calibration(temperature=1.0 / slope, bias=offset)


def _newton(x: Floats, target: Floats, weight: Floats) -> tuple[float, float]:
    """Slope and offset that minimise the weighted cross-entropy; step halving keeps it falling."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    theta = np.zeros(2)
    loss = _cross_entropy(design @ theta, target, weight)
    for _ in range(NEWTON_STEPS):
        p = sigmoid(design @ theta)
        gradient = design.T @ (weight * (p - target))
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        scale = 1.0
        while (
            trial := _cross_entropy(design @ (theta - scale * step), target, weight)
        ) > loss and scale > NEWTON_TOLERANCE:
            scale /= 2
        theta, loss = theta - scale * step, min(trial, loss)
        if np.abs(scale * step).max() < NEWTON_TOLERANCE:
            break
    return float(theta[0]), float(theta[1])


def _cross_entropy(logits: Floats, target: Floats, weight: Floats) -> float:
    # log(1 + e^z) - t z, the form that never takes the logarithm of zero
    return float(np.sum(weight * (np.logaddexp(0.0, logits) - target * logits)))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean cross-entropy in nats of P(fake) (N,) against labels (N,).

    >>> round(negative_log_likelihood([0.5, 0.5], [0, 1]), 4)
    0.6931
    """
    z, y = logit(probabilities), np.asarray(labels, dtype=np.float64)
    return _cross_entropy(z, y, np.full(z.shape, 1.0 / z.size))


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance between P(fake) (N,) and labels (N,), in [0, 1]; 0.25 = a coin.

    >>> brier_score([1.0, 0.0, 0.5], [1, 0, 1])
    0.08333333333333333
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    return float(np.mean((p - y) ** 2))


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS
) -> float:
    """Mean gap between P(fake) and the share of fakes, over equal-width bins (Naeini, AAAI 2015).

    Args:
        probabilities: (N,) P(fake). labels: (N,) 1 = fake. bins: how many.

    >>> expected_calibration_error([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0])
    0.15000000000000002
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    index = np.minimum((p * bins).astype(int), bins - 1)
    gaps: list[Any] = [
        abs(p[index == b].mean() - y[index == b].mean()) * (index == b).mean()
        for b in np.unique(index)
    ]
    return float(np.sum(gaps))
