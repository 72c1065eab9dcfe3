"""A glance at a clip: container, a few picture hashes, silence at the beginning, visible blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura import media
from aura.sound import SAMPLE_RATE, SoundBlock

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LOOK_SECONDS = 4.0  # only the beginning is decoded: an audit has to get through whole data sets
LOOK_FPS = 2.0  # pictures hashed a second
LOUD = 10 ** (-50 / 20)  # -50 dBFS: below it is noise of a room or of a codec

HASH_INPUT = 64  # pixels a side before the cosine transform
HASH_SIDE = 16  # lowest frequencies kept in each direction
HASH_BITS = HASH_SIDE**2 - 1  # all but the mean
FLAT = 4.0  # grey levels of spread below which a picture (black, a title card) identifies nothing

BLOCK = 8  # pixels: transform blocks of JPEG, MPEG-4 and most of H.264


@dataclass(frozen=True)
class Look:
    """What a glance tells.

    `hashes` is (K, 255) int8 of -1 and 1, one row a picture that is not flat; `leading_silence` in
    seconds, 0 without sound; `blockiness` the logarithm of how much larger steps between pixels
    are at the borders of 8-pixel blocks than elsewhere.
    """

    info: media.VideoInfo
    hashes: NDArray[np.int8]
    leading_silence: float
    blockiness: float


def look_at(path: Path) -> Look:
    """Probe a clip and decode its first seconds.

    Raises:
        InputError: it can't be read or decoded.
    """
    info = media.probe(path)
    hashes: list[NDArray[np.int8]] = []
    blocks: list[float] = []
    first_sound: float | None = None
    heard = 0.0
    seen = 0.0
    stream = media.decode(info, fps=LOOK_FPS)
    try:
        for item in stream:
            if isinstance(item, SoundBlock):
                heard = item.start + len(item.samples) / SAMPLE_RATE
                loud = np.flatnonzero(np.abs(item.samples) > LOUD)
                if first_sound is None and len(loud):
                    first_sound = item.start + int(loud[0]) / SAMPLE_RATE
            else:
                seen = item.time
                if item.rgb is not None and seen < LOOK_SECONDS:
                    hashes += [found] if (found := picture_hash(item.luma)) is not None else []
                    blocks.append(blockiness(item.luma))
            enough_sound = info.audio is None or first_sound is not None or heard > LOOK_SECONDS
            if seen >= LOOK_SECONDS and enough_sound:
                break
    finally:
        stream.close()
    silence = min(heard, LOOK_SECONDS) if first_sound is None else first_sound
    return Look(
        info,
        np.array(hashes, np.int8).reshape(-1, HASH_BITS),
        silence,
        float(np.mean(blocks)) if blocks else 0.0,
    )


def picture_hash(luma: NDArray[np.uint8]) -> NDArray[np.int8] | None:
    """Perceptual hash of a picture: signs of its low cosine frequencies about their median.

    Re-encoding, scaling and brightness leave nearly all of it alone (Zauner, Implementation and
    Benchmarking of Perceptual Image Hash Functions, 2010).

    Args:
        luma: (H, W) uint8.

    Returns:
        (255,) of -1 and 1; None for a flat picture.
    """
    small = cv2.resize(luma, (HASH_INPUT, HASH_INPUT), interpolation=cv2.INTER_AREA)
    if small.std() < FLAT:
        return None
    low = cv2.dct(small.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.where(low > np.median(low), 1, -1).astype(np.int8)


def blockiness(luma: NDArray[np.uint8]) -> float:
    """How visible the 8-pixel grid of a coarse quantiser is; about 0 where there is none.

    Args:
        luma: (H, W) uint8, not scaled since decoding.
    """
    plane = luma.astype(np.float32)
    ratios = []
    for steps in (np.abs(np.diff(plane, axis=1)), np.abs(np.diff(plane, axis=0)).T):
        borders = steps[:, BLOCK - 1 :: BLOCK].mean() if steps.shape[1] >= BLOCK else 0.0
        ratios.append(np.log((borders + 0.1) / (steps.mean() + 0.1)))
    return float(np.mean(ratios))
