"""What moves around a mouth: eleven numbers for every picture, from its 64-pixel crop.

Motion comes from dense optical flow between neighbouring crops (Farneback, SCIA 2003), scaled to
crop pixels per 1/25 s whatever the frame rate; shape from the grey values, relative to the crop's
median, so that light and exposure drop out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.mouth import MOUTH_SIDE

MOTION_SIGNALS = ("energy", "opening", "jaw", "spreading", "change")
SHAPE_SIGNALS = ("dark", "hollow", "edges", "chin_edges", "depth", "contrast")
SIGNALS = MOTION_SIGNALS + SHAPE_SIGNALS
# Velocities have no slow drift, and their sign matters: they are not high-passed.
VELOCITIES = ("opening", "jaw", "spreading")

UNIT = 1 / 25  # seconds; motion is per this time
MAX_STEP = 0.101  # seconds; pictures further apart show no motion of lips (10 a second pass)
MIN_STEP = 1 / 120  # seconds; broken time stamps must not blow motion up

# Rows and columns of the crop: 1.6 eye distances on 64 pixels put the closed lips at row 32.
CENTRE = (slice(20, 52), slice(14, 50))  # both lips and where they go
UPPER_LIP = (slice(16, 28), slice(20, 44))
LOWER_LIP = (slice(36, 50), slice(20, 44))
CHIN = (slice(44, 60), slice(16, 48))
NOSE = (slice(0, 12), slice(16, 48))
RIGHT_CORNER = (slice(26, 40), slice(6, 20))  # as seen: left in the picture
LEFT_CORNER = (slice(26, 40), slice(44, 58))
# Flow is computed on half the side: as good on real speakers, and four times cheaper.
SHRINK = 2
DARK = 0.55  # of the median: the open mouth, nostrils and little else
_y, _x = np.mgrid[0:MOUTH_SIDE, 0:MOUTH_SIDE] - (MOUTH_SIDE - 1) / 2
INSIDE = (_x / 22) ** 2 + (_y / 14) ** 2 < 1  # the ellipse that an open mouth fills

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LipMotion:
    """`times` (N,) float64 seconds, `signals` (N, 11) float32 in the order of `SIGNALS`.

    Motion covers the time since the picture before; `moving` (N,) bool says whether there is one
    close enough (else the motion is 0 and means nothing).
    """

    times: NDArray[np.float64]
    signals: Floats
    moving: NDArray[np.bool_]


class LipReader:
    """Reads the crops of one person in order, in pieces; the last crop is carried along."""

    def __init__(self) -> None:
        self._before = np.zeros((0, MOUTH_SIDE, MOUTH_SIDE), np.uint8)  # the last crop
        self._time = -np.inf

    def read(self, times: NDArray[Any], crops: NDArray[np.uint8]) -> LipMotion:
        """Signals of the next crops.

        Args:
            times: (N,) seconds, ascending. crops: (N, 64, 64) uint8.
        """
        times = np.asarray(times, np.float64)
        if not len(times):
            return LipMotion(times, np.zeros((0, len(SIGNALS)), np.float32), np.zeros(0, bool))
        steps = np.diff(times, prepend=self._time)
        moving = (steps > 0) & (steps <= MAX_STEP)
        seen = np.concatenate([self._before, crops])
        relative = _relative(seen)
        after = np.flatnonzero(moving) + len(self._before)
        signals = np.zeros((len(times), len(SIGNALS)), np.float32)
        rate = (UNIT / np.maximum(steps[moving], MIN_STEP)).astype(np.float32)
        motion = _motion(_flows(seen, after), relative[after - 1], relative[after])
        signals[moving, : len(MOTION_SIGNALS)] = motion * rate[:, None]
        signals[:, len(MOTION_SIGNALS) :] = _shape(relative[len(self._before) :])
        self._before, self._time = np.array(crops[-1:]), float(times[-1])
        return LipMotion(times, signals, moving)


def _relative(crops: NDArray[np.uint8]) -> Floats:
    """Grey values over each crop's median, (N, 64, 64)."""
    half = MOUTH_SIDE * MOUTH_SIDE // 2
    median = np.partition(crops.reshape(len(crops), -1), half, axis=1)[:, half]
    return np.asarray(crops / np.maximum(median, 1).astype(np.float32)[:, None, None], np.float32)


def _flows(crops: NDArray[np.uint8], after: NDArray[np.intp]) -> Floats:
    """Motion into the crops at `after` from those before, in pixels of the crop: (2, M, 32, 32)."""
    side = MOUTH_SIDE // SHRINK
    flows = np.zeros((len(after), side, side, 2), np.float32)
    small = [cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops]
    for index, now in enumerate(after):
        cv2.calcOpticalFlowFarneback(
            small[now - 1], small[now], flows[index], 0.5, 2, 9, 2, 5, 1.1, 0
        )
    return np.moveaxis(flows * SHRINK, 3, 0)


def _motion(flows: Floats, before: Floats, after: Floats) -> Floats:
    """`MOTION_SIGNALS` between crops, (M, 5), not yet divided by the time between them."""
    x, y = flows
    centre = _part(CENTRE)
    # Without the motion of the whole crop.
    rest = np.hypot(x[centre] - _mean(x)[:, None, None], y[centre] - _mean(y)[:, None, None])
    return np.stack(
        [
            _mean(rest),
            _mean(y[_part(LOWER_LIP)]) - _mean(y[_part(UPPER_LIP)]),
            _mean(y[_part(CHIN)]) - _mean(y[_part(NOSE)]),
            _mean(x[_part(LEFT_CORNER)]) - _mean(x[_part(RIGHT_CORNER)]),
            _mean(np.abs(after[:, *CENTRE] - before[:, *CENTRE])),
        ],
        axis=1,
    )


def _mean(values: Floats) -> Floats:
    """Mean of each crop's part, (N,)."""
    return np.asarray(values.mean(axis=(1, 2)))


def _part(region: tuple[slice, slice]) -> tuple[slice, slice, slice]:
    """A region of every crop on the grid of the flow."""
    rows, columns = (slice(edge.start // SHRINK, edge.stop // SHRINK) for edge in region)
    return slice(None), rows, columns


def _shape(relative: Floats) -> Floats:
    """`SHAPE_SIGNALS` of crops, (N, 6)."""
    inside = relative[:, INSIDE]
    edges = np.abs(np.diff(relative, axis=1))
    profile = relative[:, 18:52, 24:40].mean(axis=2)  # down the middle of the lips
    return np.stack(
        [
            (inside < DARK).mean(axis=1),
            np.clip(1 - inside, 0, 1).mean(axis=1),
            _mean(edges[:, :, 8:56]),
            _mean(edges[:, 34:58, 16:48]),
            profile.min(axis=1),
            profile.std(axis=1),
        ],
        axis=1,
    ).astype(np.float32)
