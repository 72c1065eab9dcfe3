"""Find speech: P(speech) for every 32 ms of sound, and the spans of speech with their times.

Network: Silero VAD (sequence variant), which reads 512 new samples at a time behind the last 64
samples of the block before, and carries an LSTM state along. The span rules and their constants
are those of Silero's own `get_speech_timestamps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aura.runtime import Session, load_model

SAMPLE_RATE = 16_000  # Hz
BLOCK = 512  # samples per probability: 32 ms
CONTEXT = 64  # samples of the past that the network sees before each block
STATE = 128  # width of the LSTM state
MAX_BLOCKS = 512  # per run of the network: 16 s; bounds memory when a caller feeds an hour at once

SPEECH_THRESHOLD = 0.5  # speech starts at or above
SILENCE_THRESHOLD = 0.35  # and ends below: the gap keeps a wavering voice in one span
MIN_SPEECH = 0.25  # seconds; shorter spans are clicks and coughs
MIN_SILENCE = 0.1  # seconds; shorter gaps belong to the sentence
PADDING = 0.03  # seconds added on both sides: soft onsets and endings

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class SpeechSpan:
    """One stretch of speech in seconds, on the same clock as the sound."""

    start: float
    end: float


class SpeechDetector:
    """P(speech) of a sound that arrives in pieces; one object serves one clip.

    The answer does not depend on where the pieces are cut: samples that don't fill a block wait
    for the next piece, and context and state are carried along.
    """

    def __init__(self, session: Session | None = None, device: str = "auto") -> None:
        self._session: Session = session or load_model("silero-vad", device)
        self._hidden = np.zeros((1, 1, STATE), np.float32)
        self._cell = np.zeros((1, 1, STATE), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._waiting = np.zeros(0, np.float32)

    def feed(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Take in the next samples.

        Args:
            samples: (n,) mono in [-1, 1] at 16 kHz, any length.

        Returns:
            (m,) float32 in [0, 1], one for each block of 512 samples that is now complete.
        """
        sound = np.concatenate([self._waiting, np.asarray(samples, np.float32)])
        whole = len(sound) // BLOCK * BLOCK
        self._waiting = sound[whole:]
        step = MAX_BLOCKS * BLOCK
        parts = [self._run(sound[i : min(i + step, whole)]) for i in range(0, whole, step)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Judge what is left at the end, padded with silence: (0,) or (1,) float32 in [0, 1]."""
        if not len(self._waiting):
            return np.zeros(0, np.float32)
        return self.feed(np.zeros(BLOCK - len(self._waiting), np.float32))

    def _run(self, sound: Samples) -> NDArray[np.float32]:
        blocks = sound.reshape(-1, BLOCK)
        past = np.vstack([self._context, blocks[:-1, -CONTEXT:]])
        out = self._session.run(
            {"input": np.hstack([past, blocks]), "h": self._hidden, "c": self._cell}
        )
        self._hidden, self._cell = out["hn"], out["cn"]
        self._context = blocks[-1, -CONTEXT:].copy()
        return np.asarray(out["speech_probs"], np.float32).reshape(-1)


def speech_spans(
    probabilities: NDArray[Any], *, start: float = 0.0, end: float | None = None
) -> list[SpeechSpan]:
    """Turn probabilities into spans of speech, by hysteresis.

    Args:
        probabilities: (m,) in [0, 1], one for each successive 512 samples.
        start: when the first sample is heard, in seconds.
        end: when the sound ends, in seconds; by default after the last whole block.

    Returns:
        Spans in order, apart from each other and within [start, end].

    >>> speech_spans(np.repeat([0.0, 0.9, 0.0], 25))
    [SpeechSpan(start=0.77, end=1.63)]
    """
    seconds = BLOCK / SAMPLE_RATE
    stop = start + len(probabilities) * seconds if end is None else end
    found = [
        (start + first * seconds, min(start + last * seconds, stop))
        for first, last in _runs(np.asarray(probabilities, np.float64))
    ]
    found = [(left, right) for left, right in found if right - left > MIN_SPEECH]
    return _pad(found, start, stop)


def _runs(probabilities: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Block ranges [first, last) of speech, gaps below `MIN_SILENCE` closed."""
    runs: list[tuple[int, int]] = []
    first: int | None = None
    quiet: int | None = None  # first block of the silence that may end the run
    patience = MIN_SILENCE * SAMPLE_RATE / BLOCK
    for index, probability in enumerate(probabilities):
        if probability >= SPEECH_THRESHOLD:
            quiet = None
            first = index if first is None else first
        elif first is not None and (probability < SILENCE_THRESHOLD or quiet is not None):
            quiet = index if quiet is None else quiet
            if probability < SILENCE_THRESHOLD and index - quiet >= patience:
                runs.append((first, quiet))
                first, quiet = None, None
    if first is not None:
        runs.append((first, len(probabilities)))
    return runs


def _pad(found: list[tuple[float, float]], start: float, stop: float) -> list[SpeechSpan]:
    """Widen each span by `PADDING`; neighbours that would overlap meet in the middle."""
    spans = []
    for index, (left, right) in enumerate(found):
        before = found[index - 1][1] if index else None
        after = found[index + 1][0] if index + 1 < len(found) else None
        left_room = left - start if before is None else (left - before) / 2
        right_room = stop - right if after is None else (after - right) / 2
        spans.append(
            SpeechSpan(
                round(left - min(PADDING, left_room), 6),
                round(right + min(PADDING, right_room), 6),
            )
        )
    return spans
