"""Motion between neighbouring aligned faces, in two values a frame.

Dense flow (Farneback, SCIA 2003) between two aligned crops still holds what alignment left over:
the landmarks jitter, so the crop shifts, turns and grows a little. That part says more about the
landmark detector than about the face; its mean direction would be mostly this noise. So the best
similarity (shift, turn, scale) is taken out first. Of what remains two values are kept: the mean
length, how much the face itself moves, and the spread of lengths, how unevenly: speech moves the
mouth alone, the flicker of frame-wise synthesis moves everything a little.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.errors import UsageError

Values = NDArray[np.float32]

MOTION_WIDTH = 2  # contract: two values a frame

# Farneback's usual settings; 15 pixels of a 224-pixel face average over about half a mouth.
PYRAMID_SCALE, LEVELS, WINDOW, ITERATIONS, NEIGHBOURS, SIGMA = 0.5, 3, 15, 3, 5, 1.1
GRID = 2  # every other pixel of the flow is enough: it is smooth over far more
# Half axes of the ellipse that holds the face, in shares of the crop's side; outside is background.
ELLIPSE = (0.36, 0.46)
LONGEST_GAP = 0.5  # seconds; frames further apart are not neighbours


def motion_values(
    faces: NDArray[np.uint8], mask: NDArray[np.bool_], times: NDArray[np.float64]
) -> Values:
    """Motion into each frame from the one before it.

    Args:
        faces: (T, H, W, 3) uint8 RGB, aligned. mask: (T,) which of them are there.
        times: (T,) seconds, ascending.

    Returns:
        (T, 2) float32: log(1 + v) of the mean and of the spread of the non-rigid flow v, in
        hundredths of the crop's side per second, so that 5 and 10 frames a second compare. Zeros
        where there is no neighbour; the logarithm, since the flow's outliers are far out.

    Raises:
        UsageError: shapes that don't fit, or times that don't ascend.
    """
    count = len(faces)
    if faces.ndim != 4 or mask.shape != (count,) or times.shape != (count,):
        raise UsageError(f"{faces.shape} faces, {mask.shape} mask, {times.shape} times don't fit")
    gaps = np.diff(times)
    if (gaps <= 0).any():
        raise UsageError("the times of the faces must ascend")
    values = np.zeros((count, MOTION_WIDTH), dtype=np.float32)
    grey = [
        cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) if there else None
        for face, there in zip(faces, mask, strict=True)
    ]
    for index in range(1, count):
        before, now, gap = grey[index - 1], grey[index], float(gaps[index - 1])
        if before is None or now is None or gap > LONGEST_GAP:
            continue
        lengths = _non_rigid(before, now) * (100.0 / now.shape[1] / gap)
        values[index] = np.log1p([lengths.mean(), lengths.std()])
    return values


def _non_rigid(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Lengths in pixels of the flow inside the face that no similarity explains, (N,)."""
    settings = (PYRAMID_SCALE, LEVELS, WINDOW, ITERATIONS, NEIGHBOURS, SIGMA, 0)
    flow = cv2.calcOpticalFlowFarneback(before, now, None, *settings)
    height, width = before.shape
    rows, columns = np.mgrid[0:height:GRID, 0:width:GRID]
    x, y = columns / width - 0.5, rows / height - 0.5
    inside = (x / ELLIPSE[0]) ** 2 + (y / ELLIPSE[1]) ** 2 <= 1.0
    # As complex numbers a small similarity is flow = shift + factor * place, and least squares is
    # one projection.
    place = (columns + 1j * rows)[inside]
    moved = (flow[::GRID, ::GRID, 0] + 1j * flow[::GRID, ::GRID, 1])[inside].astype(np.complex128)
    place, moved = place - place.mean(), moved - moved.mean()
    factor = np.vdot(place, moved) / np.vdot(place, place).real
    lengths: NDArray[np.float64] = np.abs(moved - factor * place)
    return lengths
