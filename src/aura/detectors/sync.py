"""Do the lips move with the voice? Canonical correlation of mouth motion and Whisper features.

Only low agreement counts, and only towards manipulation: a lip-sync fake agrees as well as a real
speaker does, so agreement is shown with weight 0. With several people each is judged while they
are the one who speaks. Where nothing can be said (little speech, a still mouth, somebody else
speaking) the detector says so and stays out of the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.alignment import (
    SOUND_CONTEXT,
    Agreement,
    agreements,
    grid_times,
    high_pass,
    lip_features,
    near,
    on_grid,
    shifted,
    speech_on_grid,
    steps_of,
)
from aura.detectors.base import SPEECH_STEP, Evidence, not_applicable
from aura.detectors.lips import SIGNALS, LipMotion, LipReader
from aura.detectors.speaker import (
    LIKE_SPEECH,
    SEARCH,
    STILL_MOUTH,
    Mouth,
    speakers,
    syllabic_share,
)
from aura.detectors.sync_windows import (
    AROUND_SPEECH,
    MIN_SPEECH_SHARE,
    TOLERANCE,
    window_agreements,
    window_correlation,
)
from aura.hearing import WIDTH, Listener
from aura.runtime import Model, load_model
from aura.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.detectors.alignment import Floats, Mask
    from aura.detectors.base import Chunk
    from aura.runtime import Session

MODEL = "sync-cca"
LIP_WIDTH = 55

MIN_SPEECH = 2.4  # seconds of face and speech together
SILENCE = 1e-4  # peak amplitude: -80 dBFS

FULL_WEIGHT_SPEECH = 8.0  # seconds of speech from which a mismatch counts in full
# A constant offset is a mismatch, yet recorders and editors make it too.
OFFSET_WEIGHT = 0.5

OPENING = SIGNALS.index("opening")


@dataclass(frozen=True)
class Heard:
    """The sound of the clip on the 25 Hz grid.

    `components` (T, 4) float64; `speech` (T,) bool; `times` (T,) seconds, middles of the steps.
    """

    components: Floats
    speech: Mask
    times: Floats


def sound_components(projected: NDArray[Any]) -> Floats:
    """High-pass, shift by the context and add up: (T, 4 x 3) -> (T, 4)."""
    fast = high_pass(np.asarray(projected, np.float64))
    parts = np.split(fast, len(SOUND_CONTEXT), axis=1)
    moved = [shifted(part, step) for part, step in zip(parts, SOUND_CONTEXT, strict=True)]
    return np.asarray(np.sum(moved, axis=0))


class SyncDetector:
    """Compares each person's mouth with the sound; one object serves one clip."""

    name = "sync"

    def __init__(
        self, model: Model | None = None, stem: Session | None = None, device: str = "auto"
    ) -> None:
        self._model = model or load_model(MODEL, device)
        self._listener = Listener(stem, device)
        self._readers: dict[int, LipReader] = {}
        self._motion: dict[int, list[LipMotion]] = {}
        self._projected: list[NDArray[np.float32]] = []
        self._speech: list[NDArray[np.float32]] = []
        self._sound_start: float | None = None
        self._has_track = False
        self._peak = 0.0

    def observe(self, chunk: Chunk) -> None:
        """Reduce the chunk to 11 numbers a picture and person, and 12 per 40 ms of sound."""
        for track in chunk.tracks:
            reader = self._readers.setdefault(track.subject, LipReader())
            motion = reader.read(track.mouth_times, track.mouths)
            self._motion.setdefault(track.subject, []).append(motion)
        if chunk.sound is None:
            return
        self._has_track = True
        samples = chunk.sound.samples
        if len(samples):
            if self._sound_start is None:
                self._sound_start = chunk.sound.start
            self._peak = max(self._peak, float(np.abs(samples).max()))
            self._project(self._listener.feed(samples))
        self._speech.append(chunk.sound.speech)

    def conclude(self) -> list[Evidence]:
        """One entry for each person, or one for the clip when nobody was seen."""
        self._project(self._listener.finish())
        if not self._motion:
            return [not_applicable(self.name, "sync", "No face was found.")]
        problem = self._sound_problem()
        if problem is not None:
            return [self._pass(subject, problem) for subject in self._motion]
        heard = self._heard()
        mouths = {subject: self._mouth(subject, heard.times) for subject in self._motion}
        if len(mouths) == 1:
            return [self._judge(subject, mouth, heard) for subject, mouth in mouths.items()]
        close = near(heard.speech, steps_of(AROUND_SPEECH))
        speaking = speakers(list(mouths.values()), heard.components, close)
        return [
            self._judge_among(subject, mouth, heard, speaking == index)
            for index, (subject, mouth) in enumerate(mouths.items())
        ]

    def _project(self, features: NDArray[np.float32]) -> None:
        if len(features):
            nothing = np.zeros((1, LIP_WIDTH), np.float32)
            out = self._model.run({"lips": nothing, "sound": features})
            self._projected.append(np.asarray(out["sound_components"], np.float32))

    def _sound_problem(self) -> str | None:
        if not self._has_track:
            return "The file has no audio track."
        if self._peak < SILENCE or not self._projected:
            return "The audio track is silent."
        return None

    def _heard(self) -> Heard:
        components = sound_components(np.concatenate(self._projected))
        count = len(components)
        speech = speech_on_grid(np.concatenate(self._speech), SPEECH_STEP, count)
        return Heard(components, speech, grid_times(self._sound_start or 0.0, count))

    def _pass(self, subject: int, reason: str, **details: Any) -> Evidence:
        return not_applicable(self.name, "sync", reason, subject, **details)

    def _mouth(self, subject: int, times: Floats) -> Mouth:
        """A person's mouth on the grid of the sound."""
        parts = self._motion[subject]
        motion = LipMotion(
            np.concatenate([part.times for part in parts]),
            np.concatenate([part.signals for part in parts]),
            np.concatenate([part.moving for part in parts]),
        )
        values, seen = on_grid(motion, times)
        out = self._model.run(
            {
                "lips": lip_features(values, seen).astype(np.float32),
                "sound": np.zeros((1, WIDTH), np.float32),
            }
        )
        lips = np.asarray(out["lip_components"], np.float64)
        return Mouth(lips, values[:, OPENING], seen)

    def _judge_among(self, subject: int, mouth: Mouth, heard: Heard, mine: Mask) -> Evidence:
        """One of several people: what others say is left out."""
        step = 1.0 / steps_of(1.0)
        spoken = mouth.seen & heard.speech
        own = float((spoken & mine).sum()) * step
        details = {"speaking_seconds": round(own, 2)}
        heard_in_view = float(spoken.sum()) * step
        if own < MIN_SPEECH and heard_in_view >= MIN_SPEECH:
            return self._pass(
                subject,
                "Not the speaker: the voice fits another person in the picture, or it can't be "
                f"told whose it is (this face speaks for {own:.1f} s, {MIN_SPEECH:g} s are "
                "needed).",
                **details,
            )
        found = self._judge(subject, replace(mouth, seen=mouth.seen & mine), heard)
        return replace(found, details=found.details | details)

    def _judge(self, subject: int, mouth: Mouth, heard: Heard) -> Evidence:
        seen, opening, lips = mouth.seen, mouth.opening, mouth.components
        step = 1.0 / steps_of(1.0)
        both = float((seen & heard.speech).sum()) * step
        share = both / max(float(seen.sum()) * step, step)
        details: dict[str, Any] = {
            "speech_share": round(share, 3),
            "speech_seconds": round(both, 2),
        }
        if not seen.any():
            return self._pass(
                subject,
                "The mouth is not seen while there is sound, or in under 10 pictures a second.",
                **details,
            )
        if share < MIN_SPEECH_SHARE or both < MIN_SPEECH:
            return self._pass(
                subject,
                f"Too little speech while the face is seen: {both:.1f} s, {share:.0%} of the time "
                f"(at least {MIN_SPEECH:g} s and {MIN_SPEECH_SHARE:.0%} are needed).",
                **details,
            )
        mask = seen & near(heard.speech, steps_of(AROUND_SPEECH))
        details["mouth_motion"] = round(float(opening[mask].std()), 3)
        if details["mouth_motion"] < STILL_MOUTH:
            return self._pass(
                subject, "Not the speaker: the mouth stays still while somebody speaks.", **details
            )
        whole = agreements(
            lips, heard.components, mask, [(0, len(lips))], max_lag=steps_of(SEARCH)
        )[0]
        details["syllabic_share"] = round(syllabic_share(opening, mask), 3)
        fits = self._fits(whole.best()[0])
        if not fits and details["syllabic_share"] < LIKE_SPEECH:
            return self._pass(
                subject,
                "Not the speaker, or it can't be told: the mouth moves, but not as in speech "
                "(laughter, chewing, voice-over).",
                **details,
            )
        correlation, lag = whole.best(steps_of(TOLERANCE))
        own = lag if self._fits(correlation) else None
        return self._evidence(subject, whole, self._windows(mouth, heard, own), details)

    def _evidence(
        self,
        subject: int,
        whole: Agreement,
        windows: tuple[Window, ...],
        details: dict[str, Any],
    ) -> Evidence:
        correlation, lag = whole.best(steps_of(TOLERANCE))
        anywhere, offset = whole.best()
        logit = self._logit("clip", correlation)
        score = float(sigmoid(logit))
        out_of_sync = not self._fits(correlation)
        shifted_only = out_of_sync and self._fits(anywhere)
        weight = 0.0
        if out_of_sync:
            weight = (2 * score - 1) * min(1.0, details["speech_seconds"] / FULL_WEIGHT_SPEECH)
            weight *= OFFSET_WEIGHT if shifted_only else 1.0
        known = not out_of_sync or shifted_only
        step = 1.0 / steps_of(1.0)
        details |= {
            "correlation": round(correlation, 4),
            "threshold": round(self._threshold(), 4),
            # Positive: the sound comes after the lips. None: no offset fits.
            "offset_seconds": round((offset if out_of_sync else lag) * step, 3) if known else None,
            "offset_correlation": round(anywhere, 4),
            "tolerance_seconds": TOLERANCE,
        }
        return Evidence(
            self.name,
            "sync",
            subject,
            "ok",
            score=score,
            logit=logit,
            weight=round(weight, 6),
            windows=windows,
            details=details,
        )

    def _windows(self, mouth: Mouth, heard: Heard, lag: int | None) -> tuple[Window, ...]:
        """Mismatch of every window that can be judged; `lag` is the clip's own where it fits."""
        start = float(heard.times[0]) - 0.5 / steps_of(1.0)
        windows = []
        found = window_agreements(mouth, heard.components, heard.speech)
        for first, last, agreement in found:
            correlation = window_correlation(agreement, lag)
            if not np.isnan(correlation):
                score = float(sigmoid(self._logit("window", correlation)))
                left, right = (start + step / steps_of(1.0) for step in (first, last))
                windows.append(Window(left, right, score))
        return tuple(windows)

    def _calibration(self, kind: str) -> tuple[float, float]:
        """Slope and bias of the logit of "belong together" against correlation."""
        values = self._model.card.parameters[kind]
        return float(values["slope"]), float(values["bias"])

    def _threshold(self) -> float:
        slope, bias = self._calibration("clip")
        return -bias / slope

    def _fits(self, correlation: float) -> bool:
        return correlation >= self._threshold()

    def _logit(self, kind: str, correlation: float) -> float:
        slope, bias = self._calibration(kind)
        return -(slope * correlation + bias)
