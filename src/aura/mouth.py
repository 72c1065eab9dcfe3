"""Steady pictures of mouth and head: landmarks between detections, and the crops around them.

Lip motion is a matter of a few pixels, so the crop must not move by itself: landmarks are
interpolated between detections and smoothed over time before anything is cut out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from aura.faces import halved

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOUTH_SIDE = 64  # pixels of the crop
MOUTH_SPAN = 1.6  # width of the crop in eye distances: both lips, some cheek and chin
HEAD_SIDE = 112  # pixels of the crop that shows the head and what is beside it
HEAD_SPAN = 5.5  # its width in eye distances: a head is about three of them wide with its hair
OUTSIDE = 0  # luma of a head crop where the picture ends
SMOOTHING = 0.08  # seconds, sigma of the Gaussian over landmarks: two frames at 25 a second
REACH = 4 * SMOOTHING  # seconds of landmarks on both sides that a smoothed landmark depends on


class _Crop(NamedTuple):
    """Pixels of a side, eye distances that they span, and what lies outside the picture."""

    side: int
    span: float
    border: int


_MOUTH = _Crop(MOUTH_SIDE, MOUTH_SPAN, cv2.BORDER_REPLICATE)
_HEAD = _Crop(HEAD_SIDE, HEAD_SPAN, cv2.BORDER_CONSTANT)

RIGHT_EYE, LEFT_EYE, RIGHT_CORNER, LEFT_CORNER = 0, 1, 3, 4  # rows of the five landmarks


def smooth_landmarks(
    known_times: NDArray[Any], known: NDArray[Any], times: NDArray[Any]
) -> NDArray[np.float32]:
    """Landmarks at every picture, from those at the pictures where faces were looked for.

    Linear between detections, held before the first and after the last, then a Gaussian mean over
    the pictures within `REACH`, weighted by the time that each picture stands for, so that neither
    an uneven frame rate nor more pictures further away change the result.

    Args:
        known_times: (K,) seconds, ascending, K >= 1. known: (K, 5, 2) pixels.
        times: (N,) seconds, ascending.

    Returns:
        (N, 5, 2) float32 pixels.
    """
    times = np.asarray(times, np.float64)
    flat = np.asarray(known, np.float64).reshape(len(known_times), -1)
    dense = np.stack([np.interp(times, known_times, column) for column in flat.T], axis=1)
    if len(times) > 1:
        gaps = np.minimum(np.diff(times), SMOOTHING)  # a hole in the video carries no weight
        share = np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])
        smooth = np.empty_like(dense)
        low = np.searchsorted(times, times - REACH)
        high = np.searchsorted(times, times + REACH, side="right")
        for i, (a, b) in enumerate(zip(low, high, strict=True)):
            weights = np.exp(-0.5 * ((times[a:b] - times[i]) / SMOOTHING) ** 2) * share[a:b]
            smooth[i] = weights @ dense[a:b] / weights.sum()
        dense = smooth
    return dense.reshape(len(times), -1, 2).astype(np.float32)


def mouth_crop(luma: NDArray[np.uint8], landmarks: NDArray[Any]) -> NDArray[np.uint8]:
    """Cut the mouth out, upright between the eyes.

    Args:
        luma: (H, W) uint8.
        landmarks: (5, 2) pixels: right eye, left eye, nose, right and left mouth corner as seen.

    Returns:
        (64, 64) uint8, 1.6 eye distances wide, centred between the mouth corners; what lies
        outside the picture repeats its border.
    """
    points = np.asarray(landmarks, np.float64)
    centre = (points[RIGHT_CORNER] + points[LEFT_CORNER]) / 2
    return _upright(luma, points, centre, _MOUTH)


def head_crop(luma: NDArray[np.uint8], landmarks: NDArray[Any]) -> NDArray[np.uint8]:
    """Cut the head out with what is beside it, upright between the eyes.

    Args:
        luma: (H, W) uint8. landmarks: (5, 2) pixels, as for `mouth_crop`.

    Returns:
        (112, 112) uint8, 5.5 eye distances wide, placed by `head_matrix`; `OUTSIDE` where the
        picture ends.
    """
    points = np.asarray(landmarks, np.float64)
    return _upright(luma, points, _middle(points), _HEAD)


def head_matrix(landmarks: NDArray[Any]) -> NDArray[np.float64]:
    """The (2, 3) similarity from picture pixels to those of a head crop."""
    points = np.asarray(landmarks, np.float64)
    return _matrix(points, _middle(points), _HEAD)


def _middle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Midway between eyes and mouth: where the nose is, but it stays when the head turns."""
    return np.asarray(points[[RIGHT_EYE, LEFT_EYE, RIGHT_CORNER, LEFT_CORNER]].mean(axis=0))


def _matrix(
    points: NDArray[np.float64], centre: NDArray[np.float64], crop: _Crop
) -> NDArray[np.float64]:
    axis = points[LEFT_EYE] - points[RIGHT_EYE]
    distance = max(float(np.hypot(*axis)), 1.0)
    cosine, sine = axis / distance
    rotation = crop.side / (crop.span * distance) * np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([rotation, (crop.side - 1) / 2 - rotation @ centre])


def _upright(
    luma: NDArray[np.uint8],
    points: NDArray[np.float64],
    centre: NDArray[np.float64],
    kind: _Crop,
) -> NDArray[np.uint8]:
    side = kind.side
    matrix = _matrix(points, centre, kind)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        # warpAffine samples four neighbours only: shrink first, or a large face would alias.
        reach = side / scale
        left, top = (np.maximum(centre - reach, 0)).astype(int)
        right, bottom = (np.maximum(centre + reach, 1)).astype(int) + 1
        part = luma[top:bottom, left:right]
        if part.size:
            luma, factor = halved(part, scale)
            centre = (centre - (left, top) + 0.5) * factor - 0.5
            rotation = matrix[:, :2] / factor
            matrix = np.column_stack([rotation, (side - 1) / 2 - rotation @ centre])
    crop = cv2.warpAffine(
        luma,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=kind.border,
        borderValue=OUTSIDE,
    )
    return np.asarray(crop, dtype=np.uint8)
