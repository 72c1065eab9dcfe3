"""The manifest: one row a file, with its answer, its people, its split and its hash.

CSV (UTF-8) by default, Parquet by suffix where pyarrow is installed. Columns:

| column | meaning |
| --- | --- |
| path | relative to the manifest's folder, with forward slashes; required |
| label | real or fake; required |
| visual_label, audio_label | the same for picture and sound alone; empty = unknown or none |
| method | how a fake was made |
| identity | who is seen or heard; several people with `;` between them |
| source | the data set or place that it comes from |
| split | train, val or test; empty = none yet (`dev` is read as val) |
| licence | terms that it may be used under |
| sha256 | of the file, lower-case hex |
| duration | seconds |
| segments | JSON list of [modality, start, end] for fakes that are manipulated in parts |
| group | clips that share content: one take with all that was made of it |

Further columns are kept as they are (`extra`): subgroups, compression, the sentence that is said.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from aura.batch import write_whole
from aura.errors import InputError, InputNotFound, MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

COLUMNS = (
    *("path", "label", "visual_label", "audio_label", "method", "identity", "source"),
    *("split", "licence", "sha256", "duration", "segments", "group"),
)
REQUIRED = ("path", "label")
# Names that other manifests of this project use for the same thing.
ALIASES = {"identity_or_speaker": "identity", "source_repo": "source", "duration_s": "duration"}
LABELS = ("real", "fake")
SPLITS = ("train", "val", "test")
MODALITIES = ("visual", "audio")
PEOPLE_SEPARATOR = ";"
PARQUET = ".parquet"
SHA256_DIGITS = 64


@dataclass(frozen=True)
class Segment:
    """A manipulated stretch of one modality (`visual` or `audio`), in seconds."""

    modality: str
    start: float
    end: float


@dataclass(frozen=True)
class Row:
    """One file of a data set; see the module's first lines for what the fields mean."""

    path: str
    label: str
    visual_label: str = ""
    audio_label: str = ""
    method: str = ""
    identity: str = ""
    source: str = ""
    split: str = ""
    licence: str = ""
    sha256: str = ""
    duration: float | None = None
    segments: tuple[Segment, ...] = ()
    group: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def identities(self) -> tuple[str, ...]:
        """Everybody who is seen or heard: of a face swap both the target and the source."""
        return tuple(one.strip() for one in self.identity.split(PEOPLE_SEPARATOR) if one.strip())

    @property
    def target(self) -> int:
        """1 = fake, 0 = real: the class index that is used everywhere."""
        return int(self.label == "fake")


def read_manifest(path: Path) -> list[Row]:
    """All rows of a manifest, in its order.

    Raises:
        InputNotFound: no such file, or it may not be read.
        InputError: a value that makes no sense, named with line and column; or no row at all.
        MissingExtra: a Parquet file without pyarrow.
    """
    rows: list[Row] = []
    first_line: dict[str, int] = {}
    for line, raw in _raw_rows(path):
        row = _row(raw, _Place(path, line))
        if row.path in first_line:
            _Place(path, line).fail("path", f"{row.path!r} is on line {first_line[row.path]} too")
        first_line[row.path] = line
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no row below its header; import a data set into it first")
    return rows


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, sorted by path, as CSV or (suffix .parquet) Parquet; whole or not at all.

    Raises:
        UsageError: the file can't be written.
        MissingExtra: a Parquet file without pyarrow.
    """
    ordered = sorted(rows, key=lambda row: row.path)
    names = [*COLUMNS, *sorted({name for row in ordered for name in row.extra})]
    table = [_raw(row) for row in ordered]
    if path.suffix.lower() == PARQUET:
        _write_parquet(path, names, table)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    try:
        write_whole(path, text.getvalue())
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror})") from None


def relative_path(text: str) -> str:
    """A path as a manifest may hold it: relative, forward slashes, never upwards.

    >>> relative_path("real/a.mp4")
    'real/a.mp4'

    Raises:
        ValueError: absolute, empty, or with `..` in it.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ":" in path.parts[0][1:2]:
        raise ValueError("is no relative path; name files relative to the manifest's folder")
    if ".." in path.parts:
        raise ValueError("leads out of the manifest's folder; put the manifest above the files")
    return path.as_posix()


@dataclass(frozen=True)
class _Place:
    """Where in a manifest we are, for messages."""

    path: Path
    line: int

    def fail(self, column: str, why: str) -> None:
        raise InputError(f"{self.path}, line {self.line}, column {column}: {why}")


