"""Aligned faces of the photo corpora, cut once and kept in one file outside the repository."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.errors import InputNotFound
from aura.faces import CROP_SIDE, CROP_SPAN, TEMPLATE, FaceDetector, align, crop_matrix

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CANVAS_SIDE = 256  # pixels: the crop of 224 with 16 to spare on each side for random geometry
CANVAS_SPAN = CROP_SPAN * CANVAS_SIDE / CROP_SIDE  # template units, same scale as the crop
SOURCES = {"lfw": "faces/real/lfw", "ffhq": "faces/real/ffhq", "stylegan": "faces/fake/stylegan"}
MIN_CONFIDENCE = 0.8  # photos of one known person: softer than in the wild


@dataclass(frozen=True)
class Crops:
    """Aligned photos: `images` (N, 256, 256, 3) uint8 RGB and what is known of each.

    `source` names the corpus, `split` is train or dev (by person), `nose` (N, 2) float32 is nose
    tip minus template nose tip in template units.
    """

    images: NDArray[np.uint8]
    source: NDArray[np.str_]
    split: NDArray[np.str_]
    person: NDArray[np.str_]
    nose: NDArray[np.float32]

    def where(self, source: str, split: str) -> NDArray[np.intp]:
        """Indices of one corpus and split."""
        return np.flatnonzero((self.source == source) & (self.split == split))


def prepare(data: Path, out: Path) -> Crops:
    """Cut all photos listed in `data/manifest.csv` and write `out/crops.npy` and `out/crops.npz`.

    Raises:
        InputNotFound: there is no manifest.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise InputNotFound(f"{manifest} is missing; give the data folder with --data or AURA_DATA")
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] == "image"]
    detector = FaceDetector(device="cpu")
    images, source, split, person, nose = [], [], [], [], []
    for row in rows:
        photo = cv2.imread(str(data / row["path"]))
        if photo is None:
            continue
        rgb = np.ascontiguousarray(photo[..., ::-1])
        faces = detector.detect(rgb, min_confidence=MIN_CONFIDENCE)
        if not faces:
            continue
        middle = np.array([rgb.shape[1], rgb.shape[0]]) / 2
        # The subject of a portrait is its largest face near the middle.
        face = max(faces, key=lambda f: f.size - np.abs(f.landmarks.mean(0) - middle).max())
        matrix = crop_matrix(face.landmarks, 112, 112.0)
        tip = matrix[:, :2] @ face.landmarks[2] + matrix[:, 2]
        images.append(align(rgb, face.landmarks, CANVAS_SIDE, CANVAS_SPAN))
        source.append(next(name for name, folder in SOURCES.items() if folder in row["path"]))
        split.append(row["split"])
        person.append(row["identity_or_speaker"])
        nose.append(tip - TEMPLATE[2])
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "crops.npy", np.stack(images))
    shift = np.array(nose, np.float32)
    np.savez(out / "crops.npz", source=source, split=split, person=person, nose=shift)
    return load(out)


def load(out: Path) -> Crops:
    """Open what `prepare` wrote; the pictures stay on disk until they are read."""
    path = out / "crops.npy"
    if not path.is_file():
        raise InputNotFound(
            f"{path} is missing; run `python -m aura.training.visual prepare` first"
        )
    index = np.load(out / "crops.npz")
    return Crops(
        np.load(path, mmap_mode="r"),
        index["source"],
        index["split"],
        index["person"],
        index["nose"],
    )
