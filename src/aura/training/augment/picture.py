"""What the world does to one picture; each is drawn first and applied to as many as one likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Random = np.random.Generator
Step = Callable[[Image], Image]


def jpeg(image: Image, quality: int) -> Image:
    """Through JPEG and back; (H, W, 3) uint8 RGB."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if decoded is None:
        raise ValueError("the picture can't be encoded as JPEG")
    return np.ascontiguousarray(decoded[..., ::-1])


def draw_colour(random: Random) -> Step:
    """Exposure, white balance, contrast curve: one table a channel."""
    gain = random.uniform(0.75, 1.25) * random.uniform(0.94, 1.06, 3)
    bias = random.uniform(-18, 18)
    gamma = random.uniform(0.8, 1.25)
    ramp = np.arange(256) / 255.0
    table = np.stack([np.clip(ramp**gamma * g * 255 + bias, 0, 255) for g in gain], axis=-1)
    table = table.round().astype(np.uint8)

    def step(image: Image) -> Image:
        return np.stack([table[image[..., c], c] for c in range(3)], axis=-1)

    return step


def draw_blur(random: Random) -> Step:
    """A lens slightly out of focus."""
    sigma = random.uniform(0.4, 1.2)
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def draw_rescale(random: Random, low: float) -> tuple[Step, int]:
    """A resize by `low` to 1.05 to even sides, and the interpolation for the way back up."""
    factor = random.uniform(low, 1.05)
    down, up = (
        int(random.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC])) for _ in range(2)
    )

    def step(image: Image) -> Image:
        height, width = image.shape[:2]
        size = (2 * round(width * factor / 2), 2 * round(height * factor / 2))
        return np.asarray(cv2.resize(image, size, interpolation=down), dtype=np.uint8)

    return step, up


def add_noise(image: Image, sigma: float, random: Random) -> Image:
    """Sensor noise of `sigma` grey levels."""
    return np.asarray(np.clip(image + random.normal(0, sigma, image.shape), 0, 255), dtype=np.uint8)
