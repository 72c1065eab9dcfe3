"""Many files in one run: one JSON line each, going on after failures, taken up where it stopped.

A line holds what identifies the analysis (path, size, modification time, profile and its hash,
version, options) and either the report or the error. A later run with the same output file skips
what is already there; broken files are not tried again until they change.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura import __version__, interrupts
from aura.errors import AuraError, InputError, UsageError
from aura.lines import LineFile
from aura.profiles import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aura.report import Report

LINE_FORMAT = "1"
LINE_START = f'{{"aura_line": "{LINE_FORMAT}"'.encode()
# Failures that lie in the bytes: the same file would fail again.
LASTING = frozenset({"input", "unreadable_media", "no_video"})


@dataclass(frozen=True)
class Settings:
    """The options that decide what a report says."""

    profile: str
    faces: str = "all"
    fps: float | None = None
    without: tuple[str, ...] = ()
    false_alarms: float | None = None

    @property
    def config_sha256(self) -> str:
        """Of the profile with what was asked for."""
        asked = chosen(self.profile, without=self.without, false_alarms=self.false_alarms)
        return asked.config_sha256


@dataclass(frozen=True)
class Key:
    """What makes two analyses the same one."""

    path: str
    size_bytes: int | None
    mtime_ns: int | None
    profile: str
    config_sha256: str
    version: str
    faces: str
    fps: float | None


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a report, an error, or neither because it was done before."""

    path: Path
    report: Report | None = None
    error_kind: str | None = None
    error: str | None = None
    skipped: bool = False


@dataclass
class Summary:
    """Counts of a run, by verdict, failure and skipping."""

    total: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    skipped: int = 0
    skipped_failures: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        if outcome.skipped:
            self.skipped += 1
            self.skipped_failures += outcome.error_kind is not None
        elif outcome.report is None:
            self.failed += 1
        else:
            self.verdicts[outcome.report.prediction.overall_class] += 1

    @property
    def any_failed(self) -> bool:
        """Whether a file of this run has no report, now or from an earlier run."""
        return bool(self.failed or self.skipped_failures)

    def __str__(self) -> str:
        files = "1 file" if self.total == 1 else f"{self.total} files"
        parts = [
            f"{self.verdicts['fake']} likely manipulated",
            f"{self.verdicts['real']} without a sign of it",
            f"{self.verdicts['uncertain']} uncertain",
            f"{self.failed} failed",
        ]
        if self.skipped:
            failed = f" ({self.skipped_failures} failed)" if self.skipped_failures else ""
            earlier = f"{self.skipped} done in an earlier run{failed}"
            parts = [earlier] if self.skipped == self.total else [*parts, earlier]
        return f"{files}: {', '.join(parts)}."


class ResultsFile(LineFile):
    """A JSON-lines file that only ever grows by whole lines.

    Opening it reads what is there, and repairs a last line that a crash cut short. `done` has the
    key of every line with its error's kind (None: it has a report).
    """

    def __init__(self, path: Path) -> None:
        self.done: dict[Key, str | None] = {}
        super().__init__(path, "--jsonl")

    def read(self) -> None:
        """Fill `done`; see `LineFile.read`."""
        end = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                entry = _parse(line)
                if entry is None and not line.endswith(b"\n") and _torn(line):
                    break
                if entry is None:
                    raise UsageError(
                        f"--jsonl {self.path} is no results file of this version (line {number}); "
                        "name another file"
                    )
                end += len(line)
                self.done[entry[0]] = entry[1]
                if not line.endswith(b"\n"):
                    self.end_line()
                    return
        self.cut(end)


def _torn(line: bytes) -> bool:
    """Whether this is the beginning of a line of ours, cut short."""
    return line.startswith(LINE_START) or LINE_START.startswith(line)


def _parse(line: bytes) -> tuple[Key, str | None] | None:
    if not line.startswith(LINE_START):
        return None
    try:
        raw = json.loads(line)
        kind = raw["error"]["kind"] if raw["error"] else None
        return Key(**raw["key"]), kind
    except (ValueError, KeyError, TypeError):
        return None


