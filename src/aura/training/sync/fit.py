"""Canonical correlation of lips and sound, with each clip's own delay found along the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh, solve_triangular

from aura.detectors.alignment import SOUND_CONTEXT, agreements, near, shifted, steps_of
from aura.detectors.sync_windows import AROUND_SPEECH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.detectors.alignment import Floats, Mask
    from aura.training.sync.features import Clip


@dataclass(frozen=True)
class Fit:
    """`lips` (55, k) and `sound` (384, k x 3): what the exported network multiplies with.

    `delays` are the grid steps by which each training clip's sound came after its lips.
    """

    lips: Floats
    sound: Floats
    delays: dict[str, int]

    def project(self, clip: Clip) -> tuple[Floats, Floats]:
        """Components of the lips and of the sound, (T, k) each."""
        parts = np.split(clip.whisper @ self.sound, len(SOUND_CONTEXT), axis=1)
        moved = [shifted(part, step) for part, step in zip(parts, SOUND_CONTEXT, strict=True)]
        return clip.lips @ self.lips, np.asarray(np.sum(moved, axis=0))


def speech_mask(clip: Clip) -> Mask:
    """Grid steps of a clip that count: the mouth is seen, and somebody speaks around then."""
    return np.asarray(clip.seen & near(clip.speech, steps_of(AROUND_SPEECH)))


def fit(clips: Sequence[Clip], config: dict[str, Any]) -> Fit:
    """Fit on clips whose lips and sound belong together.

    Recorders and editors delay sound by up to a quarter of a second. Rounds of fitting and of
    moving each training clip to its best lag keep such clips from blurring the result.
    """
    delays = {clip.name: 0 for clip in clips}
    reduce = principal(clips, config["sound_dimensions"])
    for _ in range(config["alignment_rounds"]):
        found = _solve(clips, reduce, delays, config)
        for clip in clips:
            lips, sound = found.project(clip)
            curve = agreements(
                lips, sound, speech_mask(clip), [(0, len(lips))], config["largest_delay"]
            )
            delays[clip.name] = curve[0].best()[1]
    return _solve(clips, reduce, delays, config)


def principal(clips: Sequence[Clip], count: int) -> Floats:
    """First principal components of the sound features, (384, count), of unit spread on average."""
    covariance = np.cov(np.concatenate([clip.whisper for clip in clips]).T)
    width = len(covariance)
    values, vectors = eigh(covariance, subset_by_index=(width - count, width - 1))
    return np.asarray(vectors / np.sqrt(values).mean())


def _solve(
    clips: Sequence[Clip], reduce: Floats, delays: dict[str, int], config: dict[str, Any]
) -> Fit:
    lips, sound = [], []
    for clip in clips:
        reduced = clip.whisper @ reduce
        moved = [shifted(reduced, step + delays[clip.name]) for step in SOUND_CONTEXT]
        mask = speech_mask(clip)
        lips.append(clip.lips[mask])
        sound.append(np.concatenate(moved, axis=1)[mask])
    a, b = canonical(
        np.concatenate(lips), np.concatenate(sound), config["ridge"], config["components"]
    )
    folded = [reduce @ part for part in np.split(b, len(SOUND_CONTEXT))]
    return Fit(a, np.concatenate(folded, axis=1), dict(delays))


def canonical(x: Floats, y: Floats, ridge: float, components: int) -> tuple[Floats, Floats]:
    """Directions of x (n, p) and y (n, q) that correlate most: (p, k) and (q, k).

    Hotelling's canonical correlation with `ridge` times the mean variance added to each variance.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    roots = []
    for values in (x, y):
        covariance = values.T @ values / len(values)
        covariance += np.eye(len(covariance)) * ridge * np.trace(covariance) / len(covariance)
        roots.append(np.linalg.cholesky(covariance))
    cross = solve_triangular(roots[0], x.T @ y / len(x), lower=True)
    cross = solve_triangular(roots[1], cross.T, lower=True).T
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    return (
        np.asarray(solve_triangular(roots[0].T, left[:, :components])),
        np.asarray(solve_triangular(roots[1].T, right[:components].T)),
    )
