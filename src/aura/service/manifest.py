"""A list of videos for `aura bulk`: CSV or Parquet with a column `path` or `url`, or one a line."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aura.errors import InputNotFound, MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PLACES = ("path", "url")  # columns that say where a video is


@dataclass(frozen=True)
class Row:
    """One video: either `path` or `url`; `columns` are the manifest's others, carried along."""

    number: int
    name: str
    path: Path | None = None
    url: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def identity(self) -> str:
        """What makes it the same video in the next run: place, and a file's size and time."""
        if self.path is None:
            return f"url\n{self.url}"
        try:
            found = self.path.stat()
        except OSError:
            return f"path\n{self.path.absolute()}"
        return f"path\n{self.path.absolute()}\n{found.st_size}\n{found.st_mtime_ns}"


def read_manifest(manifest: Path) -> list[Row]:
    """The rows, in order; paths are relative to the manifest's folder.

    Raises:
        InputNotFound: no such file. UsageError: no column that says where, or a row without it.
        MissingExtra: it is Parquet, and nothing here reads that.
    """
    try:
        raw = list(_raw_rows(manifest))
    except OSError as error:
        raise InputNotFound(f"{manifest} can't be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest} is no CSV in UTF-8 ({error})") from None
    if not raw:
        raise UsageError(f"{manifest} names no video")
    return [_row(manifest, number, values) for number, values in enumerate(raw, start=1)]


def digest_of(rows: list[Row], *parts: str) -> str:
    """Names a run: the same videos with the same options are the same run, 32 digits."""
    text = "\n\n".join([*parts, *(row.identity() for row in rows)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _raw_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    if manifest.suffix.lower() == ".parquet":
        yield from _parquet_rows(manifest)
        return
    with manifest.open(encoding="utf-8-sig", newline="") as stream:
        if manifest.suffix.lower() == ".csv":
            yield from csv.DictReader(stream)
            return
        for line in stream:
            text = line.strip()
            if text and not text.startswith("#"):
                yield {"url" if text.startswith(("http://", "https://")) else "path": text}


def _parquet_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - of no use to CSV
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("reading Parquet", "parquet") from None
    try:
        for batch in pq.ParquetFile(manifest).iter_batches():
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise UsageError(f"{manifest} is no Parquet file ({error})") from None


def _row(manifest: Path, number: int, values: dict[str, Any]) -> Row:
    columns = {str(key): "" if value is None else str(value) for key, value in values.items()}
    where = {name: columns.pop(name) for name in PLACES if columns.get(name)}
    if not where:
        raise UsageError(
            f"{manifest}, row {number}: give a `path` or a `url`; the columns are "
            f"{', '.join(map(str, values)) or 'none'}"
        )
    others = {key: value for key, value in columns.items() if key not in PLACES}
    if "path" in where:
        path = manifest.parent / where["path"]
        return Row(number, path.name, path=path, columns=others)
    return Row(number, where["url"], url=where["url"], columns=others)
