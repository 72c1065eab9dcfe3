"""How well two moving things belong together: high-pass, context, and correlation at each lag.

Everything here works on the 25 Hz grid of the sound features; masks leave out what was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aura.detectors.lips import MAX_STEP, MOTION_SIGNALS, SIGNALS, UNIT, VELOCITIES, LipMotion
from aura.hearing import FEATURE_RATE

HIGH_PASS_SIGMA = 20  # grid steps, 0.8 s: slower than syllables, faster than changes of pose
LIP_CONTEXT = (-2, -1, 0, 1, 2)  # grid steps of lip signals beside each other: one phoneme
SOUND_CONTEXT = (-3, 0, 3)  # grid steps of sound features: the mouth opens before it is heard
DRIFTING = [name not in VELOCITIES for name in SIGNALS]
MIN_FRAMES = 20  # grid steps; a correlation over less says nothing

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def grid_times(start: float, count: int) -> Floats:
    """Middles of the sound features, in seconds, when the sound starts at `start`."""
    return start + (np.arange(count) + 0.5) / FEATURE_RATE


def on_grid(motion: LipMotion, grid: Floats) -> tuple[Floats, Mask]:
    """Lip signals at the grid's times: (T, 11), and (T,) where they were really seen.

    Motion is that of the time between two pictures, shape that of the moment a picture shows.
    """
    times, signals, moving = motion.times, motion.signals.astype(np.float64), motion.moving
    values = np.zeros((len(grid), len(SIGNALS)))
    if len(times) < 2:
        return values, np.zeros(len(grid), bool)
    middles = (times[1:] + times[:-1]) / 2
    for column in range(len(SIGNALS)):
        if column < len(MOTION_SIGNALS):
            good = moving[1:]
            if good.any():
                values[:, column] = np.interp(grid, middles[good], signals[1:, column][good])
        else:
            values[:, column] = np.interp(grid, times, signals[:, column])
    after = np.searchsorted(times, grid)
    inside = (after > 0) & (after < len(times))
    after = np.clip(after, 1, len(times) - 1)
    return values, inside & moving[after] & (times[after] - times[after - 1] <= MAX_STEP)


def high_pass(values: Floats, mask: Mask | None = None) -> Floats:
    """Subtract a Gaussian mean over time; (T, n) -> (T, n). Masked-out steps count nothing."""
    reach = np.arange(-4 * HIGH_PASS_SIGMA, 4 * HIGH_PASS_SIGMA + 1)
    kernel = np.exp(-0.5 * (reach / HIGH_PASS_SIGMA) ** 2)
    share = np.ones(len(values)) if mask is None else mask.astype(np.float64)
    total = np.maximum(_smooth(share, kernel), 1e-9)
    slow = [_smooth(column * share, kernel) / total for column in values.T]
    return np.asarray(values - np.stack(slow, axis=1))


def _smooth(values: Floats, kernel: Floats) -> Floats:
    half = len(kernel) // 2
    return np.convolve(values, kernel, mode="full")[half : half + len(values)]


def lip_features(values: Floats, mask: Mask) -> Floats:
    """High-passed, scaled to unit spread over the clip, with context: (T, 11) -> (T, 55)."""
    if not mask.any():
        return np.zeros((len(values), len(SIGNALS) * len(LIP_CONTEXT)))
    drifting = np.array(DRIFTING)
    fast = values.copy()
    fast[:, drifting] = high_pass(values[:, drifting], mask)
    seen = fast[mask]
    fast = np.where(mask[:, None], (fast - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-6), 0.0)
    return with_context(fast, LIP_CONTEXT)


def with_context(values: Floats, steps: tuple[int, ...]) -> Floats:
    """Each row beside those `steps` before and after it; the ends repeat: (T, n) -> (T, n k)."""
    return np.concatenate([shifted(values, step) for step in steps], axis=1)


def shifted(values: Floats, step: int) -> Floats:
    """Row t becomes row t + step; the ends repeat."""
    return values[np.clip(np.arange(len(values)) + step, 0, max(len(values) - 1, 0))]


@dataclass(frozen=True)
class Agreement:
    """Correlation of lips and sound at each lag, in one stretch of time.

    `curve` (lags,) mean correlation of the components, NaN where too little was seen; `lags`
    (lags,) grid steps by which the sound comes after the lips.
    """

    lags: NDArray[np.int64]
    curve: Floats

    def best(self, tolerance: int | None = None, early: int | None = None) -> tuple[float, int]:
        """Highest correlation and its lag, within `tolerance` grid steps; (nan, 0) if none.

        `early` is the tolerance for sound that comes before the lips, if that is another; below 0
        it must come after them by as much.
        """
        curve = self.curve.copy()
        if tolerance is not None:
            earliest = tolerance if early is None else early
            curve[(self.lags > tolerance) | (self.lags < -earliest)] = np.nan
        if np.isnan(curve).all():
            return float("nan"), 0
        index = int(np.nanargmax(curve))
        return float(curve[index]), int(self.lags[index])


def agreements(
    lips: Floats, sound: Floats, mask: Mask, spans: list[tuple[int, int]], max_lag: int
) -> list[Agreement]:
    """Correlation at each lag within each span of grid steps.

    Args:
        lips: (T, k). sound: (T, k). mask: (T,) steps that count (by the time of the lips).
        spans: first and last + 1 grid step of each stretch.
        max_lag: grid steps.
    """
    lags = np.arange(-max_lag, max_lag + 1)
    length = len(lips)
    curves = np.full((len(spans), len(lags)), np.nan)
    bounds = np.array(spans, dtype=np.int64).reshape(-1, 2)
    for column, lag in enumerate(lags):
        source = np.arange(length) + lag
        valid = (mask & (source >= 0) & (source < length)).astype(np.float64)
        heard = sound[np.clip(source, 0, max(length - 1, 0))]
        products = [np.ones_like(lips), lips, heard, lips * lips, heard * heard, lips * heard]
        sums = [_sums(product * valid[:, None], bounds) for product in products]
        count = np.maximum(sums[0], 1.0)
        covariance = sums[5] - sums[1] * sums[2] / count
        spread = (sums[3] - sums[1] ** 2 / count) * (sums[4] - sums[2] ** 2 / count)
        correlation = (covariance / np.sqrt(np.maximum(spread, 1e-12))).mean(axis=1)
        curves[:, column] = np.where(sums[0][:, 0] >= MIN_FRAMES, correlation, np.nan)
    return [Agreement(lags, curve) for curve in curves]


def _sums(values: Floats, bounds: NDArray[np.int64]) -> Floats:
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return np.asarray(running[bounds[:, 1]] - running[bounds[:, 0]])


def steps_of(seconds: float) -> int:
    """Grid steps in a time."""
    return round(seconds / UNIT)


def near(mask: Mask, reach: int) -> Mask:
    """Steps within `reach` of one that is set."""
    counts = np.convolve(mask.astype(np.float64), np.ones(2 * reach + 1), mode="full")
    return np.asarray(counts[reach : reach + len(mask)] > 0.5)


def speech_on_grid(probabilities: NDArray[Any], step: float, count: int) -> Mask:
    """Whether somebody speaks at each grid step, from P(speech) per `step` seconds of sound."""
    if len(probabilities) == 0:
        return np.zeros(count, bool)
    index = (np.arange(count) + 0.5) / FEATURE_RATE / step
    return np.asarray(probabilities[np.clip(index.astype(int), 0, len(probabilities) - 1)] >= 0.5)
