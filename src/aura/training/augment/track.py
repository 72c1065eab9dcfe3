"""What the world does to a face track: one draw a clip, so that nothing flickers that would not.

Geometry, colour, blur, JPEG, resizing and the encoder's settings are drawn once; only noise is new
in each picture, as a sensor's is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.training.augment.picture import add_noise, draw_blur, draw_colour, draw_rescale, jpeg
from aura.training.augment.reencode import reencode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aura.training.augment.picture import Image, Random

# How often each happens at full strength.
FLIP, GEOMETRY, COLOUR, BLUR, JPEG, RESCALE, NOISE, VIDEO, JPEG_AGAIN = (
    *(0.5, 0.8, 0.4, 0.15, 0.3, 0.6, 0.25, 0.7, 0.1),
)
LARGEST_TURN = 6.0  # degrees
SCALES = (0.94, 1.12)  # mostly inwards: what comes in from outside is mirrored
LARGEST_SHIFT = 0.03  # of the side
LOWEST_SCALE = 0.4  # of the side, when detail is lost by resizing
MIRRORED = (1, 0, 2, 4, 3)  # the landmarks' order once left and right are exchanged
MACROBLOCK = 16  # pixels; faces must not all lie alike on the encoder's grid

# Encoders with how often, their quality settings from fine to coarse, and what else they are told.
ENCODERS = ("h264", "mpeg4", "vp8", "hevc")
ENCODER_ODDS = (0.7, 0.12, 0.1, 0.08)
H264_CRF, HEVC_CRF, MPEG4_Q, VP8_CRF = (17, 36), (20, 36), (2, 16), (8, 45)
VP8_BIT_RATE = 4_000_000  # bit/s; a ceiling, the quality setting decides below it


class TrackTreatment:
    """One draw of everything that may happen to a track.

    Args:
        random: source of chance, also of the noise when called.
        strength: in [0, 1], scales how often each thing happens.
        side: of the pictures, pixels.
    """

    def __init__(self, random: Random, strength: float, side: int) -> None:
        def happens(odds: float) -> bool:
            return bool(random.random() < odds * strength)

        self._random, self._side = random, side
        self.flip = happens(FLIP)
        self._matrix = _draw_geometry(random, side) if happens(GEOMETRY) else None
        self._colour = draw_colour(random) if happens(COLOUR) else None
        self._blur = draw_blur(random) if happens(BLUR) else None
        self._jpeg = int(random.integers(30, 96)) if happens(JPEG) else None
        self._rescale = draw_rescale(random, LOWEST_SCALE) if happens(RESCALE) else None
        self._noise = float(random.uniform(1, 8)) if happens(NOISE) else None
        self._encoder = TrackEncoder(random) if happens(VIDEO) else None
        self._again = int(random.integers(40, 96)) if happens(JPEG_AGAIN) else None

    def __call__(
        self, crops: NDArray[np.uint8], landmarks: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(N, S, S, 3) uint8 RGB and (N, 5, 2) pixels, treated."""
        pictures = [self._before(picture) for picture in crops]
        if self._encoder is not None:
            pictures = self._encoder(pictures)
        pictures = [self._after(picture) for picture in pictures]
        return np.stack(pictures), self._place(landmarks)

    def _before(self, picture: Image) -> Image:
        if self.flip:
            picture = np.ascontiguousarray(picture[:, ::-1])
        if self._matrix is not None:
            size = (self._side, self._side)
            moved = cv2.warpAffine(picture, self._matrix, size, borderMode=cv2.BORDER_REFLECT_101)
            picture = np.asarray(moved, dtype=np.uint8)
        for step in (self._colour, self._blur):
            picture = picture if step is None else step(picture)
        if self._jpeg is not None:
            picture = jpeg(picture, self._jpeg)
        if self._rescale is not None:
            picture = self._rescale[0](picture)
        if self._noise is not None:
            picture = add_noise(picture, self._noise, self._random)
        return picture

    def _after(self, picture: Image) -> Image:
        if self._again is not None:
            picture = jpeg(picture, self._again)
        if self._rescale is not None:
            size = (self._side, self._side)
            picture = np.asarray(
                cv2.resize(picture, size, interpolation=self._rescale[1]), dtype=np.uint8
            )
        return picture

    def _place(self, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        points = landmarks.astype(np.float64)
        if self.flip:
            # Pixel centres: column 0 becomes column side - 1.
            points = points[:, MIRRORED]
            points[..., 0] = self._side - 1 - points[..., 0]
        if self._matrix is not None:
            points = points @ self._matrix[:, :2].T + self._matrix[:, 2]
        return points.astype(np.float32)


class TrackEncoder:
    """A video encoder with drawn settings; faces lie anywhere on its grid of blocks."""

    def __init__(self, random: Random) -> None:
        self.codec = str(random.choice(ENCODERS, p=ENCODER_ODDS))
        self.options, self.bit_rate = _draw_options(self.codec, random)
        self._offset = random.integers(0, MACROBLOCK, 2)

    def __call__(self, pictures: Sequence[Image]) -> list[Image]:
        """The pictures after encoding and decoding."""
        height, width = pictures[0].shape[:2]
        top, left = (int(value) for value in self._offset)
        around = (top, MACROBLOCK - top, left, MACROBLOCK - left)
        padded = [
            np.asarray(cv2.copyMakeBorder(p, *around, cv2.BORDER_REFLECT_101), dtype=np.uint8)
            for p in pictures
        ]
        coded = reencode(padded, self.codec, self.options, self.bit_rate)
        return [picture[top : top + height, left : left + width] for picture in coded]


def _draw_options(codec: str, random: Random) -> tuple[dict[str, str], int | None]:
    if codec == "h264":
        preset = str(random.choice(["ultrafast", "veryfast", "medium"], p=[0.4, 0.5, 0.1]))
        return {"crf": str(random.integers(*H264_CRF)), "preset": preset}, None
    if codec == "hevc":
        crf = str(random.integers(*HEVC_CRF))
        return {"crf": crf, "preset": "ultrafast"}, None
    if codec == "mpeg4":
        q = str(random.integers(*MPEG4_Q))
        return {"qmin": q, "qmax": q}, None
    crf = str(random.integers(*VP8_CRF))
    # Not `realtime`, which looks at the clock and gives other bytes on a busy machine.
    return {"crf": crf, "deadline": "good", "cpu-used": "5"}, VP8_BIT_RATE


def _draw_geometry(random: Random, side: int) -> NDArray[np.float64]:
    centre = ((side - 1) / 2, (side - 1) / 2)
    turn, scale = random.uniform(-LARGEST_TURN, LARGEST_TURN), random.uniform(*SCALES)
    matrix: NDArray[np.float64] = cv2.getRotationMatrix2D(centre, turn, scale)
    matrix[:, 2] += random.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2) * side
    return matrix
