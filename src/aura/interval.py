"""How much a score hangs on which moments of the clip were seen.

The interval of a fused score is a moving-block bootstrap over time, widened for what is missing:

1. The windows of all detectors that counted are sorted into half-second cells and resampled
   together in circular blocks of two seconds, so that detectors stay in step. Each resample shifts
   a detector's logit by how far the mean of its windows moved; the quantiles of the fused logit
   are the bounds. Recentring on the clip's own score makes this hold for every way in which a
   detector may aggregate its windows.
2. Let m be the share of the profile's weight whose detectors did not run or, if larger, the share
   by which the judged time falls short of six seconds. The bounds move to where they would lie had
   a part m of the weight said -2 or +2 (P = .12 or .88) instead. They never move inwards.

It does not cover kinds of manipulation that no detector was trained on.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import Calibration, Floats, limited_logit
from aura.windows import WINDOW_OVERLAP, WINDOW_SECONDS, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEVEL = 0.95
RESAMPLES = 1000
RESAMPLES_AT_ONCE = 100  # bounds memory on clips of many hours
CELL_SECONDS = WINDOW_SECONDS * (1 - WINDOW_OVERLAP)  # windows are sorted into cells of one step
# Neighbouring windows share half of their pictures; blocks of two seconds keep that dependence.
BLOCK_CELLS = 4
# Three blocks: with fewer to draw from, the spread of the resamples says little.
FULL_SECONDS = 3 * BLOCK_CELLS * CELL_SECONDS
MISSING_LOGIT = 2.0  # sigmoid(2) = 0.88: how strongly missing evidence might have spoken


@dataclass(frozen=True)
class Interval:
    """Bounds of a score in [0, 1]; `widened_for` says for people what made it wider."""

    low: float
    high: float
    level: float = LEVEL
    widened_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightedWindows:
    """The calibrated windows of one detector and its share in the fusion."""

    windows: tuple[Window, ...]
    share: float


def score_interval(
    detectors: Sequence[WeightedWindows],
    fused: float,
    *,
    missing: Mapping[str, float],
    calibration: Calibration,
    seed: str,
) -> Interval:
    """The 95 % interval around a fused score, by the rule in this module's docstring.

    Args:
        detectors: those that counted; their shares sum to 1.
        fused: their fused logit before `calibration`.
        missing: label and share of the profile's weight of each detector that did not run.
        calibration: the profile's last step from fused logit to score.
        seed: any text; equal text, equal interval.
    """
    resampled = resampled_logits(detectors, fused, seed)
    tail = (1.0 - LEVEL) / 2
    low, high = (float(q) for q in np.quantile(resampled, [tail, 1.0 - tail]))
    low, high = min(low, fused), max(high, fused)

    seconds = len(_occupied_cells(detectors)) * CELL_SECONDS
    shortfall = max(0.0, 1.0 - seconds / FULL_SECONDS)
    reasons = [f"{label} could not be judged" for label in missing]
    if shortfall > 0:
        reasons.append(f"only {_covered_seconds(detectors):.1f} s could be judged")
    gap = max(sum(missing.values()), shortfall)
    low = min(low, (1 - gap) * low - gap * MISSING_LOGIT)
    high = max(high, (1 - gap) * high + gap * MISSING_LOGIT)
    bounds = calibration.probability([low, high])
    return Interval(float(bounds[0]), float(bounds[1]), LEVEL, tuple(reasons))


def resampled_logits(detectors: Sequence[WeightedWindows], fused: float, seed: str) -> Floats:
    """Fused logits (RESAMPLES,) under the block bootstrap; all equal when there is no window."""
    cells = _occupied_cells(detectors)
    if not cells:
        return np.full(RESAMPLES, fused)
    place = {cell: index for index, cell in enumerate(cells)}
    sums = np.zeros((len(cells), len(detectors)))
    counts = np.zeros_like(sums)
    for column, detector in enumerate(detectors):
        for window in detector.windows:
            row = place[_cell(window)]
            sums[row, column] += limited_logit(window.score)
            counts[row, column] += 1
    block = min(BLOCK_CELLS, len(cells))
    block_sums, block_counts = _circular_sums(sums, block), _circular_sums(counts, block)
    means = sums.sum(0) / np.maximum(counts.sum(0), 1)
    shares = np.array([detector.share for detector in detectors])

    digest = hashlib.sha256(seed.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    blocks = -(-len(cells) // block)
    resampled = []
    for _ in range(0, RESAMPLES, RESAMPLES_AT_ONCE):
        picks = rng.integers(0, len(cells), (RESAMPLES_AT_ONCE, blocks))
        total, count = block_sums[picks].sum(1), block_counts[picks].sum(1)
        # A detector whose windows were all left out of a resample stays where it was.
        shift = np.where(count > 0, total / np.maximum(count, 1) - means, 0.0)
        resampled.append(fused + shift @ shares)
    return np.concatenate(resampled)


def _cell(window: Window) -> int:
    # The tiny addend keeps 2.9999999 s, which is 3 s after rounding errors, in its own cell.
    return int(np.floor((window.start + window.end) / 2 / CELL_SECONDS + 1e-9))


def _occupied_cells(detectors: Sequence[WeightedWindows]) -> list[int]:
    return sorted({_cell(window) for detector in detectors for window in detector.windows})


def _covered_seconds(detectors: Sequence[WeightedWindows]) -> float:
    """Seconds of the clip that lie in at least one window."""
    covered, end = 0.0, -math.inf
    windows = [window for detector in detectors for window in detector.windows]
    for window in sorted(windows, key=lambda one: one.start):
        covered += max(0.0, window.end - max(window.start, end))
        end = max(end, window.end)
    return covered


def _circular_sums(values: Floats, length: int) -> Floats:
    """Sum of `length` rows from each row on, wrapping at the end; same shape as `values`."""
    wrapped = np.concatenate([np.zeros((1, values.shape[1])), values, values[: length - 1]])
    running = np.cumsum(wrapped, axis=0)
    return np.asarray(running[length:] - running[:-length])
