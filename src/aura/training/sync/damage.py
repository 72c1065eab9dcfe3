"""What happens to sound on its way: low-rate coding and other people talking."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
AAC_DELAY = 1024  # samples that the encoder puts in front


def read_sound(file: Path | BinaryIO) -> NDArray[np.float32]:
    """A mono file at 16 kHz, (n,) float32 in [-1, 1]."""
    convert = av.AudioResampler("fltp", "mono", SAMPLE_RATE)
    with av.open(file, "r") as container:
        frames = [out for frame in container.decode(audio=0) for out in convert.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def aac(samples: NDArray[np.float32], bit_rate: int = 32_000) -> NDArray[np.float32]:
    """The sound after AAC at `bit_rate` bit/s; (n,) float32 at 16 kHz in and out."""
    file = io.BytesIO()
    with av.open(file, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=bit_rate)
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    file.seek(0)
    decoded = read_sound(file)[AAC_DELAY:]
    return np.pad(decoded, (0, max(0, len(samples) - len(decoded))))[: len(samples)]


def with_babble(
    samples: NDArray[np.float32], others: Sequence[NDArray[np.float32]], decibels: float
) -> NDArray[np.float32]:
    """The sound with others talking in the background, `decibels` below it."""
    babble = np.zeros(len(samples))
    for other in others:
        babble += np.resize(other, len(samples)) / max(_level(other), 1e-9)
    gain = _level(samples) / max(_level(babble), 1e-9) * 10 ** (-decibels / 20)
    return (samples + gain * babble).astype(np.float32)


def _level(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
