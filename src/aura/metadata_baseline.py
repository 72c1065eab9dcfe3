"""How far a classifier gets that never looks at picture or sound: the honesty check.

If codec, bit rate, resolution and length alone tell real from fake, a good score on that data set
may be no more than this shortcut. The baseline is a ridge-penalised logistic regression on what
`media.probe` reports. Folds are drawn twice: mixed (files of one source on both sides, as papers
often do) and by source (no source on both sides).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import sigmoid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from aura.media import VideoInfo

RIDGE = 1.0
FOLDS = 5
NEWTON_STEPS = 30
# What `metadata_features` returns, in its order.
FEATURE_NAMES = (
    *("resolution", "aspect ratio", "frame rate", "length", "bit rate", "bits per pixel"),
    *("codec is H.264", "has sound", "sound bit rate", "sound sample rate", "sound channels"),
)


def metadata_features(info: VideoInfo) -> list[float]:
    """What the container tells about a clip, as `FEATURE_NAMES` calls it; sizes by logarithm."""
    video, audio = info.video, info.audio
    duration = info.duration or 0.0
    pixels = max(1, video.width * video.height)
    rate = info.size_bytes * 8 / duration if duration else 0.0
    fps = video.fps or 0.0
    return [
        math.log(pixels),
        video.width / max(video.height, 1),
        fps,
        math.log1p(duration),
        math.log1p(rate),
        math.log1p(rate / (pixels * fps)) if fps else 0.0,
        float(video.codec == "h264"),
        float(audio is not None),
        math.log1p(audio.bit_rate or 0) if audio else 0.0,
        float(audio.sample_rate) / 48_000 if audio else 0.0,
        float(audio.channels) if audio else 0.0,
    ]


def out_of_fold_scores(
    features: ArrayLike, labels: ArrayLike, folds: ArrayLike
) -> NDArray[np.float64]:
    """P(fake) of each row from a model that was fitted on all other folds.

    Args:
        features: (N, D). labels: (N,) 0 or 1. folds: (N,) any names.

    Returns:
        (N,); the training share of fakes where the other folds hold one class only.
    """
    x = np.asarray(features, np.float64)
    y = np.asarray(labels, np.float64)
    names = np.asarray(folds)
    scores = np.empty(len(y))
    for name in np.unique(names):
        held = names == name
        scores[held] = _fit_predict(x[~held], y[~held], x[held])
    return scores


def mixed_folds(labels: Sequence[int], seed: int = 0) -> list[int]:
    """Folds that keep the share of each class but ignore sources."""
    y = np.asarray(labels)
    folds = np.empty(len(y), int)
    random = np.random.default_rng(seed)
    for value in (0, 1):
        rows = random.permutation(np.flatnonzero(y == value))
        folds[rows] = np.arange(len(rows)) % FOLDS
    return [int(fold) for fold in folds]


def _fit_predict(
    x: NDArray[np.float64], y: NDArray[np.float64], new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Newton's method for logistic regression with an L2 penalty on all but the intercept."""
    if len(np.unique(y)) < 2:
        return np.full(len(new), float(y.mean()) if len(y) else 0.5)
    mean, spread = x.mean(0), x.std(0) + 1e-9
    a = np.column_stack([np.ones(len(x)), (x - mean) / spread])
    b = np.column_stack([np.ones(len(new)), (new - mean) / spread])
    penalty = RIDGE * np.eye(a.shape[1])
    penalty[0, 0] = 1e-6
    w = np.zeros(a.shape[1])
    for _ in range(NEWTON_STEPS):
        p = sigmoid(a @ w)
        slope = a.T @ (p - y) + penalty @ w
        curve = (a * (p * (1 - p))[:, None]).T @ a + penalty
        w -= np.linalg.solve(curve, slope)
    return np.asarray(sigmoid(b @ w))
