"""What the generators drew of the training photos, kept in files that all workers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FACE, WHOLE, MOVED = 0, 1, 2  # kinds of entries: a window of the face; all of it; all, moved


@dataclass(frozen=True)
class Entries:
    """One generator's drawings.

    `pictures` (N, 256, 256, 3) uint8 RGB; `photo` (N,) the index of the photo drawn; `kind` (N,)
    one of `FACE`, `WHOLE`, `MOVED`; `window` (N, 3) left, top and width in pixels of what was
    drawn, for `FACE`.
    """

    pictures: NDArray[np.uint8]
    photo: NDArray[np.int32]
    kind: NDArray[np.int8]
    window: NDArray[np.int16]

    def of(self, kind: int) -> NDArray[np.intp]:
        """Where the entries of one kind are."""
        return np.flatnonzero(self.kind == kind)


@dataclass(frozen=True)
class Drawing:
    """One entry: the picture (S, S, 3), its photo's index, and the window drawn."""

    picture: NDArray[np.uint8]
    photo: int
    window: tuple[int, int, int]


def write_entries(folder: Path, name: str, entries: Entries) -> None:
    """Write one generator's drawings; the pictures come last, so that they are never half there."""
    (folder / "bank").mkdir(exist_ok=True)
    path = folder / "bank" / f"{name}.npy"
    np.savez(
        path.with_suffix(".npz"), photo=entries.photo, kind=entries.kind, window=entries.window
    )
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        np.save(stream, entries.pictures)
    part.replace(path)


class Bank:
    """The drawings of a folder; those that are still being made come in as they are finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "bank"
        self._found: dict[str, Entries] = {}
        self.refresh()

    def __len__(self) -> int:
        """How many generators have drawn."""
        return len(self._found)

    def refresh(self) -> None:
        """Look for drawings that were finished since."""
        for path in sorted(self._folder.glob("*.npy")):
            if path.stem not in self._found:
                index = np.load(path.with_suffix(".npz"))
                self._found[path.stem] = Entries(
                    np.load(path, mmap_mode="r"), index["photo"], index["kind"], index["window"]
                )

    def draw(self, random: np.random.Generator, kind: int) -> Drawing | None:
        """A random entry of a kind, by a random generator; None while there is none."""
        if not self._found:
            return None
        entries = self._found[str(random.choice(sorted(self._found)))]
        places = entries.of(kind)
        if not len(places):
            return None
        place = int(random.choice(places))
        left, top, width = (int(value) for value in entries.window[place])
        return Drawing(
            np.array(entries.pictures[place]), int(entries.photo[place]), (left, top, width)
        )
