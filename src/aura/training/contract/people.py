"""Validation clips in two parts: one picks the checkpoint, the other, other people, calibrates."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from aura.training.data.linked import linked, names_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.training.data.manifest import Row


def val_parts(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """The validation clips in two parts: one picks the checkpoint, the other calibrates it.

    Clips that share a person or their content (`group`) go together; where that would leave a part
    empty, as when face swaps link everybody to everybody, only content does. The parts depend on
    the people and groups alone, not on the order of the rows, and are about equally large.

    Returns:
        Places in `rows` (select, calibrate); the second is empty when nothing can be parted.
    """
    chosen = [i for i, row in enumerate(rows) if row.split == "val"]
    for people in (True, False):
        names = {i: names_of(rows[i], people=people) for i in chosen}
        select, calibrate = _parted(rows, linked(names))
        if calibrate:
            break
    return select, calibrate


def _parted(rows: Sequence[Row], sets: list[tuple[str, list[int]]]) -> tuple[list[int], list[int]]:
    def digest(names: str, clips: list[int]) -> str:
        # A clip of which nobody knows whose it is goes by its own path.
        own = names or " ".join(sorted(rows[i].path for i in clips))
        return hashlib.sha256(own.encode()).hexdigest()

    parts: tuple[list[int], list[int]] = ([], [])
    sizes = np.zeros((2, 2))  # part, class
    for _, clips in sorted((digest(*one), one[1]) for one in sets):
        classes = np.bincount([rows[i].target for i in clips], minlength=2)
        gap = [np.abs(sizes[part] + classes - sizes[1 - part]).sum() for part in (0, 1)]
        part = int(gap[1] < gap[0])
        parts[part].extend(clips)
        sizes[part] += classes
    return sorted(parts[0]), sorted(parts[1])
