"""What moves around a mouth: eleven numbers for every picture, from its 64-pixel crop.

Motion comes from dense optical flow between neighbouring crops (Farneback, SCIA 2003), scaled to
crop pixels per 1/25 s whatever the frame rate; shape from the grey values, relative to the crop's
median, so that light and exposure drop out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

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


class _Look(NamedTuple):
    """A crop, and its grey values over their median."""

    crop: NDArray[np.uint8]
    relative: Floats


class LipReader:
    """Reads the crops of one person in order, in pieces; the last crop is carried along."""

    def __init__(self) -> None:
        self._before: _Look | None = None
        self._time = -np.inf

    def read(self, times: NDArray[Any], crops: NDArray[np.uint8]) -> LipMotion:
        """Signals of the next crops.

        Args:
            times: (N,) seconds, ascending. crops: (N, 64, 64) uint8.
        """
        signals = np.zeros((len(times), len(SIGNALS)), np.float32)
        moving = np.zeros(len(times), bool)
        for index, (time, crop) in enumerate(zip(times, crops, strict=True)):
            step = float(time) - self._time
            now = _Look(crop, _relative(crop))
            if self._before is not None and 0 < step <= MAX_STEP:
                rate = UNIT / max(step, MIN_STEP)
                signals[index, : len(MOTION_SIGNALS)] = _motion(self._before, now) * rate
                moving[index] = True
            signals[index, len(MOTION_SIGNALS) :] = _shape(now.relative)
            self._before, self._time = now, float(time)
        return LipMotion(np.asarray(times, np.float64), signals, moving)


def _relative(crop: NDArray[np.uint8]) -> Floats:
    """Grey values over their median."""
    median = np.float32(np.partition(crop.reshape(-1), crop.size // 2)[crop.size // 2])
    return np.asarray(crop / np.maximum(median, np.float32(1)), np.float32)


def _motion(before: _Look, after: _Look) -> Floats:
    """`MOTION_SIGNALS` between two crops, not yet divided by the time between them."""
    flow = cv2.calcOpticalFlowFarneback(
        _shrunk(before.crop), _shrunk(after.crop), None, 0.5, 2, 9, 2, 5, 1.1, 0
    )
    x, y = np.moveaxis(np.asarray(flow, np.float32) * SHRINK, 2, 0)  # pixels of the crop
    centre = _part(CENTRE)
    rest = np.hypot(x[centre] - x.mean(), y[centre] - y.mean())  # without motion of the whole crop
    return np.array(
        [
            rest.mean(),
            y[_part(LOWER_LIP)].mean() - y[_part(UPPER_LIP)].mean(),
            y[_part(CHIN)].mean() - y[_part(NOSE)].mean(),
            x[_part(LEFT_CORNER)].mean() - x[_part(RIGHT_CORNER)].mean(),
            np.abs(after.relative[CENTRE] - before.relative[CENTRE]).mean(),
        ],
        np.float32,
    )


def _shrunk(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = MOUTH_SIDE // SHRINK
    return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _part(region: tuple[slice, slice]) -> tuple[slice, slice]:
    """A region of the crop on the grid of the flow."""
    rows, columns = (slice(edge.start // SHRINK, edge.stop // SHRINK) for edge in region)
    return rows, columns


def _shape(relative: Floats) -> Floats:
    """`SHAPE_SIGNALS` of one crop."""
    inside = relative[INSIDE]
    edges = np.abs(np.diff(relative, axis=0))
    profile = relative[18:52, 24:40].mean(axis=1)  # down the middle of the lips
    return np.array(
        [
            (inside < DARK).mean(),
            np.clip(1 - inside, 0, 1).mean(),
            edges[:, 8:56].mean(),
            edges[34:58, 16:48].mean(),
            profile.min(),
            profile.std(),
        ],
        np.float32,
    )
