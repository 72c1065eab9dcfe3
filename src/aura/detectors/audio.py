"""Is the voice synthetic? Traces of vocoders in each second of speech, and their mean over a clip.

The sound belongs to nobody in the picture, so there is one answer for the clip. Seconds without
enough speech are left out: pauses, music and noise were never trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.base import Evidence, not_applicable
from aura.detectors.voice import SAMPLE_RATE, WINDOW, measure
from aura.hearing import FEATURE_RATE, FEATURE_STEP, WIDTH, Listener
from aura.runtime import Model, load_model
from aura.speech import BLOCK, SPEECH_THRESHOLD
from aura.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.detectors.base import Chunk
    from aura.runtime import Session

MODEL = "audio-lite"
STEP = SAMPLE_RATE // 2  # samples between the beginnings of windows: they overlap by half
MIN_SPEECH_SHARE = 0.6  # of a window's blocks; below, pauses are judged and not the voice
MIN_WINDOWS = 3  # that hold enough speech: 2 s in a row
SILENCE = 1e-4  # peak amplitude: -80 dBFS


def second_starts(speech: NDArray[np.floating], count: int, first: int = 0) -> list[int]:
    """Where the windows with enough speech begin, in samples.

    Args:
        speech: (m,) P(speech) for each successive 512 samples. count: how many samples there are.
        first: earliest beginning to look at, a multiple of `STEP`.
    """
    starts = []
    for start in range(first, count - WINDOW + 1, STEP):
        part = speech[start // BLOCK : -(-(start + WINDOW) // BLOCK)]
        if len(part) and float(np.mean(part >= SPEECH_THRESHOLD)) >= MIN_SPEECH_SHARE:
            starts.append(start)
    return starts


def hearing_of(features: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """Mean, spread and mean step of Whisper features over a second; (1152,) float32.

    Args:
        features: (m, 384) at 25 Hz, feature i of the samples from 640 i on. start: in samples.
    """
    first = start // FEATURE_STEP
    part = features[first : first + FEATURE_RATE]
    steps = np.abs(np.diff(part, axis=0)).mean(axis=0)
    return np.concatenate([part.mean(axis=0), part.std(axis=0), steps]).astype(np.float32)


class AudioDetector:
    """Listens for traces of synthesis; one object serves one clip."""

    name = "audio"

    def __init__(
        self, model: Model | None = None, stem: Session | None = None, device: str = "auto"
    ) -> None:
        self._model = model or load_model(MODEL, device)
        self._listener = Listener(stem, device)
        self._sound = np.zeros(0, np.float32)  # from sample `_dropped` on
        self._dropped = 0
        self._speech = np.zeros(0, np.float32)  # of the whole clip
        self._next = 0  # where the next window begins
        self._features = np.zeros((0, WIDTH), np.float32)  # from feature `_forgotten` on
        self._forgotten = 0
        self._waiting: list[tuple[int, NDArray[np.float32]]] = []  # measured, not yet heard
        self._starts: list[int] = []
        self._logits: list[float] = []
        self._begins: float | None = None
        self._has_track = False
        self._peak = 0.0

    def observe(self, chunk: Chunk) -> None:
        """Reduce every second with speech to one number."""
        if chunk.sound is None:
            return
        self._has_track = True
        samples = np.asarray(chunk.sound.samples, np.float32)
        if not len(samples):
            return
        if self._begins is None:
            self._begins = chunk.sound.start
        self._peak = max(self._peak, float(np.abs(samples).max()))
        self._sound = np.concatenate([self._sound, samples])
        self._speech = np.concatenate([self._speech, chunk.sound.speech])
        self._measure()
        self._judge(self._listener.feed(samples))

    def conclude(self) -> list[Evidence]:
        """One entry for the clip's sound."""
        self._judge(self._listener.finish())
        speaks = float((self._speech >= SPEECH_THRESHOLD).sum()) * BLOCK / SAMPLE_RATE
        details = {"speech_seconds": round(speaks, 2), "windows_judged": len(self._logits)}
        problem = self._problem(speaks)
        if problem is not None:
            return [not_applicable(self.name, "audio", problem, None, **details)]
        logit = self._calibrated(float(np.mean(self._logits)))
        score = float(sigmoid(logit))
        return [
            Evidence(
                self.name,
                "audio",
                None,
                "ok",
                score=score,
                logit=logit,
                # Absence of traces proves nothing: the generator may be one that leaves others.
                weight=round(max(0.0, 2 * score - 1), 6),
                windows=self._windows(),
                details=details,
            )
        ]

    def _problem(self, speaks: float) -> str | None:
        if not self._has_track:
            return "The file has no audio track."
        if self._peak < SILENCE:
            return "The audio track is silent."
        if len(self._logits) < MIN_WINDOWS:
            return f"Too little speech: {speaks:.1f} s (at least 2 s in a row are needed)."
        return None

    def _measure(self) -> None:
        """Measure the windows that are complete; forget the sound that none needs any more."""
        count = self._dropped + len(self._sound)
        starts = second_starts(self._speech, count, self._next)
        if starts:
            cut = np.stack([self._sound[start - self._dropped :][:WINDOW] for start in starts])
            self._waiting += zip(starts, measure(cut), strict=True)
        while self._next + WINDOW <= count:
            self._next += STEP
        self._sound = self._sound[self._next - self._dropped :].copy()
        self._dropped = self._next

    def _judge(self, features: NDArray[np.float32]) -> None:
        """Score the windows whose features have come; forget features that none needs any more."""
        self._features = np.concatenate([self._features, features])
        known = self._forgotten + len(self._features)
        ready = [one for one in self._waiting if one[0] // FEATURE_STEP + FEATURE_RATE <= known]
        if ready:
            offset = self._forgotten * FEATURE_STEP
            rows = [
                np.concatenate([own, hearing_of(self._features, start - offset)])
                for start, own in ready
            ]
            out = self._model.run({"voice": np.stack(rows)})["logit"]
            self._logits += [float(value) for value in np.reshape(out, -1)]
            self._starts += [start for start, _ in ready]
        self._waiting = self._waiting[len(ready) :]
        # Windows yet to be measured begin at `_next` or later.
        oldest = self._waiting[0][0] if self._waiting else self._next
        spare = min(max(oldest // FEATURE_STEP - self._forgotten, 0), len(self._features))
        self._features = self._features[spare:].copy()
        self._forgotten += spare

    def _calibrated(self, value: float) -> float:
        parameters = self._model.card.parameters["clip"]
        return float(parameters["slope"]) * value + float(parameters["bias"])

    def _windows(self) -> tuple[Window, ...]:
        begins = self._begins or 0.0
        return tuple(
            Window(
                begins + start / SAMPLE_RATE,
                begins + (start + WINDOW) / SAMPLE_RATE,
                float(sigmoid(self._calibrated(value))),
            )
            for start, value in zip(self._starts, self._logits, strict=True)
        )
