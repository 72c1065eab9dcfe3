"""What became of each file of a preparation, one JSON line each; survives a kill at any moment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from aura.lines import LineFile
from aura.training.data.shards import ShardInfo

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


class Journal(LineFile):
    """Entries by path, the last of each; grows by whole lines. A second run is refused."""

    entries: dict[str, Entry]

    def add(self, entry: Entry) -> None:
        """Note an entry.

        Raises:
            UsageError: the disk is full; the journal is as it was before.
        """
        self.append(json.dumps(asdict(entry)))
        self.entries[entry.path] = entry

    def read(self) -> None:
        """Take in what is there; a last line that a crash cut short is removed."""
        self.entries = {}
        end = 0
        with self.path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                entry = _parse(line)
                if entry is not None:
                    self.entries[entry.path] = entry
        self.cut(end)


def _parse(line: bytes) -> Entry | None:
    try:
        raw: dict[str, Any] = json.loads(line)
        info = raw.pop("info")
        return Entry(**raw, info=ShardInfo(**info) if info else None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
