"""Public networks as detectors: a face in single pictures, a face over 16 pictures, a voice.

Each gives one logit for what it is shown, in our direction already (`aura.training.public` turned
it). The mean over a clip is the clip's logit. Nothing here was fitted: the profile's calibration
holds what the networks' authors say about their thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import sigmoid
from aura.cuts import resized
from aura.detectors.base import SAMPLE_RATE, Evidence, FrameScore, not_applicable
from aura.runtime import PICTURES, Model, load_model
from aura.speech import BLOCK, SPEECH_THRESHOLD
from aura.windows import SlidingWindows, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.detectors.base import Chunk

NO_FACE = "No face was found."
BATCH = PICTURES  # a run; the last batch is padded, so that the engine sees one shape
CLIP_STEP = 2  # clips overlap by this part: every second half
FACE_STEP = 0.15  # seconds between faces of a row, at least: five a second, also where ten are had
MAX_GAP = 1.0  # seconds between faces of one clip; a longer one is a cut or another shot
VOICE_SECONDS = 4.0
VOICE_LEAST = 2.0  # seconds of sound in the only window of a short recording
MIN_SPEECH_SHARE = 0.6  # of a window's blocks


@dataclass
class _Series:
    frame_ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)


class PictureDetector:
    """Scores each sampled face of every person by itself.

    Args:
        name: of the detector in profiles. model: name of its network, or the network. cut: which
            of `aura.cuts` it is shown.
    """

    def __init__(self, name: str, model: str | Model, cut: str, device: str = "auto") -> None:
        self.name = name
        self._model = load_model(model, device) if isinstance(model, str) else model
        self._cut = cut
        self._side = int(self._model.card.parameters["side"])
        self._people: dict[int, _Series] = {}

    def observe(self, chunk: Chunk) -> None:
        """Run the network on the chunk's faces."""
        for track in chunk.tracks:
            if not len(track.times):
                continue
            series = self._people.setdefault(track.subject, _Series())
            series.frame_ids += track.frame_ids.tolist()
            series.times += track.times.tolist()
            series.logits += self._logits(track.cuts[self._cut])

    def _logits(self, images: NDArray[np.uint8]) -> list[float]:
        found: list[float] = []
        if images.shape[1] != self._side:  # a checkpoint of another size than the public one
            images = np.stack([resized(one, self._side, "linear") for one in images])
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            batch = np.zeros((BATCH, *images.shape[1:]), np.uint8)
            batch[: len(part)] = part
            found += self._model.run({"images": batch})["logit"][: len(part)].tolist()
        return found

    def conclude(self) -> list[Evidence]:
        """One entry for each person."""
        if not self._people:
            return [not_applicable(self.name, "visual", NO_FACE)]
        return [self._evidence(subject, one) for subject, one in self._people.items()]

    def _evidence(self, subject: int, series: _Series) -> Evidence:
        times, logits = np.array(series.times), np.array(series.logits)
        scores = sigmoid(logits)
        logit = SlidingWindows.aggregate(logits, "mean")
        return Evidence(
            self.name,
            "visual",
            subject,
            "ok",
            score=float(sigmoid(logit)),
            logit=logit,
            windows=tuple(SlidingWindows().gather(times, scores, times[0], times[-1])),
            frames=tuple(
                FrameScore(frame_id, time, float(score))
                for frame_id, time, score in zip(
                    series.frame_ids, series.times, scores, strict=True
                )
            ),
            details={"faces": len(times)},
        )


@dataclass
class _Faces:
    """The latest faces of a person, at most a clip of them, and the windows that were judged."""

    times: list[float] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    windows: list[tuple[float, float, float]] = field(default_factory=list)
    longest: int = 0


