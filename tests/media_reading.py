"""Reading a clip whole, and what tests look for in it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

import media_factory as make
from aura.media import (
    DecodeLog,
    Frame,
    MediaInfo,
    SoundBlock,
    decode,
    probe,
)

if TYPE_CHECKING:
    from pathlib import Path


def untroubled(log):
    """Nothing was skipped, damaged, repaired or cut off."""
    counts = (log.bad_packets, log.corrupt_pictures, log.repaired_timestamps, log.sound_gaps)
    return not any(counts) and not log.truncated


def read(
    path: Path, fps: float | None = None
) -> tuple[list[Frame], list[SoundBlock], DecodeLog, MediaInfo]:
    info, log = probe(path), DecodeLog()
    items = list(decode(info, fps=fps, log=log))
    frames = [item for item in items if isinstance(item, Frame)]
    return frames, [item for item in items if isinstance(item, SoundBlock)], log, info


def sampled(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.rgb is not None]


def whole(blocks: list[SoundBlock]) -> np.ndarray:
    for before, after in itertools.pairwise(blocks):
        assert before.start + len(before.samples) / 16_000 == pytest.approx(after.start, abs=1e-9)
    return np.concatenate([block.samples for block in blocks])


def onset(blocks: list[SoundBlock]) -> float:
    return blocks[0].start + int(np.argmax(np.abs(whole(blocks)) > 0.2)) / 16_000


def flash_clip(path: Path, at: float, *, seconds: float = 2.0, fps: float = 25, **kwargs) -> Path:
    """Dark pictures with a bright one, and a click, both at `at` seconds."""
    bright = round(at * fps)
    pictures = (make.flat(230 if i == bright else 20) for i in range(round(seconds * fps)))
    return make.write_clip(path, pictures, fps=fps, **kwargs)


def flash_time(frames: list[Frame]) -> float:
    return max(frames, key=lambda frame: float(frame.luma.mean())).time


def tone_frequency(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * 16_000 / len(sound))
