"""From windows to stretches: where a manipulation begins and ends.

Windows overlap by half, so each half of a window is scored twice; the mean of the logits over each
such cell is sharper in time than the windows. A stretch is a run of cells at or above `stay` in
which a window reaches `enter` (hysteresis, Canny 1986); short gaps are bridged, short stretches
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import limited_logit
from aura.windows import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOUCHING = 1e-6  # seconds; cells that end and start at the same moment belong together


@dataclass(frozen=True)
class SegmentRule:
    """Scores in [0, 1] that a stretch must reach (`enter`) and keep (`stay`), and seconds: of a gap
    that is bridged, and of the shortest stretch that is told.
    """

    enter: float = 0.6
    stay: float = 0.5
    bridge: float = 0.5
    shortest: float = 0.5


def cells(windows: Sequence[Window]) -> tuple[Floats, Floats]:
    """Edges of cells (n + 1,) in seconds, and the mean logit of the windows over each, (n,).

    Cells lie between neighbouring beginnings and ends of windows; nan where no window is.
    """
    edges = np.unique(np.round([t for one in windows for t in (one.start, one.end)], 6))
    if len(edges) < 2:
        return edges, np.zeros(0)
    middles = (edges[1:] + edges[:-1]) / 2
    starts = np.array([one.start for one in windows])
    ends = np.array([one.end for one in windows])
    logits = np.array([limited_logit(one.score) for one in windows])
    covers = (starts[:, None] <= middles) & (middles < ends[:, None])
    count = covers.sum(axis=0)
    sums = (covers * logits[:, None]).sum(axis=0)
    return edges, np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def find_stretches(windows: Sequence[Window], rule: SegmentRule) -> list[Window]:
    """The suspicious stretches of one person and modality, in order of time.

    Args:
        windows: in any order, scores calibrated. rule: when a stretch begins and ends.

    Returns:
        Stretches that don't touch; the score of each is that of its worst window.
    """
    edges, logits = cells(windows)
    stays = logits >= limited_logit(rule.stay)  # nan stays nowhere
    runs: list[list[int]] = []  # first cell, last cell + 1
    for index in np.flatnonzero(stays).tolist():
        joined = bool(runs) and edges[index] - edges[runs[-1][1]] <= rule.bridge + TOUCHING
        if joined and np.isfinite(logits[runs[-1][1] : index]).all():
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1])
    found = []
    for first, last in runs:
        start, end = float(edges[first]), float(edges[last])
        # The middle of a window lies in what it is about; its ends may reach beyond.
        inside = [w.score for w in windows if start <= (w.start + w.end) / 2 <= end]
        worst = max(inside, default=0.0)
        if end - start >= rule.shortest - TOUCHING and worst >= rule.enter:
            found.append(Window(start, end, worst))
    return found
