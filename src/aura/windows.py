"""One-second windows that overlap by half, and how their scores become one score for the clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aura.errors import UsageError

WINDOW_SECONDS = 1.0  # contract: temporal window
WINDOW_OVERLAP = 0.5  # contract: share of a window that the next one covers again
TOP_SHARE = 0.2  # top-k looks at the most suspicious fifth of the windows
VOTE_THRESHOLD = 0.5  # a window from this score on votes for fake


@dataclass(frozen=True)
class Window:
    """A stretch of the clip in seconds with its fake score in [0, 1]."""

    start: float
    end: float
    score: float


Values = NDArray[np.floating[Any]]
Aggregator = Callable[[Values], float]


def _mean(scores: Values) -> float:
    return float(scores.mean())


def _max(scores: Values) -> float:
    return float(scores.max())


def _top_k(scores: Values) -> float:
    count = max(1, round(len(scores) * TOP_SHARE))
    return float(np.sort(scores)[-count:].mean())


def _voting(scores: Values) -> float:
    """Share of the windows that vote for fake; a clip without any such window scores 0."""
    return float((scores >= VOTE_THRESHOLD).mean())


class SlidingWindows:
    """Cuts time into windows, gathers per-frame values in them, and aggregates.

    Args:
        seconds: length of a window.
        overlap: share of it in [0, 1) that the next window covers again.

    >>> SlidingWindows().spans(0.0, 2.0)
    [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    >>> SlidingWindows().spans(0.0, 0.4)
    [(0.0, 0.4)]
    """

    aggregators: ClassVar[dict[str, Aggregator]] = {
        "mean": _mean,
        "max": _max,
        "top-k": _top_k,
        "voting": _voting,
    }

    def __init__(self, seconds: float = WINDOW_SECONDS, overlap: float = WINDOW_OVERLAP) -> None:
        if seconds <= 0 or not 0 <= overlap < 1:
            raise UsageError(f"windows of {seconds} s with overlap {overlap} make no sense")
        self.seconds = seconds
        self.step = seconds * (1 - overlap)

    def spans(self, start: float, end: float) -> list[tuple[float, float]]:
        """Windows that cover [start, end]; the last one ends at `end`, none is shorter than half.

        A clip shorter than one window is one window.
        """
        length = end - start
        if length <= self.seconds:
            return [(start, end)]
        count = int(np.floor((length - self.seconds) / self.step + 1e-9)) + 1
        spans = [
            (start + i * self.step, start + i * self.step + self.seconds) for i in range(count)
        ]
        if end - spans[-1][1] > self.step / 2:
            spans.append((end - self.seconds, end))
        return spans

    def gather(self, times: Values, values: Values, start: float, end: float) -> list[Window]:
        """Mean of the values that fall in each window; windows without any are left out.

        Args:
            times: (N,) seconds, ascending. values: (N,). start, end: the clip, in seconds.
        """
        windows = []
        for left, right in self.spans(start, end):
            low, high = np.searchsorted(times, [left, right + 1e-6])
            if high > low:
                windows.append(Window(left, right, float(values[low:high].mean())))
        return windows

    @classmethod
    def aggregate(cls, scores: Sequence[float] | Values, method: str = "mean") -> float:
        """One score from many, by the name of one of `aggregators`.

        Raises:
            UsageError: unknown method. ValueError: no scores.

        >>> SlidingWindows.aggregate([0.1, 0.2, 0.9], "max")
        0.9
        """
        values = np.asarray(scores, dtype=np.float64)
        if values.size == 0:
            raise ValueError("nothing to aggregate")
        if method not in cls.aggregators:
            raise UsageError(f"aggregation {method!r}: choose one of {', '.join(cls.aggregators)}")
        return cls.aggregators[method](values)
