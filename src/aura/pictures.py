"""Decoded pictures as arrays: shrunk, turned upright, grey or RGB."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation, VideoReformatter

if TYPE_CHECKING:
    from fractions import Fraction

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

MAX_SIDE = 1280  # pixels; a face worth judging is large enough in a 720p picture
BELIEVABLE_ASPECT = (0.25, 4.0)  # pixel aspect ratios outside of this are broken headers
# Formats whose first plane is 8-bit luma, row by row.
LUMA_FIRST = frozenset(
    {"gray", "nv12", "nv16", "nv21", "nv24", "nv42", "yuv410p"}
    | {f"yuv{kind}{chroma}p" for kind in ("", "j", "a") for chroma in (411, 420, 422, 440, 444)}
)
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of the video, upright, its longer side at most `MAX_SIDE` pixels.

    `index` counts every decoded picture in presentation order from 0; `time` is in seconds since
    time zero. `luma` is (H, W) uint8 as coded (limited range stays 16 to 235), read-only. Sampled
    pictures have `rgb`, (H, W, 3) uint8, and `checksum`, the CRC-32 of the luma plane as decoded,
    before scaling and rotation (of the only plane when the format has no luma plane).
    """

    index: int
    time: float
    luma: NDArray[np.uint8]
    rgb: NDArray[np.uint8] | None
    checksum: int | None


@dataclass(frozen=True)
class Orientation:
    """How a coded picture becomes upright: mirrored left to right first, then turned clockwise."""

    rotation: int = 0
    mirrored: bool = False

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an (H, W) or (H, W, 3) picture upright."""
        if self.mirrored:
            image = np.asarray(cv2.flip(image, 1), dtype=np.uint8)
        if self.rotation:
            image = np.asarray(cv2.rotate(image, TURNS[self.rotation]), dtype=np.uint8)
        return image


def orientation(frame: VideoFrame) -> Orientation:
    """Read a frame's display matrix, rounded to quarter turns."""
    try:
        side_data: Any = frame.side_data  # PyAV's stub knows motion vectors only
    except ValueError:
        # Side data that PyAV has no name for (Exif, in every phone's photo) hides all others from
        # it. What is left is the turn, counterclockwise; a mirrored picture stays mirrored.
        return Orientation(-round(frame.rotation / 90) * 90 % 360)
    for data in side_data:
        if data.type is SideDataType.DISPLAYMATRIX:
            return matrix_orientation(np.frombuffer(bytes(data)[:36], np.int32).reshape(3, 3))
    return Orientation()


def matrix_orientation(matrix: NDArray[np.int32]) -> Orientation:
    """The orientation that a 3x3 display matrix (ISO 14496-12, y downwards) asks for.

    >>> matrix_orientation(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.int32))
    Orientation(rotation=90, mirrored=False)
    """
    (a, b), (c, d) = matrix[:2, :2].astype(float)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b  # x is negated before the rest of the matrix acts
    turn = round(np.degrees(np.arctan2(b, a)) / 90) * 90 % 360
    return Orientation(int(turn), bool(mirrored))


def display_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Size in square pixels, before any rotation.

    >>> from fractions import Fraction
    >>> display_size(720, 576, Fraction(16, 15))
    (768, 576)
    """
    aspect = float(pixel_aspect or 1)
    low, high = BELIEVABLE_ASPECT
    if not low <= aspect <= high:
        return width, height
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def decode_size(width: int, height: int) -> tuple[int, int]:
    """The size to which pictures are shrunk, never enlarged; even when it differs.

    >>> decode_size(3840, 2160), decode_size(641, 480)
    ((1280, 720), (641, 480))
    """
    scale = MAX_SIDE / max(width, height)
    if scale >= 1:
        return width, height
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class PictureConverter:
    """Makes `Frame`s of one size; keeps the scalers between calls."""

    def __init__(self, size: tuple[int, int], upright: Orientation) -> None:
        self._size = size
        self._upright = upright
        self._scaler = VideoReformatter()
        self._colours = VideoReformatter()

    def convert(self, picture: VideoFrame, index: int, time: float, *, sampled: bool) -> Frame:
        """Convert one decoded picture; RGB and checksum only when `sampled`."""
        small = picture
        fits = (picture.width, picture.height) == self._size
        planar = picture.format.name in LUMA_FIRST
        if not (fits and planar and picture.planes[0].line_size > 0):
            # One thread: handing strips to others costs more than it saves. The format stays
            # when it can, because a change to grey would stretch the range of the luma.
            small = self._scaler.reformat(
                picture,
                *self._size,
                picture.format.name if planar else "yuv420p",
                interpolation=Interpolation.AREA,
                threads=1,
            )
        rgb = None
        if sampled:
            colour = self._colours.reformat(small, format="rgb24", threads=1)
            rgb = self._upright.apply(np.asarray(colour.to_ndarray(), np.uint8))
        luma = self._upright.apply(plane_rows(small, 1)[:, : small.width])
        luma.flags.writeable = False  # may be the decoder's own reference picture
        return Frame(index, time, luma, rgb, luma_checksum(picture) if sampled else None)


def plane_rows(picture: VideoFrame, sample_bytes: int) -> NDArray[np.uint8]:
    """The first plane as (H, bytes per row) uint8 without copying; rows may end in padding."""
    plane: Any = picture.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(
        plane.height, abs(plane.line_size)
    )
    rows = rows[:, : plane.width * sample_bytes]
    return rows if plane.line_size > 0 else rows[::-1]


def luma_checksum(picture: VideoFrame) -> int:
    """CRC-32 of the first plane as decoded, without padding."""
    layout: Any = picture.format
    if len(picture.planes) == 1 and layout.name not in LUMA_FIRST:
        sample_bytes = -(-layout.padded_bits_per_pixel // 8)
    else:
        sample_bytes = -(-layout.components[0].bits // 8)
    return zlib.crc32(np.ascontiguousarray(plane_rows(picture, sample_bytes)).data)
