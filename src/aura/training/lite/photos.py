"""Photographs of people that nothing was trained on, as clips: a camera sways over each.

They make up for few genuine clips where only faces are asked: a still has no motion and no voice.
Five pictures a second, which is what the detectors of faces look at; too few for lips and motion,
which abstain.
"""

from __future__ import annotations

import csv
import zlib
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from aura.evaluation import LabelledClip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

PHOTOS = {"lfw": 64, "ffhq": 16}  # how many of each collection's dev split
PICTURES = 12
FPS = 5
CRFS = (20.0, 34.0)
SWAY = 0.02  # of the picture's side


def film(data: Path, folder: Path) -> Iterator[tuple[Path, LabelledClip]]:
    """Write the clips of the dev photographs below `data` into `folder`."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [
            row
            for row in csv.DictReader(stream)
            if row["kind"] == "image" and row["label"] == "real" and row["split"] == "dev"
        ]
    for collection, count in PHOTOS.items():
        mine = sorted(
            (row for row in rows if f"/{collection}/" in row["path"]),
            key=lambda row: zlib.crc32(row["path"].encode()),
        )
        for row in mine[:count]:
            random = np.random.default_rng(zlib.crc32(row["path"].encode()))
            path = folder / f"{collection}-{len(list(folder.glob(f'{collection}-*.mp4')))}.mp4"
            photo = cv2.cvtColor(cv2.imread(str(data / row["path"])), cv2.COLOR_BGR2RGB)
            _write(path, np.asarray(photo, np.uint8), random)
            clip = LabelledClip(path, 0, "none (photograph)", row["group"], f"photos {collection}")
            yield path, clip


def _write(path: Path, photo: Image, random: np.random.Generator) -> None:
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    options = {"preset": "veryfast", "crf": f"{random.uniform(*CRFS):.0f}"}
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        turn = random.uniform(0, 6)
        for index in range(PICTURES):
            shift = SWAY * np.array([np.sin(index / 3 + turn), np.cos(index / 4 + turn)]) * width
            matrix = np.array(
                [
                    [1 + 2 * SWAY, 0, shift[0] - SWAY * width],
                    [0, 1 + 2 * SWAY, shift[1] - SWAY * height],
                ]
            )
            moved = cv2.warpAffine(
                photo, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
            )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), format="rgb24")
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
