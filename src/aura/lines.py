"""A text file that only ever grows by whole lines: what a long run has done so far."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Self

from aura.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class LineFile:
    """Opened for appending; one run at a time (where the system has file locks).

    Args:
        path: made if missing, with its folders. label: what it is in messages, say `--jsonl`.

    Raises:
        UsageError: it can't be written, or another run is writing it.
    """

    def __init__(self, path: Path, label: str = "") -> None:
        self.path = path
        self._name = f"{label} {path}".strip()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(f"{self._name} can't be written ({error.strerror})") from None
        try:
            self._lock()
            self.read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self) -> None:
        """Take in what is there already and `cut` what a crash left half-written."""

    def append(self, line: str) -> None:
        """Add one line, whole or not at all.

        Raises:
            UsageError: the disk is full or the file can't be written any more.
        """
        data = line.encode() + b"\n"
        before = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise UsageError(f"{self.path} can't be written ({error.strerror})") from None

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes."""
        os.ftruncate(self._file, size)

    def end_line(self) -> None:
        """Give the last line the end that it lacks."""
        os.write(self._file, b"\n")

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl  # noqa: PLC0415 - not on every system

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{self.path} is being written by another run; wait for it or name another file"
            ) from None
