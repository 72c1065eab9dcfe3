"""One video decoded once into what training needs of it: aligned faces, flow, speech.

The same media and subjects code as `aura analyze` runs here, in the contract's mode: pictures
without exactly one face are left out.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura import media
from aura.detectors.contract_motion import motion_values
from aura.errors import WeightsError
from aura.faces import FaceDetector, crop_matrix
from aura.runtime import OpenVinoSession, Session, read_card, verify_card, weights_dir
from aura.sound import SAMPLE_RATE, SoundBlock
from aura.speech import BLOCK, SpeechDetector
from aura.subjects import SubjectTracker
from aura.windows import WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aura.detectors.base import Chunk, FaceTrack
    from aura.media import Frame, MediaInfo

MODELS = ("retinaface-mobilenet", "silero-vad")
PCM_SCALE = 32767.0  # 16-bit PCM: what a sample of 1.0 becomes

# Why a video is left out; the beginnings of the reasons in dropped.csv.
TOO_SHORT = "too short"
NO_FACE = "no face"
SEVERAL = "several people throughout"
FEW_FACES = "too few faces"


@dataclass(frozen=True)
class Networks:
    """The two networks that find faces and speech; both may be shared between threads."""

    faces: Session
    speech: Session


@dataclass(frozen=True)
class Footage:
    """What was taken from a video.

    `fps`: pictures sampled a second. `start`, `end`: the stretch in seconds. Of the person with
    most faces, N of them: `frame_ids` (N,) int64, `times` (N,) float64 seconds, `crops`
    (N, 224, 224, 3) uint8 RGB, `landmarks` (N, 5, 2) float32 in pixels of the crop, `motion`
    (N, 2) float32. `sound` (n,) int16 at 16 kHz, heard from `sound_start` seconds on, and `speech`
    (m,) float32, P(speech) of each 512 samples; both empty without a sound track. `people` is how
    many were told apart, `sampled` how many pictures were looked at, `without_face` and
    `with_several` how many of them were left out.
    """

    fps: float
    start: float
    end: float
    frame_ids: NDArray[np.int64]
    times: NDArray[np.float64]
    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    motion: NDArray[np.float32]
    sound_start: float
    sound: NDArray[np.int16]
    speech: NDArray[np.float32]
    people: int
    sampled: int
    without_face: int
    with_several: int


@dataclass(frozen=True)
class Unusable:
    """A video that can't be trained on: the reason in a few words, and details."""

    reason: str
    detail: str = ""


def open_networks() -> Networks:
    """Open both networks with one thread each: results must not depend on how many run at once.

    Raises:
        WeightsError: a network is missing or altered.
    """
    faces, speech = MODELS
    return Networks(_open(faces), _open(speech))


def _open(name: str) -> Session:
    card = read_card(weights_dir() / f"{name}.json")
    problem = verify_card(card)
    if problem:
        raise WeightsError(f"{problem}; reinstall aura-veracity")
    return OpenVinoSession(weights_dir() / card.file, threads=1)


