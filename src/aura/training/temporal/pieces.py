"""Pieces of real clips, a few seconds long, with the landmarks of one face on every picture."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura.media import Frame, decode, probe
from aura.subjects import SubjectTracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.detectors.base import FaceTrack
    from aura.faces import FaceDetector
    from aura.training.augment.picture import Image

SECONDS = 3.6  # of a piece: two windows of 2 s and what the tracker needs at the ends
SIDES = (320, 400, 480)  # longer side of a piece's pictures, pixels; one drawn a clip
SAMPLED = 0.2  # seconds between pictures in which faces are looked for, as in the pipeline
BLACK, WHITE = 16, 235  # luma as coded


@dataclass(frozen=True)
class Piece:
    """`pictures` (H, W, 3) uint8 RGB with even sides, `times` (N,) seconds from 0 on, `landmarks`
    (N, 5, 2) and `heads` (N, 112, 112) as in `FaceTrack`, in pixels of these pictures.
    """

    pictures: tuple[Image, ...]
    times: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    heads: NDArray[np.uint8]


def tracks_of(frames: Sequence[Frame], detector: FaceDetector) -> FaceTrack | None:
    """The track of the person who is seen most, all chunks in one; None without a face."""
    tracker = SubjectTracker(detector, None, heads=True)
    found: dict[int, list[FaceTrack]] = {}
    for chunk in tracker.follow(iter(frames)):
        for track in chunk.tracks:
            found.setdefault(track.subject, []).append(track)
    parts = max(found.values(), key=lambda one: sum(len(t.mouth_times) for t in one), default=[])
    return joined(parts)


def joined(parts: Sequence[FaceTrack]) -> FaceTrack | None:
    """One track of the pieces of one, without further cuts."""
    if not parts:
        return None
    first = parts[0]
    values: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in first.__dataclass_fields__
        if name not in {"subject", "cuts"}
    }
    return type(first)(subject=first.subject, **values)


def frames_of(pictures: Sequence[Image], times: NDArray[np.float64]) -> list[Frame]:
    """Decoded pictures as the pipeline hands them on: luma of all, RGB of the sampled ones."""
    frames, due = [], -1.0
    for index, (picture, time) in enumerate(zip(pictures, times.tolist(), strict=True)):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        luma = (BLACK + grey * ((WHITE - BLACK) / 255)).round().astype(np.uint8)
        sampled = time >= due - 1e-6
        due = time + SAMPLED if sampled else due
        frames.append(Frame(index, time, luma, picture if sampled else None, None))
    return frames


def cut_piece(path: Path, detector: FaceDetector) -> Piece | None:
    """A piece from a clip's middle; None where no face is seen all through it."""
    random = np.random.default_rng(zlib.crc32(path.stem.encode()))
    side = int(random.choice(SIDES))
    frames = list(_every_picture(path, side))
    if len(frames) < 2:
        return None
    begin = max(0.0, (frames[-1][0] - SECONDS) / 2)
    chosen = [(t - begin, p) for t, p in frames if begin <= t <= begin + SECONDS]
    times = np.array([t for t, _ in chosen])
    pictures = [p for _, p in chosen]
    track = tracks_of(frames_of(pictures, times), detector)
    if track is None or len(track.mouth_times) < 0.7 * len(times):
        return None
    inside = np.flatnonzero(np.isin(times.round(6), track.mouth_times.round(6)))
    return Piece(
        tuple(pictures[i] for i in inside),
        times[inside] - times[inside[0]],
        track.head_landmarks[: len(inside)],
        track.heads[: len(inside)],
    )


def _every_picture(path: Path, side: int) -> Iterator[tuple[float, Image]]:
    """Time and RGB of every picture, at most 30 a second, with even sides."""
    for item in decode(probe(path), fps=30.0):
        if isinstance(item, Frame) and item.rgb is not None:
            height, width = item.rgb.shape[:2]
            scale = min(1.0, side / max(height, width))
            size = tuple(round(edge * scale / 2) * 2 for edge in (width, height))
            yield (
                item.time,
                np.asarray(cv2.resize(item.rgb, size, interpolation=cv2.INTER_AREA), np.uint8),
            )
