"""Rows of successive faces of a prepared set, cut as the detector cuts them from a film."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aura.cuts import resized
from aura.detectors.public import CLIP_STEP, FACE_STEP, MAX_GAP
from aura.errors import InputError
from aura.training.augment import augment
from aura.training.data.clip import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from aura.training.data.clip import Clip
    from aura.training.data.prepared import PreparedSet
    from aura.training.videomae.settings import TuneSettings

    Treat = Callable[[Clip], Clip]

JUST_AFTER = 1e-6  # seconds: the last face of a row belongs to what is loaded


@dataclass(frozen=True)
class Shape:
    """What the network takes: pictures in a row, pixels a side."""

    frames: int
    side: int


def rows_of(times: Sequence[float], frames: int) -> Iterator[tuple[float, ...]]:
    """Times of successive faces as `ClipDetector` takes them: five a second, half overlapping.

    >>> [row[0] for row in rows_of([0.25 * i for i in range(24)], 16)]
    [0.0, 2.0]
    """
    row: list[float] = []
    for time in times:
        if row and time - row[-1] < FACE_STEP:
            continue
        if row and time - row[-1] > MAX_GAP:
            row = []
        row.append(time)
        if len(row) == frames:
            yield tuple(row)
            row = row[-(frames // CLIP_STEP) :]


class FaceRows:
    """The rows of one split whose answer is known, clip by clip.

    `rows` has each clip's, by its index in the prepared set; `left` how many clips have none: it
    is not known whether the picture is a fake, or the face is never seen long enough.

    Raises:
        InputError: no real or no fake clip has any, or a shard can't be read.
    """

    def __init__(self, clips: PreparedSet, split: str, shape: Shape) -> None:
        self.clips, self.shape = clips, shape
        self.rows: dict[int, list[tuple[float, ...]]] = {}
        members = clips.split(split)
        for index in members:
            if clips.truth_of(index).visual == UNKNOWN:
                continue
            if rows := list(rows_of(clips.times_of(index).tolist(), shape.frames)):
                self.rows[index] = rows
        self.left = len(members) - len(self.rows)
        self.fakes = sum(clips.truth_of(index).visual for index in self.rows)
        if not 0 < self.fakes < len(self.rows):
            raise InputError(
                f"split {split} of {clips.folder} has {len(self.rows) - self.fakes} real and "
                f"{self.fakes} fake clips with {shape.frames} faces in a row, of {len(members)} in "
                "all; both are needed, and the manifest's visual_label must say which they are "
                "(`aura data split` makes splits)"
            )

    def answer(self, index: int, row: tuple[float, ...]) -> int:
        """Whether any of these faces is a fake."""
        return self.clips.truth_of(index).within("visual", row[0], row[-1] + JUST_AFTER)

    def load(
        self, index: int, row: tuple[float, ...], treat: Treat | None = None
    ) -> NDArray[np.uint8]:
        """The faces of a row; (frames, side, side, 3) uint8 RGB."""
        clip = self.clips.load(index, (row[0], row[-1] + JUST_AFTER))
        if treat is not None:
            clip = treat(clip)
        crops = clip.faces.crops[np.isin(clip.faces.times, row)]
        side = self.shape.side
        if crops.shape[1] != side:
            crops = np.stack([resized(one, side, "linear") for one in crops])
        return crops

    def batches(
        self, epoch: int, first: int, settings: TuneSettings
    ) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
        """One random row of every clip, in random order: (B, frames, side, side, 3), answers.

        Args:
            epoch: decides all draws, with the seed. first: batch to go on with.
        """
        order = np.random.default_rng([settings.seed, epoch]).permutation(list(self.rows))
        for begin in range(first * settings.batch, len(order), settings.batch):
            faces, answers = [], []
            for index in order[begin : begin + settings.batch].tolist():
                random = np.random.default_rng([settings.seed, epoch, index])
                row = self.rows[index][int(random.integers(len(self.rows[index])))]
                treat: Treat | None = None
                if settings.augment:
                    treat = partial(augment, random=random, motion=False)
                faces.append(self.load(index, row, treat))
                answers.append(self.answer(index, row))
            yield np.stack(faces), answers
