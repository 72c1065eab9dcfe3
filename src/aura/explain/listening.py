"""A spectrogram that is made while the sound streams by, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.hearing import EDGE, FFT_SIZE, HOP, MELS, SAMPLE_RATE, log_mel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.detectors.base import Sound

MAX_COLUMNS = 1600  # of the picture; twice as many are kept before neighbours are merged
MAX_SPEECH = 400  # steps of P(speech) in a report
PICTURE_HEIGHT = 240
SHOWN_RANGE = 7.0  # log10 units below the loudest cell that are told apart: 70 dB


class SpectrogramMaker:
    """Mel power over time; when the sound grows long, two columns become one."""

    def __init__(self) -> None:
        self.start: float | None = None
        self._heard = 0  # samples
        self._rest = np.zeros(EDGE, np.float32)  # silence, so that frame 0 is centred on sample 0
        self._columns: list[NDArray[np.float32]] = []  # mean power, (MELS,)
        self._open: list[NDArray[np.float32]] = []  # 10 ms frames of the column in the making
        self._frames_per_column = 1
        self._speech: list[NDArray[np.float32]] = []

    def hear(self, sound: Sound) -> None:
        """Take in the next stretch."""
        if self.start is None and len(sound.samples):
            self.start = sound.start
        self._heard += len(sound.samples)
        self._speech.append(sound.speech)
        samples = np.concatenate([self._rest, sound.samples])
        count = max(0, (len(samples) - FFT_SIZE) // HOP + 1)
        if count:
            power = 10.0 ** log_mel(samples[: (count - 1) * HOP + FFT_SIZE])
            for frame in power.T:
                self._add(frame)
        self._rest = samples[count * HOP :]

    def _add(self, frame: NDArray[np.float32]) -> None:
        self._open.append(frame)
        if len(self._open) < self._frames_per_column:
            return
        self._columns.append(np.mean(self._open, axis=0))
        self._open = []
        if len(self._columns) == 2 * MAX_COLUMNS:
            pairs = np.stack(self._columns).reshape(MAX_COLUMNS, 2, MELS).mean(axis=1)
            self._columns = list(pairs)
            self._frames_per_column *= 2

    @property
    def end(self) -> float:
        """Seconds at which the drawn sound ends."""
        drawn = len(self._columns) * self._frames_per_column * HOP
        return (self.start or 0.0) + min(drawn, self._heard) / SAMPLE_RATE

    def speech(self) -> NDArray[np.float64]:
        """P(speech) in at most `MAX_SPEECH` equal steps: the highest of each."""
        whole = np.concatenate([np.zeros(0, np.float32), *self._speech])
        if len(whole) <= MAX_SPEECH:
            return whole.astype(np.float64)
        edges = np.linspace(0, len(whole), MAX_SPEECH + 1).astype(int)
        return np.maximum.reduceat(whole, edges[:-1]).astype(np.float64)

    def picture(self) -> NDArray[np.uint8] | None:
        """(H, W) uint8, loud = dark, low tones at the bottom; None when nothing was heard."""
        if not self._columns:
            return None
        level = np.log10(np.maximum(np.stack(self._columns).T, 1e-14))
        level = np.clip((level - level.max()) / SHOWN_RANGE + 1.0, 0.0, 1.0)
        width = min(MAX_COLUMNS, max(400, level.shape[1]))
        grey = np.rint(255 * (1.0 - level[::-1])).astype(np.uint8)
        return np.asarray(
            cv2.resize(grey, (width, PICTURE_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8
        )
