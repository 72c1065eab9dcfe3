"""From a data set on disk to a manifest: list, hash and probe in parallel, write.

Beside `NAME.csv` lie `NAME.dropped.csv` (what was left out and why) and `NAME.probed.jsonl`, a
journal of every file that was hashed and probed. An import that is killed goes on from the journal,
and a later one reads only files whose size or modification time has changed.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura import media
from aura.batch import write_whole
from aura.errors import InputError, InputNotFound, UsageError
from aura.training.data.listing import UNREADABLE, Dropped, Listing, Options
from aura.training.data.manifest import Row, write_manifest
from aura.training.data.picture_sets import celeb_df, dfdc, faceforensics, folders
from aura.training.data.talking_sets import av_deepfake1m, fake_av_celeb, lav_df
from aura.training.data.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

LAYOUTS: dict[str, Callable[[Path, Options], Listing]] = {
    "ffpp": faceforensics,
    "celeb-df": celeb_df,
    "dfdc": dfdc,
    "fakeavceleb": fake_av_celeb,
    "lav-df": lav_df,
    "av-deepfake1m": av_deepfake1m,
    "folders": folders,
}
STAGE = "hashing and probing"
NEVER = -1  # a modification time that no file has: look again next time


@dataclass(frozen=True)
class Probed:
    """What the journal remembers of a file; `error` instead of hash and length if unreadable."""

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""
    duration: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """What became of an import: rows by (split, label), left out by reason, taken from before."""

    rows: Counter[tuple[str, str]]
    dropped: Counter[str]
    reused: int


def import_data(
    kind: str,
    root: Path,
    out: Path,
    options: Options | None = None,
    *,
    workers: int | None = None,
    hook: Callable[[str, float, float | None], None] | None = None,
) -> Summary:
    """Write the manifest of a data set.

    Args:
        kind: a key of `LAYOUTS`. root: the data set's folder. out: the manifest, in `root` or in a
            folder above it (symbolic links count as where they stand, so read-only data can be
            linked beside the manifest).
        workers: threads; as many as processors by default.
        hook: told (stage, completed, total).

    Raises:
        UsageError: unknown kind, or `out` lies elsewhere or can't be written.
        InputNotFound, InputError: `root` is not laid out as the kind says, or holds no usable clip;
            an earlier manifest is left as it is.
    """
    if kind not in LAYOUTS:
        raise UsageError(f"{kind!r} is no known data set; choose one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise InputNotFound(f"{root} is no folder; name the one that holds the data set")
    prefix = _below(root, out)
    listing = LAYOUTS[kind](root, options or Options())
    done = _read_journal(_beside(out, "probed.jsonl"))
    rows: list[Row] = []
    reused = 0
    with _Journal(_beside(out, "probed.jsonl")) as journal:
        listed = list(listing.rows.values())
        look_up = partial(_look_up, root, done=done)
        for row, probed, fresh in in_threads(look_up, listed, workers, STAGE, hook):
            reused += not fresh
            if fresh:
                journal.add(probed)
            if probed.error:
                listing.drop(row.path, UNREADABLE, probed.error)
                continue
            path = (prefix / row.path).as_posix()
            rows.append(replace(row, path=path, sha256=probed.sha256, duration=probed.duration))
    if not rows:
        why = ", ".join(f"{count} {reason}" for reason, count in listing.reasons().items())
        raise InputError(
            f"{root} holds no clip that could be imported as {kind} ({why or 'empty'})"
        )
    _write_dropped(_beside(out, "dropped.csv"), prefix, listing.dropped)
    write_manifest(out, rows)
    return Summary(Counter((row.split, row.label) for row in rows), listing.reasons(), reused)


def _below(root: Path, out: Path) -> Path:
    """Root as seen from the manifest's folder; links are not followed."""
    folder = Path(os.path.abspath(out)).parent  # noqa: PTH100 - links kept as named
    try:
        prefix = Path(os.path.abspath(root)).relative_to(folder)  # noqa: PTH100
    except ValueError:
        raise UsageError(
            f"--out {out} must lie in {root} or in a folder above it, because a manifest names "
            "files below itself; where the data can't be written to, put a symbolic link to it "
            "beside the manifest and import the link"
        ) from None
    if not folder.is_dir():
        raise UsageError(f"--out {out}: there is no folder {folder}")
    return prefix


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}")


def _look_up(root: Path, row: Row, done: Mapping[str, Probed]) -> tuple[Row, Probed, bool]:
    """A row with what is known of its file, and whether it was looked into just now."""
    path = root / row.path
    key = os.path.abspath(path)  # noqa: PTH100 - links kept as named
    try:
        stat = path.stat()
    except OSError as error:
        return row, Probed(key, 0, NEVER, error=str(error.strerror)), True
    before = done.get(key)
    if before and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return row, before, False
    return row, _probe(path, Probed(key, stat.st_size, stat.st_mtime_ns)), True


def _probe(path: Path, key: Probed) -> Probed:
    try:
        info = media.probe(path)
    except InputNotFound as error:  # permissions may change without the file doing so
        return replace(key, mtime_ns=NEVER, error=str(error))
    except InputError as error:
        return replace(key, error=str(error))
    return replace(key, sha256=info.sha256, duration=info.duration)


def _read_journal(path: Path) -> dict[str, Probed]:
    """The last entry of each file; a line that a crash cut short is passed over."""
    done: dict[str, Probed] = {}
    if not path.is_file():
        return done
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = Probed(**json.loads(line))
        except (ValueError, TypeError):
            continue
        done[entry.path] = entry
    return done


class _Journal:
    """Grows by one line a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO

    def __enter__(self) -> _Journal:
        try:
            self._stream = self._path.open("a", encoding="utf-8")
            if self._stream.tell():
                self._stream.write("\n")  # ends a line that a crash cut short
        except OSError as error:
            raise UsageError(f"{self._path} can't be written ({error.strerror})") from None
        return self

    def __exit__(self, *_: Any) -> None:
        self._stream.close()

    def add(self, probed: Probed) -> None:
        """One line, flushed, so that a kill loses nothing but the files in hand."""
        try:
            self._stream.write(json.dumps(asdict(probed)) + "\n")
            self._stream.flush()
        except OSError as error:
            raise UsageError(f"{self._path} can't be written ({error.strerror})") from None


def _write_dropped(path: Path, prefix: Path, dropped: Sequence[Dropped]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason", "detail"])
    for one in sorted(dropped, key=lambda one: (one.path, one.reason)):
        writer.writerow([(prefix / one.path).as_posix(), one.reason, one.detail])
    try:
        write_whole(path, text.getvalue())
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror})") from None
