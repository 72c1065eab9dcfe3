"""What the ear hears, for detectors: Whisper's log-mel and the features of its first two blocks.

Whisper normalises each 30 s chunk against its loudest cell. A stream has no such chunk, so sound
is cut into chunks of `CHUNK_SECONDS` on a fixed grid from its first sample, each with
`MARGIN_SECONDS` of its neighbours on both sides that the result leaves out again; and each chunk
is raised or lowered so that its loudest cell has the same value: the loudness of a recording
carries nothing about lips, and the features are the same at any volume.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aura.runtime import Session, load_model

SAMPLE_RATE = 16_000  # Hz
FFT_SIZE = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms per mel frame
MELS = 80
DYNAMIC_RANGE = 8.0  # log10 units under the loudest cell that are kept: 80 dB
PEAK = 1.5  # log10 power that the loudest cell is brought to: speech at RMS 0.05 to 0.1
FLOOR = 1e-14  # power; Whisper has 1e-10, which makes quiet recordings look different
QUIETEST_PEAK = -5.0  # log10 power; quieter chunks are noise floor and stay quiet

FEATURE_RATE = 25  # features a second
FEATURE_STEP = SAMPLE_RATE // FEATURE_RATE  # samples that one feature covers
CHUNK_SECONDS = 8  # attention is quadratic, and positions up to here are well trained
MARGIN_SECONDS = 1
CORE = (CHUNK_SECONDS - 2 * MARGIN_SECONDS) * FEATURE_RATE  # features that a chunk yields
CORE_SAMPLES = CORE * FEATURE_STEP
MARGIN = MARGIN_SECONDS * SAMPLE_RATE
EDGE = FFT_SIZE // 2  # samples that the first mel frame reaches back
MEL_FRAMES = CHUNK_SECONDS * 100
WIDTH = 384  # values in a feature

Features = NDArray[np.float32]

# Chunks heard last, by whom, and what came of them: two detectors that listen to the same clip
# cost one run of the network. A handful covers the few seconds by which one is ahead.
_RECENT: deque[tuple[Session, NDArray[np.float32], Features]] = deque(maxlen=4)
_LISTENING = Lock()  # who comes second waits, and finds what the first one heard


@lru_cache(maxsize=1)
def mel_filters() -> NDArray[np.float32]:
    """Slaney's mel filter bank, area-normalised: (80, 201) float32.

    >>> mel_filters().shape
    (80, 201)
    """
    linear_step, knee, log_step = 200.0 / 3, 1000.0, np.log(6.4) / 27.0
    top = knee / linear_step + np.log(SAMPLE_RATE / 2 / knee) / log_step
    mels = np.linspace(0.0, top, MELS + 2)
    above = knee * np.exp(log_step * np.maximum(mels - knee / linear_step, 0.0))
    edges = np.where(mels < knee / linear_step, mels * linear_step, above)
    bins = np.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    bank = np.clip(np.minimum(rising, falling), 0.0, None)
    return (bank * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def log_mel(samples: NDArray[Any]) -> NDArray[np.float32]:
    """log10 mel power, not yet normalised.

    Args:
        samples: (HOP * n + FFT_SIZE - HOP,) mono; frame i is centred on sample 160 i + 200.

    Returns:
        (80, n) float32.
    """
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float32), FFT_SIZE)[
        ::HOP
    ]
    window = np.hanning(FFT_SIZE + 1)[:-1].astype(np.float32)  # periodic
    power = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) ** 2
    return np.asarray(np.log10(np.maximum(mel_filters() @ power.T, FLOOR)), np.float32)


def normalise(log_power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a chunk's loudest cell to `PEAK`, keep 80 dB below it, and scale as Whisper does."""
    peak = max(float(log_power.max()), QUIETEST_PEAK)
    level = np.maximum(log_power - peak, -DYNAMIC_RANGE) + PEAK
    return np.asarray((level + 4.0) / 4.0, np.float32)


class Listener:
    """Whisper features of a sound that arrives in pieces; one object serves one clip.

    The answer does not depend on where the pieces are cut.
    """

    def __init__(self, session: Session | None = None, device: str = "auto") -> None:
        self._session: Session = session or load_model("whisper-tiny-stem", device)
        # Silence before the first sample: the first chunk's margin.
        self._sound = np.zeros(MARGIN + EDGE, np.float32)
        self._heard = 0  # samples fed
        self._given = 0  # features returned

    def feed(self, samples: NDArray[Any]) -> Features:
        """Take in the next samples, (n,) mono at 16 kHz.

        Returns:
            (m, 384) float32, the features that are now complete; feature i of the clip covers the
            samples from 640 i to 640 i + 639.
        """
        self._sound = np.concatenate([self._sound, np.asarray(samples, np.float32)])
        self._heard += len(samples)
        return self._drain()

    def finish(self) -> Features:
        """The features of what is left, (m, 384) float32; the sound ends in silence."""
        left = -(-self._heard // FEATURE_STEP) - self._given
        if left <= 0:
            return np.zeros((0, WIDTH), np.float32)
        need = -(-left // CORE) * CORE_SAMPLES + 2 * (MARGIN + EDGE)
        self._sound = np.pad(self._sound, (0, max(0, need - len(self._sound))))
        return self._drain()[:left]

    def _drain(self) -> Features:
        """Run all chunks that are complete, one at a time: a batch would round differently."""
        reach = CORE_SAMPLES + 2 * (MARGIN + EDGE)
        skip = MARGIN_SECONDS * FEATURE_RATE
        parts = [np.zeros((0, WIDTH), np.float32)]
        start = 0
        while start + reach <= len(self._sound):
            features = _heard(self._session, self._sound[start : start + reach])
            parts.append(features[skip : skip + CORE])
            start += CORE_SAMPLES
        self._sound = self._sound[start:].copy()
        self._given += start // FEATURE_STEP
        return np.concatenate(parts)


def _heard(session: Session, sound: NDArray[np.float32]) -> Features:
    """Features of one chunk with its margins, (200, 384); not to be written to."""
    with _LISTENING:
        for other, heard, features in _RECENT:
            if other is session and np.array_equal(heard, sound):
                return features
        mel = normalise(log_mel(sound)[:, :MEL_FRAMES])
        features = np.asarray(session.run({"mel": mel[None]})["features"][0], np.float32)
        _RECENT.append((session, sound.copy(), features))
        return features
