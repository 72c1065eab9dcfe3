"""Fakes made of the faces of real video clips, ranked by clip against the untouched ones.

Photos of held-out people say little about video: light, motion and codecs differ, and what counts
is whether a manipulated clip scores above real clips of other people. These fakes are made of
clips that nothing was trained on, by generators that were kept out of training; no fake that
somebody else made is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aura.evaluation.clips import labelled_clips
from aura.faces import CROP_SPAN, FaceDetector
from aura.media import decode, probe
from aura.subjects import SubjectTracker
from aura.training.intervals import auc_entry
from aura.training.visual.augment import h264
from aura.training.visual.blends import blend_pair
from aura.training.visual.network import HEADS
from aura.training.visual.redrawn import Generators, drawn_pair, redrawn_pair

if TYPE_CHECKING:
    from pathlib import Path

Image = NDArray[np.uint8]
Logits = Callable[[Image, int], NDArray[np.float32]]
Random = np.random.Generator
FACES = 8  # of each clip, evenly over its length
CRF = (19, 29)  # x264's rate factor, one a clip, the same for its real and its made faces
SEED = 77


def faces_of(path: Path, detector: FaceDetector) -> Image | None:
    """(8, 224, 224, 3) uint8 RGB: faces of the person seen most; None where there are too few."""
    tracker = SubjectTracker(detector, None)
    seen: dict[int, list[Image]] = {}
    for chunk in tracker.follow(decode(probe(path))):
        for track in chunk.tracks:
            seen.setdefault(track.subject, []).extend(track.crops)
    most = max(seen.values(), key=len, default=[])
    if len(most) < FACES:
        return None
    return np.stack([most[i] for i in np.linspace(0, len(most) - 1, FACES).astype(int)])


def _blend(image: Image, random: Random, other: Image | None) -> Image:
    """A blend whose background is the untouched one: the real clip must not be told by it."""
    while True:
        real, fake = blend_pair(image, random, CROP_SPAN, other=other)
        if np.array_equal(real, image):
            return fake


def _kinds(generators: Generators) -> dict[str, tuple[int, Callable[..., Image]]]:
    """Per kind of fake: the head that looks for it, and how a face of it is made."""

    def draw(name: str, *, partner: bool) -> Callable[..., Image]:
        def make(image: Image, random: Random, other: Image) -> Image:
            return redrawn_pair(
                image,
                random,
                CROP_SPAN,
                generators,
                other=other if partner else None,
                name=name,
                touched=0.0,
            )[1]

        return make

    def whole(name: str) -> Callable[..., Image]:
        return lambda image, random, _: drawn_pair(image, random, generators, name)[1]

    kinds: dict[str, tuple[int, Callable[..., Image]]] = {
        "self-blends": (0, lambda image, random, _: _blend(image, random, None)),
        "blends of two people": (0, _blend),
    }
    for name in generators.names:
        kinds[f"own face drawn by {name}"] = (0, draw(name, partner=False))
        kinds[f"another's face drawn by {name}"] = (0, draw(name, partner=True))
        kinds[f"all of it drawn by {name}"] = (1, whole(name))
    return kinds


def measure(logits: Logits, folder: Path, generators: Generators) -> dict[str, Any]:
    """AUC of made clips against the real ones, by the mean logit of their faces.

    Args:
        logits: of images (N, 224, 224, 3) uint8 RGB and a head's index, (N,) float32.
        folder: labelled clips; only real ones are read. generators: kept out of training.
    """
    detector = FaceDetector(device="cpu")
    paths = [clip.path for clip in labelled_clips(folder) if clip.label == 0]
    found = {path.stem: faces_of(path, detector) for path in paths}
    faces = {name: crops for name, crops in found.items() if crops is not None}
    random = np.random.default_rng(SEED)
    kinds = _kinds(generators)
    scores: dict[str, list[float]] = {name: [] for name in (*HEADS, *kinds)}
    for clip, crops in faces.items():
        crf = int(random.integers(*CRF))
        partner = faces[str(random.choice([name for name in faces if name != clip]))]

        def score(images: list[Image], head: int, crf: int = crf) -> float:
            coded = np.stack([h264(image, crf, "veryfast", 1, 1) for image in images])
            return float(logits(coded, head).mean())

        for head in range(len(HEADS)):
            scores[HEADS[head]].append(score(list(crops), head))
        for name, (head, make) in kinds.items():
            seed = int(random.integers(2**31))  # one mask and one look all through the clip
            made = [
                np.ascontiguousarray(make(image, np.random.default_rng(seed), other))
                for image, other in zip(crops, partner, strict=True)
            ]
            scores[name].append(score(made, head))
    labels, groups = np.repeat([0, 1], len(faces)), np.tile(np.arange(len(faces)), 2)
    result = {}
    for name, (head, _) in kinds.items():
        values = np.array(scores[HEADS[head]] + scores[name])
        title = f"visual_{HEADS[head]}: real clips against {name}"
        result[title] = auc_entry(labels, values, groups)
    return result
