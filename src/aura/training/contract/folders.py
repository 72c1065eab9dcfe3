"""A folder of several files that is replaced as a whole or not at all.

`begin`, fill `partial_of(folder)`, `put_in_place`.

A full folder can't be replaced in one step: a stop between the two renames leaves the old one
aside; `standing` finds it there, and the next `begin` puts it back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def partial_of(folder: Path) -> Path:
    """Where the new files are written."""
    return folder.with_name(f".{folder.name}.partial")


def begin(folder: Path) -> None:
    """Make an empty `partial_of(folder)`.

    Raises:
        OSError: it can't be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _recover(folder)
    shutil.rmtree(partial_of(folder), ignore_errors=True)
    partial_of(folder).mkdir()


def put_in_place(folder: Path) -> None:
    """Let the new files, flushed to the disk, take the place of the old ones.

    Raises:
        OSError: the disk is full or not writable.
    """
    partial, old = partial_of(folder), _old(folder)
    for path in partial.iterdir():
        path.chmod(0o644)  # the writer of weights lets nobody else read them
        _flush(path)
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def give_up(folder: Path) -> None:
    """Remove new files that could not be completed; the old ones stay."""
    shutil.rmtree(partial_of(folder), ignore_errors=True)
    with contextlib.suppress(OSError):
        _recover(folder)


def standing(folder: Path) -> Path:
    """Where the folder is: in its place, or aside when a stop came between two renames."""
    return folder if folder.exists() or not _old(folder).exists() else _old(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _recover(folder: Path) -> None:
    """Put back what a stop between two renames left aside."""
    old = _old(folder)
    if not old.exists():
        return
    if folder.exists():
        shutil.rmtree(old)
    else:
        old.replace(folder)


def _flush(path: Path) -> None:
    """To the disk itself, so that a power cut can't leave a name without its bytes."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