def _raw_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row, under this format's own column names."""
    if not path.is_file():
        raise InputNotFound(f"{path} is no file; name a manifest (CSV or Parquet)")
    rows = _parquet_rows(path) if path.suffix.lower() == PARQUET else _csv_rows(path)
    for line, raw in rows:
        yield line, {ALIASES.get(name, name): value for name, value in raw.items()}


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_header(path, reader.fieldnames or ())
            for raw in reader:
                if None in raw or None in raw.values():
                    cells = len(reader.fieldnames or ())
                    raise InputError(
                        f"{path}, line {reader.line_num}: the header names {cells} columns and "
                        "this line has another number of cells; quote cells that hold commas"
                    )
                yield reader.line_num, raw
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text; save it as UTF-8 CSV") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise InputNotFound(f"{path} can't be read ({error.strerror})") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    names = [ALIASES.get(name, name) for name in header]
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise InputError(
            f"{path}, line 1: there is no column {' and no column '.join(missing)}; "
            f"a manifest needs at least {' and '.join(REQUIRED)}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}, line 1: column {twice[0]} is there twice; keep one")


def _row(raw: Mapping[str, str], place: _Place) -> Row:
    cells = {name: value.strip() for name, value in raw.items()}
    for name in ("path", "label"):
        if not cells[name]:
            place.fail(name, "is empty and must not be")
    try:
        path = relative_path(cells["path"])
    except ValueError as error:
        place.fail("path", f"{cells['path']!r} {error}")
    split = {"dev": "val"}.get(cells.get("split", ""), cells.get("split", ""))
    row = Row(
        path=path,
        label=_one_of(cells, "label", LABELS, place),
        visual_label=_one_of(cells, "visual_label", ("", *LABELS), place),
        audio_label=_one_of(cells, "audio_label", ("", *LABELS), place),
        method=cells.get("method", ""),
        identity=cells.get("identity", ""),
        source=cells.get("source", ""),
        split=_one_of({"split": split}, "split", ("", *SPLITS), place),
        licence=cells.get("licence", ""),
        sha256=_sha256(cells.get("sha256", ""), place),
        duration=_duration(cells.get("duration", ""), place),
        segments=_segments(cells.get("segments", ""), place),
        group=cells.get("group", ""),
        extra={name: value for name, value in cells.items() if name not in COLUMNS},
    )
    if row.label == "real":
        for name in ("visual_label", "audio_label"):
            if getattr(row, name) == "fake":
                place.fail(name, "is fake although label is real")
        if row.segments:
            place.fail("segments", "names manipulated stretches although label is real")
    return row


def _one_of(cells: Mapping[str, str], name: str, allowed: Sequence[str], place: _Place) -> str:
    value = cells.get(name, "")
    if value not in allowed:
        known = ", ".join(one or "empty" for one in allowed)
        place.fail(name, f"{value!r} is none of: {known}")
    return value


def _sha256(text: str, place: _Place) -> str:
    if text and (len(text) != SHA256_DIGITS or set(text) - set("0123456789abcdef")):
        place.fail("sha256", f"{text!r} is no SHA-256 of {SHA256_DIGITS} lower-case hex digits")
    return text


def _duration(text: str, place: _Place) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        place.fail("duration", f"{text!r} is no number of seconds")
    return value


def _segments(text: str, place: _Place) -> tuple[Segment, ...]:
    if not text:
        return ()
    try:
        segments = tuple(Segment(str(m), float(start), float(end)) for m, start, end in _list(text))
    except (ValueError, TypeError):
        segments = (Segment("", 0.0, 0.0),)
    for one in segments:
        if one.modality not in MODALITIES or not 0 <= one.start < one.end < math.inf:
            place.fail(
                "segments",
                f"{text!r} is no JSON list of [visual or audio, start, end] with start before end",
            )
    return segments


def _list(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise TypeError
    return found


def _raw(row: Row) -> dict[str, str]:
    """The cells of a row."""
    raw = {name: str(getattr(row, name)) for name in COLUMNS}
    raw["duration"] = "" if row.duration is None else f"{row.duration:.3f}"
    listed = [[one.modality, one.start, one.end] for one in row.segments]
    raw["segments"] = json.dumps(listed) if listed else ""
    return {**raw, **row.extra}


def _pyarrow() -> Any:
    try:
        import pyarrow  # noqa: PLC0415 - optional, and slow to import
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("A manifest in Parquet", "parquet") from None
    return pyarrow


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as text; "line" counts them as a CSV file would, whose header is line 1."""
    arrow = _pyarrow()
    try:
        table = arrow.parquet.read_table(path)
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no Parquet file that can be read ({reason})") from None
    _check_header(path, table.column_names)
    for line, raw in enumerate(table.to_pylist(), start=2):
        yield line, {name: "" if value is None else str(value) for name, value in raw.items()}


def _write_parquet(path: Path, names: Sequence[str], table: Sequence[Mapping[str, str]]) -> None:
    arrow = _pyarrow()
    columns: dict[str, Any] = {name: [raw.get(name, "") for raw in table] for name in names}
    seconds = [float(value) if value else None for value in columns["duration"]]
    columns["duration"] = arrow.array(seconds, arrow.float64())
    partial = path.with_name(f".{path.name}.partial")
    try:
        arrow.parquet.write_table(arrow.table(columns), partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path} can't be written ({error.strerror})") from None
