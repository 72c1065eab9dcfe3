"""Fakes made of the faces of real video clips, ranked by clip against the untouched ones.

Photos of held-out people say little about video: light, motion and codecs differ, and what counts
is whether a manipulated clip scores above real clips of other people. These fakes are made of
clips that nothing was trained on, by generators that were kept out of training; no fake that
somebody else made is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aura.evaluation.clips import labelled_clips
from aura.faces import CROP_SPAN, FaceDetector
from aura.media import decode, probe
from aura.subjects import SubjectTracker
from aura.training.visual.augment import h264
from aura.training.visual.blends import blend_pair
from aura.training.visual.redrawn import Generators, drawn_pair, redrawn_pair

if TYPE_CHECKING:
    from pathlib import Path

Image = NDArray[np.uint8]
Logits = Callable[[Image], NDArray[np.float32]]
Random = np.random.Generator
PLACES = (2 / 7, 6 / 7)  # faces of each clip that are looked at, as shares of its length
FEWEST = 8  # faces that a clip must show
# The one that leaves least to see; each takes its time on a CPU.
GENERATOR = "sharp192"
CRF = (19, 29)  # x264's rate factor, one a clip, the same for its real and its made faces
SEED = 77


def faces_of(path: Path, detector: FaceDetector) -> Image | None:
    """(2, 224, 224, 3) uint8 RGB: faces of the person seen most; None where there are too few."""
    tracker = SubjectTracker(detector, None)
    seen: dict[int, list[Image]] = {}
    for chunk in tracker.follow(decode(probe(path))):
        for track in chunk.tracks:
            seen.setdefault(track.subject, []).extend(track.crops)
    most = max(seen.values(), key=len, default=[])
    if len(most) < FEWEST:
        return None
    return np.stack([most[int(place * (len(most) - 1))] for place in PLACES])


def _blend(image: Image, random: Random, other: Image | None) -> Image:
    """A blend whose background is the untouched one: the real clip must not be told by it."""
    while True:
        real, fake = blend_pair(image, random, CROP_SPAN, other=other)
        if np.array_equal(real, image):
            return fake


def _kinds(generators: Generators, name: str) -> dict[str, tuple[int, Callable[..., Image]]]:
    """Per kind of fake: the head that looks for it, and how a face of it is made."""

    def draw(name: str, *, partner: bool) -> Callable[..., Image]:
        def make(image: Image, random: Random, other: Image) -> Image:
            drawing = generators.face(name, other if partner else image, random)
            return redrawn_pair(image, random, CROP_SPAN, drawing, another=partner, touched=0.0)[1]

        return make

    def whole(name: str, *, moved: bool) -> Callable[..., Image]:
        def make(image: Image, random: Random, _: Image) -> Image:
            return drawn_pair(image, random, generators.whole(name, image, random, moved=moved))[1]

        return make

    kinds: dict[str, tuple[int, Callable[..., Image]]] = {
        "self-blends": (0, lambda image, random, _: _blend(image, random, None)),
        "blends of two people": (0, _blend),
    }
    kinds[f"own face drawn by {name}"] = (0, draw(name, partner=False))
    kinds[f"another's face drawn by {name}"] = (0, draw(name, partner=True))
    kinds[f"all of it drawn by {name}"] = (1, whole(name, moved=False))
    kinds[f"moved and drawn by {name}"] = (1, whole(name, moved=True))
    return kinds


@dataclass(frozen=True)
class MadeClips:
    """Faces of the real clips, and of the fakes made of them.

    `real` and each of `made` hold one (2, 224, 224, 3) uint8 array a clip, in the order of `names`.
    `head` is the index of the head that looks for a kind.
    """

    names: list[str]
    real: list[Image]
    made: dict[str, list[Image]]
    head: dict[str, int]


def make_clips(folder: Path, generators: Generators, name: str = GENERATOR) -> MadeClips:
    """Make fakes of real clips.

    Args:
        folder: labelled clips; only real ones are read. generators: kept out of training.
    """
    detector = FaceDetector(device="cpu")
    paths = [clip.path for clip in labelled_clips(folder) if clip.label == 0]
    found = {path.stem: faces_of(path, detector) for path in paths}
    faces = {name: crops for name, crops in found.items() if crops is not None}
    random = np.random.default_rng(SEED)
    kinds = _kinds(generators, name)
    clips = MadeClips(
        list(faces), [], {name: [] for name in kinds}, {name: kinds[name][0] for name in kinds}
    )
    for clip, crops in faces.items():
        crf = int(random.integers(*CRF))
        partner = faces[str(random.choice([name for name in faces if name != clip]))]

        def coded(images: list[Image], crf: int = crf) -> Image:
            return np.stack([h264(image, crf, "veryfast", 1, 1) for image in images])

        clips.real.append(coded(list(crops)))
        for kind, (_, make) in kinds.items():
            seed = int(random.integers(2**31))  # one mask and one look all through the clip
            made = [
                np.ascontiguousarray(make(image, np.random.default_rng(seed), other))
                for image, other in zip(crops, partner, strict=True)
            ]
            clips.made[kind].append(coded(made))
    return clips


def clip_scores(logits: Logits, clips: MadeClips) -> dict[str, NDArray[np.float64]]:
    """Mean logit of each clip, real ones first: (2 * clips,) for each kind of fake."""

    def means(faces: list[Image]) -> NDArray[np.float64]:
        return np.stack([logits(one).mean(axis=0) for one in faces]).astype(np.float64)

    real = means(clips.real)
    return {
        name: np.concatenate([real, means(made)])[:, clips.head[name]]
        for name, made in clips.made.items()
    }
