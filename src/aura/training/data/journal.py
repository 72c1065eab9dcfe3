"""What became of each file of a preparation, one JSON line each; survives a kill at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from aura.errors import UsageError
from aura.training.data.shards import ShardInfo

if TYPE_CHECKING:
    from pathlib import Path

UNTRIED = -1  # a modification time that no file has: looked at again next time


@dataclass(frozen=True)
class Entry:
    """A file and what became of it: `info` of its shard, or else the `reason` for leaving it out.

    `path` as the manifest has it; `size` in bytes and `mtime_ns` tell whether the file is the one
    that was read; `sha256` is empty where it could not be read.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""
    reason: str = ""
    detail: str = ""
    info: ShardInfo | None = None


class Journal:
    """Entries by path; grows by whole lines. One run at a time: a second one is refused.

    Raises:
        UsageError: the file can't be written, or another run has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise _full(path, error) from None
        try:
            self._lock()
            self.entries = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def add(self, entry: Entry) -> None:
        """Note an entry; a line is there as a whole or not at all."""
        self.entries[entry.path] = entry
        data = json.dumps(asdict(entry)).encode() + b"\n"
        before = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise _full(self._path, error) from None

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl  # noqa: PLC0415 - not on every system

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{self._path.parent} is being filled by another run; wait for it or name another "
                "folder"
            ) from None

    def _read(self) -> dict[str, Entry]:
        """The last entry of each file; a line that a crash cut short is removed."""
        entries: dict[str, Entry] = {}
        end = 0
        with self._path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                entry = _parse(line)
                if entry is not None:
                    entries[entry.path] = entry
        os.ftruncate(self._file, end)
        return entries


def _parse(line: bytes) -> Entry | None:
    try:
        raw: dict[str, Any] = json.loads(line)
        info = raw.pop("info")
        return Entry(**raw, info=ShardInfo(**info) if info else None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _full(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} can't be written ({error.strerror}); make room or name another folder, what was "
        "prepared so far stays"
    )
