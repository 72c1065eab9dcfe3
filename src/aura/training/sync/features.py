"""Clips as the detector sees them: lips and sound on the 25 Hz grid, read once and kept."""

from __future__ import annotations

import csv
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aura import media
from aura.detectors.alignment import grid_times, high_pass, lip_features, on_grid, speech_on_grid
from aura.detectors.base import SPEECH_STEP
from aura.detectors.lips import SIGNALS, LipMotion, LipReader
from aura.errors import UsageError
from aura.faces import FaceDetector
from aura.hearing import Listener
from aura.speech import SpeechDetector
from aura.subjects import SubjectTracker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.detectors.alignment import Floats, Mask

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Clip:
    """One clip's most visible person and its sound.

    `lips` (T, 55) features with context; `opening` (T,); `seen`, `speech` (T,) bool; `whisper`
    (T, 384), high-passed; `samples` (n,) the sound itself, which begins at `start` seconds.
    """

    name: str
    label: str
    method: str
    group: str
    licence: str
    lips: Floats
    opening: Floats
    seen: Mask
    speech: Mask
    whisper: Floats
    samples: NDArray[np.float32]
    start: float


def manifest(data: Path) -> list[dict[str, str]]:
    """Rows of the dev clips that carry audible sound.

    Raises:
        UsageError: the folder has no manifest.
    """
    path = data / "manifest.csv"
    if not path.is_file():
        raise UsageError(f"{path} is missing; give the data folder by --data or AURA_DATA")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [row for row in rows if row["kind"] == "video" and row["has_audio"] == "yes"]


def read_clip(data: Path, row: dict[str, str], faces: FaceDetector) -> Clip:
    """Decode and track a clip by the pipeline's own modules; `whisper` must be filled by `hear`."""
    tracker = SubjectTracker(faces, SpeechDetector(device="cpu"))
    readers: dict[int, LipReader] = {}
    motion: dict[int, list[LipMotion]] = {}
    samples: list[NDArray[np.float32]] = []
    speech: list[NDArray[np.float32]] = []
    start: float | None = None
    with closing(media.decode(media.probe(data / row["path"]))) as decoded:
        for chunk in tracker.follow(decoded):
            for track in chunk.tracks:
                reader = readers.setdefault(track.subject, LipReader())
                part = reader.read(track.mouth_times, track.mouths)
                motion.setdefault(track.subject, []).append(part)
            if chunk.sound is not None and len(chunk.sound.samples):
                start = chunk.sound.start if start is None else start
                samples.append(chunk.sound.samples)
                speech.append(chunk.sound.speech)
    parts = max(motion.values(), key=lambda each: sum(len(part.times) for part in each))
    whole = LipMotion(
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.signals for part in parts]),
        np.concatenate([part.moving for part in parts]),
    )
    sound = np.concatenate(samples)
    count = -(-len(sound) * 25 // SAMPLE_RATE)
    values, seen = on_grid(whole, grid_times(start or 0.0, count))
    return Clip(
        name=row["path"].rsplit("/", 1)[-1].removesuffix(".mp4"),
        label=row["label"],
        method=row["method"],
        group=row["group"],
        licence=f"{row['source_repo']}: {row['licence']}",
        lips=lip_features(values, seen),
        opening=values[:, SIGNALS.index("opening")],
        seen=seen,
        speech=speech_on_grid(np.concatenate(speech), SPEECH_STEP, count),
        whisper=np.zeros((count, 0)),
        samples=sound,
        start=start or 0.0,
    )


def hear(clip: Clip) -> Clip:
    """The clip with the Whisper features of its `samples`."""
    listener = Listener(device="cpu")
    raw = np.concatenate([listener.feed(clip.samples), listener.finish()])[: len(clip.lips)]
    return replace(clip, whisper=high_pass(raw.astype(np.float64)))


def read_clips(data: Path) -> list[Clip]:
    """All audible dev clips, in the order of the manifest."""
    faces = FaceDetector(device="cpu")
    return [hear(read_clip(data, row, faces)) for row in manifest(data)]
