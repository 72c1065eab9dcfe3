"""The contract network on a clip: face, motion and voice of one-second windows, judged together.

Four entries come out of one network. `contract` is its verdict and the only one that counts. Beside
it stand `contract_face` and `contract_voice`, the same network with the other modality masked, and
`contract_match`, its head for whether face and voice belong together; they say what the verdict
rests on. What each modality contributed is its Shapley value in the game of two players whose
outcomes are these logits (Shapley, 1953): they sum to the verdict's logit.

Windows lie on one grid for the whole clip, whatever the chunks. Those that overlap share their
faces: a batch encodes each face once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.base import SPEECH_STEP, Evidence, FrameScore, not_applicable
from aura.detectors.contract_input import (
    SAMPLE_RATE,
    Voice,
    cut_sound,
    frames_of_window,
    place_faces,
)
from aura.detectors.contract_motion import motion_values
from aura.runtime import Model, load_model
from aura.windows import SlidingWindows, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aura.detectors.base import Chunk, FaceTrack, Modality
    from aura.runtime import Array

MODEL = "contract-v1"
NAMES: dict[str, Modality] = {
    "contract": "joint",
    "contract_face": "visual",
    "contract_voice": "audio",
    "contract_match": "sync",
}
BATCH = 8  # windows a run; the last of a clip is filled up, so that the engine sees one shape
# The faces of a batch are filled up to a multiple of this, for the same reason.
FACES_STEP = 4
# Seconds that pictures wait for their sound. Some files hold all sound after the pictures, and
# memory is bounded: 10 faces a second for 30 s are 45 MB.
LONGEST_WAIT = 30.0
EARLY = 1e-6  # seconds; sums of decimal fractions are seldom exact
ABSENT = 0.5  # of two modalities one: the share of the judgement that rests on each

NO_VOICE = "No speech was found: judged by the face alone."
NO_FACE = "No face was found: judged by the voice alone."
NEITHER = "Neither a face nor speech was found."


@dataclass
class _Faces:
    """One person's faces that a window still needs; equally long lists, in order of time."""

    times: list[float] = field(default_factory=list)
    frame_ids: list[int] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    motion: list[NDArray[np.float32]] = field(default_factory=list)
    last: tuple[float, NDArray[np.uint8]] | None = None  # where the next motion begins

    def forget(self, before: float) -> None:
        """Drop what no later window needs."""
        keep = int(np.searchsorted(self.times, before))
        for series in (self.times, self.frame_ids, self.crops, self.motion):
            del series[:keep]


@dataclass(frozen=True)
class _Job:
    """One window to judge: of a person, or of the voice alone (`subject` None).

    `times`, `frame_ids`, `crops`, `motion` of the faces in `slots`, (F,) indices into them or -1.
    """

    start: float
    subject: int | None
    slots: NDArray[np.int64]
    times: Sequence[float]
    frame_ids: Sequence[int]
    crops: Sequence[NDArray[np.uint8]]
    motion: Sequence[NDArray[np.float32]]
    samples: NDArray[np.float32]
    speech: NDArray[np.bool_]


@dataclass(frozen=True)
class _Judged:
    """What the network said of one window; logits, higher = more likely manipulated."""

    start: float
    has_video: bool
    has_audio: bool
    logit: float
    face: float
    voice: float
    manipulation: float
    disagreement: float
    attention: float


@dataclass
class _Frame:
    time: float
    logits: list[float] = field(default_factory=list)


