"""What a detector gets, what it gives back, and the protocol in between.

The clip arrives as a row of chunks, each a few seconds long, so that memory stays bounded however
long the video is. A detector reduces every chunk to compact features (`observe`) and speaks at the
end (`conclude`). One detector object serves one clip; the network behind it is shared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aura.windows import Window

SAMPLE_RATE = 16_000  # Hz; contract: 16 kHz mono
SPEECH_STEP = 512 / SAMPLE_RATE  # seconds that one speech probability covers

# "joint": one network that looks at face and voice together.
Modality = Literal["visual", "temporal", "audio", "sync", "joint"]


@dataclass(frozen=True)
class FaceTrack:
    """One person's face within one chunk.

    Sampled faces (5 or 10 a second): `frame_ids` (N,) int64 index of the picture in the file,
    `times` (N,) float64 seconds, `crops` (N, 224, 224, 3) uint8 RGB aligned, `boxes` (N, 4) and
    `landmarks` (N, 5, 2) float32 in pixels of the decoded picture, `quality` (N,) float32 in
    [0, 1]. Mouth (every picture, at most 30 a second): `mouth_times` (M,) float64 seconds,
    `mouths` (M, 64, 64) uint8 luma, upright between the eyes, 1.6 eye distances wide, centred
    between the mouth corners. `cuts`: the sampled faces once more as single detectors asked for
    them, (N, S, S, 3) uint8 RGB by name of `aura.cuts`. Head, at the times
    of the mouth: `heads` (M, 112, 112) uint8 luma with what is beside it (`aura.mouth.head_crop`),
    `head_landmarks` (M, 5, 2) float32 by which it was cut, smoothed, in pixels of the decoded
    picture; none (M = 0) where no detector wants them.
    """

    subject: int
    frame_ids: NDArray[np.int64]
    times: NDArray[np.float64]
    crops: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    quality: NDArray[np.float32]
    mouth_times: NDArray[np.float64]
    mouths: NDArray[np.uint8]
    cuts: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    heads: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 112, 112), np.uint8))
    head_landmarks: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 5, 2), np.float32)
    )


@dataclass(frozen=True)
class Sound:
    """The sound track within one chunk.

    `samples` (n,) float32 mono in [-1, 1] at `SAMPLE_RATE`; the first one is heard at `start`
    seconds on the picture's clock. `speech` (m,) float32 P(speech) in [0, 1] for each successive
    512 samples of `samples` (the last one may cover fewer). Sound chunks follow each other without
    gap or overlap, and every one but the last holds a whole multiple of 512 samples.
    """

    start: float
    samples: NDArray[np.float32]
    speech: NDArray[np.float32]


@dataclass(frozen=True)
class Chunk:
    """A few seconds of the clip: faces by person, and sound (None when there is no sound track)."""

    start: float
    end: float
    tracks: Sequence[FaceTrack]
    sound: Sound | None

    def size_bytes(self) -> int:
        """Memory that the pictures and samples hold."""
        pictures = sum(
            track.crops.nbytes
            + track.mouths.nbytes
            + track.heads.nbytes
            + sum(cut.nbytes for cut in track.cuts.values())
            for track in self.tracks
        )
        return pictures + (self.sound.samples.nbytes if self.sound else 0)


@dataclass(frozen=True)
class FrameScore:
    """One picture's fake score in [0, 1]: its index in the file and its time in seconds."""

    frame_id: int
    time: float
    score: float


@dataclass(frozen=True)
class Evidence:
    """What one detector found for one person (`subject`), or for the whole clip (None).

    `score` is sigmoid(`logit`), in [0, 1]; the profile's calibration is applied later, in one place
    (`fusion.calibrate`), to the clip's, the windows' and the frames' scores alike. With status
    `not_applicable` both are None and `reason` says why, in words for a user. `weight` in [0, 1]
    scales the profile's fusion weight (0: shown, not fused).
    `details` holds what only this detector knows (say, the lip-sync offset), JSON-ready.

    What a network that looks at several modalities adds: `parts`, the share of each in `logit`
    (they sum to it; empty: all of it is `modality`'s); `agreement` in [0, 1], how far the
    modalities belong together by its own head; `lacks`, by name of what it could not look at the
    share in [0, 1] of its judgement that would have rested on it.
    """

    detector: str
    modality: Modality
    subject: int | None
    status: Literal["ok", "not_applicable"]
    reason: str | None = None
    score: float | None = None
    logit: float | None = None
    weight: float = 1.0
    windows: tuple[Window, ...] = ()
    frames: tuple[FrameScore, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    parts: Mapping[Modality, float] = field(default_factory=dict)
    agreement: float | None = None
    lacks: Mapping[str, float] = field(default_factory=dict)


def not_applicable(
    detector: str, modality: Modality, reason: str, subject: int | None = None, **details: Any
) -> Evidence:
    """Evidence that a detector could not judge, with the reason in words for a user."""
    return Evidence(detector, modality, subject, "not_applicable", reason, details=details)


class Detector(Protocol):
    """One detector at work on one clip."""

    name: str

    def observe(self, chunk: Chunk) -> None:
        """Take in the next chunk; keep compact features only."""
        ...

    def conclude(self) -> list[Evidence]:
        """Everything this detector has to say, once all chunks were observed.

        At least one entry: a detector that could not judge says `not_applicable` and why.
        """
        ...
