"""What a public data set says about its files, before any of them is opened.

A layout is a function from the data set's folder to a `Listing`: rows without hash and length,
and what it had to leave out. Layouts read the data set's own lists; names of files decide only
where the data set publishes no list.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aura.errors import InputError, InputNotFound
from aura.media_files import VIDEO_SUFFIXES
from aura.training.data.manifest import relative_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path, PurePath

    from aura.training.data.manifest import Row

MISSING = "listed but missing"
UNLISTED = "in the tree but not listed"
TWICE = "listed twice"
CONTRADICTION = "list and folder disagree"
UNLABELLED = "no label published"
UNREADABLE = "unreadable"
BAD_NAME = "name is no UTF-8"  # a manifest is text


@dataclass(frozen=True)
class Options:
    """What a caller may choose; each layout takes what concerns it.

    `compression`: FaceForensics++, only this folder (raw, c23, c40). `splits`: FaceForensics++,
    the folder with train.json, val.json and test.json. `source` and `licence`: plain folders.
    """

    compression: str | None = None
    splits: Path | None = None
    source: str | None = None
    licence: str = ""


@dataclass(frozen=True)
class Dropped:
    """A file that did not make it into the manifest, and why."""

    path: str
    reason: str
    detail: str = ""


@dataclass
class Listing:
    """Rows by path relative to the data set's folder, and what was left out."""

    root: Path
    rows: dict[str, Row] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take a row in if its file is there and was not listed before.

        Raises:
            InputError: the list names a file outside the data set's folder.
        """
        try:
            relative_path(row.path)
        except ValueError as error:
            raise InputError(f"a list in {self.root} names {row.path!r}, which {error}") from None
        if not _is_text(row.path):
            self.drop(row.path, BAD_NAME)
        elif row.path in self.rows:
            self.drop(row.path, TWICE, f"again as {row.method or row.label}")
        elif not (self.root / row.path).is_file():
            self.drop(row.path, MISSING)
        else:
            self.rows[row.path] = row

    def drop(self, path: str, reason: str, detail: str = "") -> None:
        """Note what is left out."""
        path = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        self.dropped.append(Dropped(path, reason, detail))

    def drop_unlisted(self, present: Iterable[str]) -> None:
        """Note files that are there although no list names them."""
        known = self.rows.keys() | {one.path for one in self.dropped}
        for path in present:
            if _is_text(path) and path not in known:
                self.drop(path, UNLISTED)

    def reasons(self) -> Counter[str]:
        """How many were left out, by reason."""
        return Counter(one.reason for one in self.dropped)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def videos_below(root: Path, folder: str | PurePath = ".") -> Iterator[str]:
    """Video files below `root/folder`, as sorted paths relative to root."""
    for path in sorted((root / folder).rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
            yield path.relative_to(root).as_posix()


def read_json(path: Path) -> Any:
    """The content of a data set's own JSON file.

    Raises:
        InputNotFound: no such file. InputError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputNotFound(f"{path} can't be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON that can be read ({error})") from None


def field_of(entry: Any, name: str, where: str) -> Any:
    """A field that an entry of a list must have.

    Raises:
        InputError: it is not there.
    """
    if not isinstance(entry, dict) or name not in entry:
        raise InputError(f"{where} has no field {name!r}; is it the data set's own file?")
    return entry[name]
