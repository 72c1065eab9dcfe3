"""What the world does to pictures before a detector sees them: the same for real and fake.

One `Treatment` is drawn per pair and applied to both members, so that nothing in it can tell them
apart. Video compression is the one that matters most (the detector's AUC on real clips fell to
chance without it).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
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


def h264(image: Image, crf: int, preset: str, lead: int, shift: int) -> Image:
    """Through H.264 and back.

    Args:
        image: (H, W, 3) uint8 RGB, even sides.
        crf: x264's constant rate factor. preset: x264's speed preset.
        lead: pictures encoded before it; from 1 on the result is a predicted frame.
        shift: by how many pixels the lead pictures are moved, so that prediction has work to do.
    """
    height, width = image.shape[:2]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": preset, "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    last: Image = image
    pictures = [np.roll(image, (lead - i) * shift, axis=1) for i in range(lead)] + [image]
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    for packet in [*packets, None]:
        for decoded in decoder.decode(packet):
            last = np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8)
    return last


def _geometry(random: Random, canvas: int, side: int) -> Step:
    flip = random.random() < 0.5
    matrix = cv2.getRotationMatrix2D(
        (canvas / 2, canvas / 2), random.uniform(-7, 7), random.uniform(0.9, 1.08)
    )
    matrix[:, 2] += random.uniform(-0.03, 0.03, 2) * canvas - (canvas - side) / 2

    def step(image: Image) -> Image:
        image = np.ascontiguousarray(image[:, ::-1]) if flip else image
        out = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(out, dtype=np.uint8)

    return step


def _rescale(random: Random, low: float) -> Step:
    factor = random.uniform(low, 1.05)
    down, up = (
        int(random.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC])) for _ in range(2)
    )

    def step(image: Image) -> Image:
        height, width = image.shape[:2]
        size = (2 * round(width * factor / 2), 2 * round(height * factor / 2))
        return np.asarray(cv2.resize(image, size, interpolation=down), dtype=np.uint8)

    step.up = up  # type: ignore[attr-defined]
    return step


def _colour(random: Random) -> Step:
    gain = random.uniform(0.75, 1.25) * random.uniform(0.94, 1.06, 3)
    bias = random.uniform(-18, 18)
    gamma = random.uniform(0.8, 1.25)
    ramp = np.arange(256) / 255.0
    table = np.stack([np.clip(ramp**gamma * g * 255 + bias, 0, 255) for g in gain], axis=-1)
    table = table.round().astype(np.uint8)

    def step(image: Image) -> Image:
        return np.stack([table[image[..., c], c] for c in range(3)], axis=-1)

    return step


def _noise(random: Random) -> Step:
    sigma, seed = random.uniform(1, 8), int(random.integers(2**31))

    def step(image: Image) -> Image:
        noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
        return np.asarray(np.clip(image + noise, 0, 255), dtype=np.uint8)

    return step


def _video(random: Random) -> Step:
    crf = int(random.integers(17, 34))
    preset = str(random.choice(["ultrafast", "veryfast"]))
    lead = int(random.integers(1, 3)) if random.random() < 0.5 else 0
    shift = int(random.integers(0, 3))
    return lambda image: h264(image, crf, preset, lead, shift)


class Treatment:
    """One draw of everything that may happen to a picture; call it on each member of a pair.

    Args:
        random: source of chance. canvas: side of the incoming pictures. side: side of the result.
    """

    def __init__(self, random: Random, canvas: int, side: int) -> None:
        self._side = side
        self._steps: list[Step] = [_geometry(random, canvas, side)]
        self._up = cv2.INTER_LINEAR
        if random.random() < 0.4:
            self._steps.append(_colour(random))
        if random.random() < 0.15:
            sigma = random.uniform(0.4, 1.2)
            self._steps.append(lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma)))
        if random.random() < 0.45:
            quality = int(random.integers(30, 96))
            self._steps.append(lambda image: jpeg(image, quality))
        if random.random() < 0.7:
            rescale = _rescale(random, 0.4)
            self._up = rescale.up  # type: ignore[attr-defined]
            self._steps.append(rescale)
        if random.random() < 0.25:
            self._steps.append(_noise(random))
        if random.random() < 0.7:
            self._steps.append(_video(random))
        if random.random() < 0.25:
            second = int(random.integers(40, 96))
            self._steps.append(lambda image: jpeg(image, second))

    def __call__(self, image: Image) -> Image:
        """(canvas, canvas, 3) uint8 RGB to (side, side, 3)."""
        for step in self._steps:
            image = step(image)
        if image.shape[0] != self._side:
            image = cv2.resize(image, (self._side, self._side), interpolation=self._up)
        return np.asarray(image, dtype=np.uint8)


def untouched(image: Image, side: int) -> Image:
    """The middle of a picture as it is: (canvas, canvas, 3) to (side, side, 3)."""
    border = (image.shape[0] - side) // 2
    return np.ascontiguousarray(image[border : border + side, border : border + side])