def extract(
    info: MediaInfo, networks: Networks, *, fps: float | None, max_seconds: float
) -> Footage | Unusable:
    """Take from a video what training needs.

    Args:
        info: the result of `media.probe`.
        fps: pictures sampled a second; None for the contract's 5 (10 from 1080 lines on).
        max_seconds: what comes later is not looked at; bounds memory, at 1.5 MB a second at 10 fps.

    Raises:
        UnreadableMedia: not one picture can be decoded.
    """
    rate = fps or media.sample_rate_of(info.video)
    speech = SpeechDetector(networks.speech) if info.audio else None
    tracker = SubjectTracker(FaceDetector(networks.faces), speech, "single")
    tracks: dict[int, list[FaceTrack]] = {}
    sounds: list[tuple[float, NDArray[np.int16], NDArray[np.float32]]] = []
    with closing(media.decode(info, fps=rate)) as decoded:
        for chunk in tracker.follow(_beginning(decoded, max_seconds, info.audio is not None)):
            for track in chunk.tracks:
                tracks.setdefault(track.subject, []).append(track)
            _keep_sound(chunk, sounds)
    tally = tracker.tally
    start = tally.first_time or 0.0
    end = min(max_seconds, tally.last_time + 1.0 / rate)
    counts = {subject: sum(len(t.times) for t in parts) for subject, parts in tracks.items()}
    best = max(counts, key=lambda subject: (counts[subject], -subject), default=None)
    kept = counts[best] if best is not None else 0
    why = _why_not(end - start, kept, rate, tracker)
    if why is not None or best is None:
        return why or Unusable(NO_FACE)
    parts = tracks[best]
    times = np.concatenate([part.times for part in parts])
    crops = np.concatenate([part.crops for part in parts])
    placed = np.concatenate([part.landmarks for part in parts])
    sound_start, sound, probabilities = _join_sound(sounds, end)
    return Footage(
        fps=rate,
        start=start,
        end=end,
        frame_ids=np.concatenate([part.frame_ids for part in parts]),
        times=times,
        crops=crops,
        landmarks=np.stack([_in_crop(points) for points in placed]),
        motion=motion_values(crops, np.ones(len(crops), np.bool_), times),
        sound_start=sound_start,
        sound=sound,
        speech=probabilities,
        people=sum(count > 0 for count in counts.values()),
        sampled=tally.sampled,
        without_face=tally.without_face,
        with_several=tally.with_several,
    )


def _beginning(
    decoded: Iterator[Frame | SoundBlock], limit: float, has_sound: bool
) -> Iterator[Frame | SoundBlock]:
    """The sampled pictures and the sound before `limit` seconds.

    Pictures between samples serve mouths, which nobody needs here. Files may hold sound well before
    or after the pictures that it belongs to, so both have to get past the limit.
    """
    seen, heard = False, not has_sound
    for item in decoded:
        if isinstance(item, SoundBlock):
            heard = heard or item.start >= limit
            if not heard:
                yield item
        elif item.time >= limit:
            seen = True
        elif item.rgb is not None:
            yield item
        if seen and heard:
            return


def _why_not(seconds: float, faces: int, fps: float, tracker: SubjectTracker) -> Unusable | None:
    tally = tracker.tally
    shown = (
        f"{tally.sampled} sampled pictures: {tally.without_face} without a face, "
        f"{tally.with_several} with several"
    )
    # A stretch that ends between two samples is measured up to one sample too short.
    if seconds + 0.5 / fps < WINDOW_SECONDS:
        return Unusable(TOO_SHORT, f"{seconds:.2f} s of pictures, one window is {WINDOW_SECONDS} s")
    if faces >= round(fps * WINDOW_SECONDS):
        return None
    if tally.with_several > tally.without_face:
        return Unusable(SEVERAL, shown)
    if faces == 0:
        return Unusable(NO_FACE, shown)
    return Unusable(FEW_FACES, f"{faces} of one person in {shown}")


def _keep_sound(
    chunk: Chunk, sounds: list[tuple[float, NDArray[np.int16], NDArray[np.float32]]]
) -> None:
    if chunk.sound is not None and len(chunk.sound.samples):
        pcm = np.round(np.clip(chunk.sound.samples, -1.0, 1.0) * PCM_SCALE).astype(np.int16)
        sounds.append((chunk.sound.start, pcm, chunk.sound.speech))


def _join_sound(
    sounds: list[tuple[float, NDArray[np.int16], NDArray[np.float32]]], end: float
) -> tuple[float, NDArray[np.int16], NDArray[np.float32]]:
    """All sound up to the block in which the pictures end: start, samples, P(speech)."""
    if not sounds:
        return 0.0, np.zeros(0, np.int16), np.zeros(0, np.float32)
    start = sounds[0][0]
    blocks = max(0, int(np.ceil((end - start) * SAMPLE_RATE / BLOCK)))
    samples = np.concatenate([pcm for _, pcm, _ in sounds])[: blocks * BLOCK]
    speech = np.concatenate([each for _, _, each in sounds])[:blocks]
    return start, samples, speech


def _in_crop(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks in pixels of the picture, (5, 2), as pixels of the crop cut by them."""
    matrix = crop_matrix(points)
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)
