"""Single cues that were asked for, each measured by itself before anything is built on it.

Eye blinks, texture and flicker of the mouth against the rest of the face, and flicker of the visual
network's features between neighbouring pictures: one number a clip, on the labelled clips and on
mouths that were replaced by our own hands, against genuine clips that went through the same codec.
A cue earns a place only if it holds on both.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura.detectors.visual import NAMES
from aura.explain.cam import CamNetwork
from aura.faces import CROP_SIDE, FaceDetector, align
from aura.media import decode, probe
from aura.metrics import auc_interval
from aura.pictures import Frame
from aura.training.lite.partial import STEADY
from aura.training.lite.sets import MOUTH_WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.evaluation import LabelledClip
    from aura.training.lite.judge import Judged

    Image = NDArray[np.uint8]
    Floats = NDArray[np.float32]

PICTURES = 250  # neighbouring ones, from the beginning: 10 s
FEWEST = 25
PAIRS = 8  # of neighbouring pictures whose features are compared
SAME_CODEC = "crf23"  # genuine clips as the made ones were coded
# Parts of the aligned face (top, bottom, left, right), as shares of its side.
EYES = (0.36, 0.5, 0.24, 0.76)
MOUTH = (0.66, 0.86, 0.3, 0.7)
CUES = {
    "eyes: range of their edges over time (few blinks: low)": -1,
    "mouth: fine texture less that of the eyes": -1,
    "mouth: flicker less that of the eyes": 1,
    "flicker of the network's features": 1,
}


def measure(judged: Judged) -> dict[str, Any]:
    """AUC of each cue with its interval; a cue counts in the direction that was expected of it."""
    faces, network = FaceDetector(device="cpu"), CamNetwork()
    labelled = _values(judged.clips_of("dev"), faces, network)
    made = _values(judged.clips_of(MOUTH_WHOLE), faces, network)
    control = [
        one for one in _values(judged.clips_of(SAME_CODEC), faces, network) if not one[0].label
    ]
    lips = [one for one in labelled if not one[0].label or one[0].family == "lip sync"]
    parts = {
        "labelled clips, all kinds": labelled,
        "labelled clips, lip sync": lips,
        "mouths replaced by us": [*control, *made],
    }
    result: dict[str, Any] = {}
    for column, (cue, sign) in enumerate(CUES.items()):
        result[cue] = {}
        for name, rows in parts.items():
            known = [(clip, float(v[column])) for clip, v in rows if np.isfinite(v[column])]
            labels = [clip.label for clip, _ in known]
            if len(set(labels)) < 2:
                continue
            groups = [clip.group for clip, _ in known]
            area = auc_interval(labels, [sign * value for _, value in known], groups)
            result[cue][name] = {
                "auc": [round(float(x), 3) for x in (area.value, area.low, area.high)],
                "clips": [labels.count(0), labels.count(1)],
            }
    return result


def _values(
    clips: list[LabelledClip], faces: FaceDetector, network: CamNetwork
) -> list[tuple[LabelledClip, Floats]]:
    found = []
    for clip in clips:
        crops = neighbours(clip.path, faces)
        if len(crops) >= FEWEST:
            found.append((clip, cues_of(crops, network)))
    return found


def neighbours(path: Path, faces: FaceDetector) -> Image:
    """(N, 224, 224, 3) aligned faces of neighbouring pictures, by steadied landmarks."""
    crops: list[Image] = []
    box: NDArray[Any] | None = None
    steady: NDArray[Any] | None = None
    pictures = (one for one in decode(probe(path), fps=1000.0) if isinstance(one, Frame))
    for frame in islice(pictures, PICTURES):
        if frame.rgb is None:
            continue
        face = None if box is None else faces.detect_near(frame.rgb, box)
        if face is None:
            seen = faces.detect(frame.rgb)
            face, steady = (seen[0] if seen else None), None
        if face is None:
            box = None
            continue
        box = face.box
        before = face.landmarks if steady is None else steady
        steady = STEADY * before + (1 - STEADY) * face.landmarks
        crops.append(align(frame.rgb, np.asarray(steady, np.float32)))
    return np.stack(crops) if crops else np.zeros((0, CROP_SIDE, CROP_SIDE, 3), np.uint8)


def cues_of(crops: Image, network: CamNetwork) -> Floats:
    """One number for each of `CUES`."""
    luma = np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in crops]).astype(np.float32)
    eyes, mouth = _part(luma, EYES), _part(luma, MOUTH)
    edges = np.abs(np.diff(eyes, axis=1)).mean(axis=(1, 2))
    low, middle, high = np.percentile(edges, (2, 50, 98))
    first = np.linspace(0, len(crops) - 2, PAIRS).astype(int)
    looked = network.look(np.concatenate([crops[first], crops[first + 1]]))
    features = looked.features[NAMES.index("visual_blend")].mean(axis=(2, 3))
    one, other = features[:PAIRS], features[PAIRS:]
    alike = (one * other).sum(axis=1) / (
        np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1) + 1e-9
    )
    return np.array(
        [
            (high - low) / max(middle, 1e-3),
            _texture(mouth) - _texture(eyes),
            _flicker(mouth) - _flicker(eyes),
            1 - float(alike.mean()),
        ],
        np.float32,
    )


def _part(luma: Floats, where: tuple[float, float, float, float]) -> Floats:
    top, bottom, left, right = (round(share * luma.shape[1]) for share in where)
    return luma[:, top:bottom, left:right]


def _texture(part: Floats) -> float:
    """Log energy of fine detail, mean over pictures."""
    return float(np.mean([np.log1p(cv2.Laplacian(one, cv2.CV_32F).var()) for one in part]))


def _flicker(part: Floats) -> float:
    """Log of what a picture has that the mean of its neighbours has not, less motion's share."""
    middle = np.abs(part[1:-1] - (part[:-2] + part[2:]) / 2).mean()
    moved = np.abs(part[2:] - part[:-2]).mean()
    return float(np.log((middle + 0.1) / (moved + 0.1)))
