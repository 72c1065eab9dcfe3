"""A drawn head before a drawn wall, both moving as told: people are not needed to test motion."""

from __future__ import annotations

import cv2
import numpy as np

from aura.detectors.base import Chunk, FaceTrack
from aura.mouth import head_crop

SIDE = 240  # pixels of the picture
EYES = 30.0  # pixels between the eyes


def pattern(seed: int, side: int, spread: float = 30.0) -> np.ndarray:
    """A soft random pattern, (side, side) float32 around 128."""
    rough = np.random.default_rng(seed).normal(0, 1, (side, side)).astype(np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), 2.0)
    return np.asarray(128 + spread * soft / soft.std(), np.float32)


def moved(picture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The picture shifted by (x, y) pixels."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    size = picture.shape[::-1]
    return np.asarray(cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REFLECT_101))


def walk(times: np.ndarray, reach: float = 8.0) -> np.ndarray:
    """(N, 2) pixels: a head that turns and nods slowly."""
    return reach * np.stack([np.sin(2.2 * times), 0.6 * np.sin(3.1 * times + 1)], axis=1)


def track(
    times: np.ndarray,
    head: np.ndarray,
    wall: np.ndarray,
    *,
    plain: bool = False,
    subject: int = 0,
) -> FaceTrack:
    """A head of its own pattern at `head` (N, 2) before a wall at `wall` (N, 2), in pixels.

    Args:
        plain: the wall shows nothing.
    """
    back, front = pattern(1, SIDE), pattern(2, SIDE)
    if plain:
        back = np.full_like(back, 128)
    y, x = (np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2) / EYES
    outline = np.asarray((x / 1.4) ** 2 + (y / 1.9) ** 2 < 1, np.float32)
    flat = np.array([[-0.5, -0.58], [0.5, -0.58], [0, 0.1], [-0.35, 0.58], [0.35, 0.58]]) * EYES
    heads, landmarks = [], []
    for place, behind in zip(head, wall, strict=True):
        mask = moved(outline, place)
        picture = moved(back, behind) * (1 - mask) + moved(front, place) * mask
        points = (flat + SIDE / 2 + place).astype(np.float32)
        heads.append(head_crop(picture.clip(1, 254).astype(np.uint8), points))
        landmarks.append(points)
    return FaceTrack(
        subject=subject,
        frame_ids=np.zeros(0, np.int64),
        times=np.zeros(0),
        crops=np.zeros((0, 224, 224, 3), np.uint8),
        boxes=np.zeros((0, 4), np.float32),
        landmarks=np.zeros((0, 5, 2), np.float32),
        quality=np.zeros(0, np.float32),
        mouth_times=times,
        mouths=np.zeros((len(times), 64, 64), np.uint8),
        heads=np.stack(heads),
        head_landmarks=np.stack(landmarks),
    )


def chunk(*tracks: FaceTrack) -> Chunk:
    """A chunk of these people, without sound."""
    times = np.concatenate([one.mouth_times for one in tracks])
    return Chunk(float(times.min()), float(times.max()), tracks, None)