class ClipDetector:
    """Scores rows of successive faces (16: 3.2 s at five a second), half overlapping."""

    def __init__(self, name: str, model: str | Model, device: str = "auto") -> None:
        self.name = name
        self._model = load_model(model, device) if isinstance(model, str) else model
        self._frames = int(self._model.card.parameters["frames"])
        self._side = int(self._model.card.parameters["side"])
        self._people: dict[int, _Faces] = {}

    def observe(self, chunk: Chunk) -> None:
        """Judge every row that is complete."""
        for track in chunk.tracks:
            faces = self._people.setdefault(track.subject, _Faces())
            for time, crop in zip(track.times.tolist(), track.crops, strict=True):
                if faces.times and time - faces.times[-1] < FACE_STEP:
                    continue
                if faces.times and time - faces.times[-1] > MAX_GAP:
                    faces.times, faces.crops = [], []
                faces.times.append(time)
                faces.crops.append(crop)
                faces.longest = max(faces.longest, len(faces.times))
                if len(faces.times) == self._frames:
                    self._judge(faces)
                    keep = self._frames // CLIP_STEP
                    faces.times, faces.crops = faces.times[-keep:], faces.crops[-keep:]

    def _judge(self, faces: _Faces) -> None:
        clip = np.stack(faces.crops)
        if clip.shape[1] != self._side:
            clip = np.stack([resized(one, self._side, "linear") for one in clip])
        logit = float(self._model.run({"clips": clip[None]})["logit"][0])
        faces.windows.append((faces.times[0], faces.times[-1], logit))

    def conclude(self) -> list[Evidence]:
        """One entry for each person."""
        if not self._people:
            return [not_applicable(self.name, "temporal", NO_FACE)]
        return [self._evidence(subject, faces) for subject, faces in self._people.items()]

    def _evidence(self, subject: int, faces: _Faces) -> Evidence:
        if not faces.windows:
            reason = (
                f"The face was seen in {faces.longest} pictures in a row; "
                f"{self._frames} are needed to judge motion."
            )
            return not_applicable(self.name, "temporal", reason, subject)
        logit = SlidingWindows.aggregate([one for _, _, one in faces.windows], "mean")
        return Evidence(
            self.name,
            "temporal",
            subject,
            "ok",
            score=float(sigmoid(logit)),
            logit=logit,
            windows=tuple(Window(a, b, float(sigmoid(one))) for a, b, one in faces.windows),
            details={"clips": len(faces.windows)},
        )


class VoiceDetector:
    """Scores stretches of speech of four seconds, half overlapping; one answer for the clip."""

    def __init__(self, name: str, model: str | Model, device: str = "auto") -> None:
        self.name = name
        self._model = load_model(model, device) if isinstance(model, str) else model
        self._sound = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.float32)
        self._start: float | None = None  # seconds at which `_sound` begins
        self._heard = 0.0  # seconds of speech
        self._has_track = False
        self._windows: list[Window] = []
        self._logits: list[float] = []
        self._length = round(VOICE_SECONDS * SAMPLE_RATE) // BLOCK * BLOCK

    def observe(self, chunk: Chunk) -> None:
        """Judge every stretch that is complete; keep what the next one needs."""
        if chunk.sound is None:
            return
        self._has_track = True
        if self._start is None and len(chunk.sound.samples):
            self._start = chunk.sound.start
        self._sound = np.concatenate([self._sound, chunk.sound.samples])
        self._speech = np.concatenate([self._speech, chunk.sound.speech])
        self._heard += float((chunk.sound.speech >= SPEECH_THRESHOLD).sum()) * BLOCK / SAMPLE_RATE
        while len(self._sound) >= self._length:
            self._judge(self._length)
            step = self._length // 2 // BLOCK * BLOCK
            self._sound, self._speech = self._sound[step:], self._speech[step // BLOCK :]
            self._start = (self._start or 0.0) + step / SAMPLE_RATE

    def _judge(self, length: int) -> None:
        sound, speech = self._sound[:length], self._speech[: -(-length // BLOCK)]
        if not len(speech) or float(np.mean(speech >= SPEECH_THRESHOLD)) < MIN_SPEECH_SHARE:
            return
        logit = float(self._model.run({"sound": sound[None]})["logit"][0])
        start = self._start or 0.0
        self._logits.append(logit)
        self._windows.append(Window(start, start + length / SAMPLE_RATE, float(sigmoid(logit))))

    def conclude(self) -> list[Evidence]:
        """One entry for the clip's sound."""
        if not self._windows and len(self._sound) >= VOICE_LEAST * SAMPLE_RATE:
            self._judge(min(len(self._sound), self._length))
        details = {"speech_seconds": round(self._heard, 2), "windows_judged": len(self._windows)}
        if not self._windows:
            reason = (
                f"Too little speech: {self._heard:.1f} s, never {VOICE_LEAST:g} s in a row."
                if self._has_track
                else "The file has no audio track."
            )
            return [not_applicable(self.name, "audio", reason, None, **details)]
        logit = SlidingWindows.aggregate(self._logits, "mean")
        return [
            Evidence(
                self.name,
                "audio",
                None,
                "ok",
                score=float(sigmoid(logit)),
                logit=logit,
                windows=tuple(self._windows),
                details=details,
            )
        ]