def read_reports(path: Path, settings: Settings) -> dict[Path, dict[str, Any]]:
    """The reports in a results file that were made as `settings` says, by absolute path.

    Of several about one file the last counts.
    """
    reports: dict[Path, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            raw = json.loads(line)
            key = make_key(Path(raw["path"]), settings)
            if raw["report"] is not None and asdict(key) == raw["key"]:
                reports[Path(raw["path"])] = raw["report"]
    return reports


def make_key(path: Path, settings: Settings) -> Key:
    """The key of analysing a file as it is now."""
    size: int | None = None
    mtime: int | None = None
    with contextlib.suppress(OSError):
        found = path.stat()
        size, mtime = found.st_size, found.st_mtime_ns
    return Key(
        path=_text(os.path.abspath(path)),  # noqa: PTH100 - the path as named, links kept
        size_bytes=size,
        mtime_ns=mtime,
        profile=settings.profile,
        config_sha256=settings.config_sha256,
        version=__version__,
        faces=settings.faces,
        fps=settings.fps,
    )


def _text(path: str) -> str:
    """A path as JSON can hold it, with bytes that are no UTF-8 replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def make_line(key: Key, outcome: Outcome) -> str:
    """The JSON line of one file."""
    error = None
    if outcome.report is None:
        error = {"kind": outcome.error_kind, "message": _text(outcome.error or "")}
    head: dict[str, Any] = {
        "aura_line": LINE_FORMAT,
        "path": key.path,
        "status": "failed" if error else "completed",
        "error": error,
        "key": asdict(key),
    }
    report = outcome.report.to_line() if outcome.report else "null"
    return json.dumps(head, ensure_ascii=False)[:-1] + f', "report": {report}}}'


def run_batch(
    files: Sequence[Path],
    analyze: Callable[[Path], Report],
    settings: Settings,
    *,
    results: ResultsFile | None = None,
    on_outcome: Callable[[Outcome, str | None], None] = lambda *_: None,
    explain: Callable[[Exception], str] = str,
) -> Summary:
    """Analyse files one after the other.

    Args:
        files: from `media_files.find_media`. analyze: one file to its report.
        settings: what the reports depend on.
        results: where lines go and what is skipped; None keeps nothing.
        on_outcome: called after each file with its outcome and its JSON line (None if skipped).
        explain: one sentence for an exception that nobody foresaw.

    Raises:
        AuraError: weights, environment or options are at fault, which no further file would
            escape, or the run was cancelled. What was done so far is kept.
    """
    summary = Summary(total=len(files))
    for path in files:
        key = make_key(path, settings)
        earlier = results.done.get(key, "never") if results else "never"
        if earlier is None or earlier in LASTING:
            outcome = Outcome(path, error_kind=earlier, skipped=True)
            line = None
        else:
            outcome = _attempt(path, analyze, explain)
            line = make_line(key, outcome)
            if results:
                results.append(line)
        summary.add(outcome)
        on_outcome(outcome, line)
    return summary


def _attempt(
    path: Path, analyze: Callable[[Path], Report], explain: Callable[[Exception], str]
) -> Outcome:
    try:
        return Outcome(path, report=analyze(path))
    except InputError as error:
        interrupts.look()  # the decoder may have been interrupted, and the file be sound
        return Outcome(path, error_kind=error.kind, error=str(error))
    except AuraError:
        raise
    except Exception as error:  # noqa: BLE001 - one odd file must not end a night's run
        interrupts.look()
        return Outcome(path, error_kind="internal", error=f"{path}: {explain(error)}")


def make_folder(folder: Path) -> None:
    """Create the folder for reports before any work is done.

    Raises:
        UsageError: it can't be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder} can't be created ({error.strerror})") from None


def save_report(report: Report, folder: Path) -> Path:
    """Sign a report and write `<stem>.report.json` into a folder, whole or not at all.

    A report of other bytes under that name is never overwritten: the new one's name then carries
    the first eight digits of its input's SHA-256.

    Raises:
        UsageError: the folder can't be written. ReportError: the signing key can't be used.
    """
    from aura import signing  # noqa: PLC0415 - results of many files are not signed

    signed = signing.sign(report)
    source = report.provenance.input
    stem = Path(source.name).stem or "clip"
    target = folder / f"{stem}.report.json"
    try:
        if target.exists() and not _is_about(target, source.sha256):
            target = folder / f"{stem}-{source.sha256[:8]}.report.json"
        write_whole(target, signed.to_json())
    except OSError as error:
        raise UsageError(f"--out {folder} can't be written ({error.strerror})") from None
    return target


def _is_about(path: Path, sha256: str) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["provenance"]["input"]["sha256"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(found == sha256)


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there as a whole or not at all.

    Raises:
        OSError: the folder can't be written, or the disk is full; what was there stays.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