class ContractDetector:
    """Judges everybody's windows; one object serves one clip.

    Args:
        model: the network with its card; by default the promoted one.
        fps: how many pictures a second are sampled.
    """

    name = "contract"

    def __init__(self, model: Model | None = None, device: str = "auto", fps: float = 5.0) -> None:
        self._model = model or load_model(MODEL, device)
        self._fps = fps
        self._seconds = float(self._model.card.parameters["window_seconds"])
        low, high = self._model.card.parameters["window_frames"]
        self._slots = min(max(frames_of_window(fps, self._seconds), low), high)
        self._rate = self._slots / self._seconds
        self._windows = SlidingWindows(self._seconds)
        self._start: float | None = None
        self._end = 0.0
        self._done = 0  # windows handed to the network
        self._faces: dict[int, _Faces] = {}
        self._sound = Voice(0.0, np.zeros(0, np.float32), np.zeros(0, np.float32))
        self._has_track = False
        self._jobs: list[_Job] = []
        self._judged: dict[int | None, list[_Judged]] = {}
        self._voice: dict[float, float] = {}  # start of a window to the voice's logit alone
        self._frames: dict[int, dict[int, _Frame]] = {}

    def observe(self, chunk: Chunk) -> None:
        """Judge the windows that are complete; keep the faces and the sound of the others."""
        if self._start is None:
            self._start = chunk.start
        self._end = max(self._end, chunk.end)
        for track in chunk.tracks:
            self._take(track)
        if chunk.sound is not None:
            self._has_track = True
            self._hear(chunk.sound.start, chunk.sound.samples, chunk.sound.speech)
        heard = self._sound.start + len(self._sound.samples) / SAMPLE_RATE
        while True:
            start = self._start + self._done * self._windows.step
            end = start + self._seconds
            waits = self._has_track and heard < end and self._end - end < LONGEST_WAIT
            if end > self._end + EARLY or waits:
                return
            self._window(start)

    def conclude(self) -> list[Evidence]:
        """Four entries for each person (the voice's belongs to all), or for the clip."""
        start = 0.0 if self._start is None else self._start
        end = self._end + 1.0 / self._fps  # the last picture lasts as long as the others
        for left, _ in self._windows.spans(start, end)[self._done :]:
            self._window(left)
        self._run()
        voice = self._voice_alone(end)
        people = sorted(self._frames)
        if not people:
            return [*self._without_face(end), voice]
        found = [item for subject in people for item in self._person(subject, end)]
        return [*found, voice]

    def _take(self, track: FaceTrack) -> None:
        """Add a person's new faces, thinned to the network's rate, each with the motion into it."""
        faces = self._faces.setdefault(track.subject, _Faces())
        least = 0.0 if self._fps <= self._rate * 1.01 else (1.0 - 0.01) / self._rate
        new: list[int] = []
        last = faces.last[0] if faces.last else -np.inf
        for index, time in enumerate(track.times):
            if time > last and time - last >= least:
                new.append(index)
                last = float(time)
        if not new:
            return
        crops = list(track.crops[new])
        times = [float(time) for time in track.times[new]]
        before = [faces.last] if faces.last else []
        all_times = np.array([time for time, _ in before] + times)
        pictures = np.stack([crop for _, crop in before] + crops)
        motion = motion_values(pictures, np.ones(len(pictures), np.bool_), all_times)
        faces.times += times
        faces.frame_ids += [int(one) for one in track.frame_ids[new]]
        faces.crops += crops
        faces.motion += list(motion[len(before) :])
        faces.last = (times[-1], crops[-1])

    def _hear(
        self, start: float, samples: NDArray[np.float32], speech: NDArray[np.float32]
    ) -> None:
        if not len(self._sound.samples):
            self._sound = Voice(start, samples, speech)
            return
        self._sound = Voice(
            self._sound.start,
            np.concatenate([self._sound.samples, samples]),
            np.concatenate([self._sound.speech, speech]),
        )

    def _window(self, start: float) -> None:
        """Queue the window that begins at `start`, then drop what no later one needs."""
        self._done += 1
        samples, speech = cut_sound(self._sound, start, self._seconds)
        nobody = True
        for subject, faces in sorted(self._faces.items()):
            slots = place_faces(np.array(faces.times), start, self._seconds, self._rate)
            if (slots >= 0).any():
                used = slice(int(slots[slots >= 0].min()), int(slots.max()) + 1)
                moved = np.where(slots >= 0, slots - used.start, -1)
                self._jobs.append(
                    _Job(
                        start=start,
                        subject=subject,
                        slots=moved,
                        times=faces.times[used],
                        frame_ids=faces.frame_ids[used],
                        crops=faces.crops[used],
                        motion=faces.motion[used],
                        samples=samples,
                        speech=speech,
                    )
                )
                nobody = False
        if nobody and speech.any():
            empty = np.full(self._slots, -1, np.int64)
            self._jobs.append(_Job(start, None, empty, [], [], [], [], samples, speech))
        # The last window of a clip may begin up to a step before its place on the grid.
        before = start
        for faces in self._faces.values():
            faces.forget(before)
        self._forget_sound(before)
        while len(self._jobs) >= BATCH:
            self._run()

    def _forget_sound(self, before: float) -> None:
        blocks = int((before - self._sound.start) / SPEECH_STEP)
        if blocks <= 0:
            return
        samples = round(blocks * SPEECH_STEP * SAMPLE_RATE)
        self._sound = Voice(
            self._sound.start + blocks * SPEECH_STEP,
            self._sound.samples[samples:],
            self._sound.speech[blocks:],
        )

    def _run(self) -> None:
        """Judge up to `BATCH` queued windows."""
        jobs, self._jobs = self._jobs[:BATCH], self._jobs[BATCH:]
        if not jobs:
            return
        found = self._model.run(self._inputs(jobs))
        logits, face, voice = (
            found[name][:, 1] - found[name][:, 0]
            for name in ("logits", "face_logits", "voice_logits")
        )
        for row, job in enumerate(jobs):
            seen = job.slots >= 0
            judged = _Judged(
                start=job.start,
                has_video=bool(found["has_video"][row]),
                has_audio=bool(found["has_audio"][row]),
                logit=float(logits[row]),
                face=float(face[row]),
                voice=float(voice[row]),
                manipulation=float(found["manipulation"][row]),
                disagreement=float(found["disagreement"][row]),
                attention=float(found["attention"][row][seen].mean()) if seen.any() else 0.0,
            )
            if judged.has_audio:
                self._voice[job.start] = judged.voice
            if not (judged.has_video or judged.has_audio):
                continue
            self._judged.setdefault(job.subject, []).append(judged)
            if job.subject is not None:
                frames = self._frames.setdefault(job.subject, {})
                for slot in np.flatnonzero(seen):
                    index = int(job.slots[slot])
                    frame = frames.setdefault(job.frame_ids[index], _Frame(job.times[index]))
                    frame.logits.append(float(found["frame_scores"][row, slot]))

    def _inputs(self, jobs: Sequence[_Job]) -> dict[str, Array]:
        """The batch as the network takes it: each face once, windows by the faces' numbers."""
        number: dict[tuple[int | None, int], int] = {}
        crops: list[NDArray[np.uint8]] = []
        slots = np.zeros((BATCH, self._slots), np.int64)
        motion = np.zeros((BATCH, self._slots, 2), np.float32)
        mask = np.zeros((BATCH, self._slots), np.bool_)
        sound = np.zeros((BATCH, len(jobs[0].samples)), np.float32)
        speech = np.zeros(sound.shape, np.bool_)
        for row, job in enumerate(jobs):
            for slot in np.flatnonzero(job.slots >= 0):
                index = int(job.slots[slot])
                key = (job.subject, job.frame_ids[index])
                if key not in number:
                    number[key] = len(crops)
                    crops.append(job.crops[index])
                slots[row, slot] = number[key]
                motion[row, slot] = job.motion[index]
                mask[row, slot] = True
            sound[row], speech[row] = job.samples, job.speech
        side = self._model.card.parameters["image_side"]
        count = max(1, -(-len(crops) // FACES_STEP)) * FACES_STEP
        images = np.zeros((count, side, side, 3), np.uint8)
        if crops:
            images[: len(crops)] = np.stack(crops)
        return {
            "images": images,
            "slots": slots,
            "motion": motion,
            "frame_mask": mask,
            "sound": sound,
            "speech_mask": speech,
        }

    def _as_window(self, start: float, logit: float, end: float) -> Window:
        return Window(start, min(start + self._seconds, end), float(sigmoid(logit)))

    def _evidence(
        self, name: str, subject: int | None, starts: list[float], logits: list[float], end: float
    ) -> Evidence:
        """The clip's logit is the mean over windows, as it was calibrated."""
        logit = SlidingWindows.aggregate(logits, "mean")
        return Evidence(
            detector=name,
            modality=NAMES[name],
            subject=subject,
            status="ok",
            score=float(sigmoid(logit)),
            logit=logit,
            windows=tuple(
                self._as_window(start, value, end)
                for start, value in zip(starts, logits, strict=True)
            ),
        )

    def _verdict(self, subject: int | None, judged: list[_Judged], end: float) -> Evidence:
        both = [one for one in judged if one.has_video and one.has_audio]
        plain = self._evidence(
            "contract", subject, [j.start for j in judged], [j.logit for j in judged], end
        )
        seen, heard = any(j.has_video for j in judged), any(j.has_audio for j in judged)
        agreement = None
        if both:
            agreement = 1.0 - float(sigmoid(np.mean([one.disagreement for one in both])))
        details = {
            "windows": len(judged),
            "windows_with_speech": sum(one.has_audio for one in judged),
            "manipulation": round(float(sigmoid(np.mean([j.manipulation for j in judged]))), 6),
            "attention_on_sound": round(float(np.mean([j.attention for j in both])), 6)
            if both
            else None,
        }
        reason: str | None = None
        lacks: dict[str, float] = {}
        if not heard:
            reason, lacks = NO_VOICE, {"The voice": ABSENT}
        elif not seen:
            reason, lacks = NO_FACE, {"The face": ABSENT}
        return replace(
            plain,
            reason=reason,
            frames=self._frame_scores(subject),
            details=details,
            parts=_parts(judged),
            agreement=agreement,
            lacks=lacks,
        )

    def _frame_scores(self, subject: int | None) -> tuple[FrameScore, ...]:
        frames = {} if subject is None else self._frames[subject]
        return tuple(
            FrameScore(frame_id, frame.time, float(sigmoid(np.mean(frame.logits))))
            for frame_id, frame in sorted(frames.items())
        )

    def _person(self, subject: int, end: float) -> list[Evidence]:
        judged = self._judged[subject]
        both = [one for one in judged if one.has_audio]
        found = [
            self._verdict(subject, judged, end),
            self._evidence(
                "contract_face", subject, [j.start for j in judged], [j.face for j in judged], end
            ),
        ]
        if both:
            starts, logits = [j.start for j in both], [j.disagreement for j in both]
            found.append(self._evidence("contract_match", subject, starts, logits, end))
        else:
            found.append(not_applicable("contract_match", "sync", self._why_no_voice(), subject))
        return found

    def _without_face(self, end: float) -> list[Evidence]:
        nobody = "No face was found."
        judged = self._judged.get(None, [])
        return [
            self._verdict(None, judged, end)
            if judged
            else not_applicable("contract", "joint", NEITHER),
            not_applicable("contract_face", "visual", nobody),
            not_applicable("contract_match", "sync", nobody),
        ]

    def _voice_alone(self, end: float) -> Evidence:
        if not self._voice:
            return not_applicable("contract_voice", "audio", self._why_no_voice())
        starts = sorted(self._voice)
        return self._evidence(
            "contract_voice", None, starts, [self._voice[start] for start in starts], end
        )

    def _why_no_voice(self) -> str:
        return "No speech was found." if self._has_track else "The file has no audio track."


def _parts(judged: Sequence[_Judged]) -> dict[Modality, float]:
    """Shapley values of face and voice, mean over windows; they sum to the clip's logit."""
    face = voice = 0.0
    for one in judged:
        if one.has_video and one.has_audio:
            face += (one.logit + one.face - one.voice) / 2
            voice += (one.logit + one.voice - one.face) / 2
        elif one.has_video:
            face += one.logit
        else:
            voice += one.logit
    parts: dict[Modality, float] = {}
    if any(one.has_video for one in judged):
        parts["visual"] = face / len(judged)
    if any(one.has_audio for one in judged):
        parts["audio"] = voice / len(judged)
    return parts
