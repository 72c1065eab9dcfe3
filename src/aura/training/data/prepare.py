"""From a manifest to a prepared folder: every video decoded once, in parallel, resumable.

    PREPARED/
      prepared.json     format, settings, which manifest, whether it is complete
      clips.csv         one row a prepared clip: the manifest's columns and `shard...` ones
      dropped.csv       what was left out, and why
      journal.jsonl     what became of each file: a later run takes up from here
      shards/ab/*.npz   one a video, see `shards`

A file whose size and time are known to the journal is not opened again; one whose bytes are known
is not decoded again. Labels, splits and rows come from the manifest anew in every run.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path  # noqa: TC003 - these dataclasses go to other processes
from typing import TYPE_CHECKING, Any

from aura import __version__, media
from aura.batch import write_whole
from aura.errors import InputError, InputNotFound, NoVideo, UsageError
from aura.faces import CROP_SIDE, CROP_SPAN, MIN_CONFIDENCE
from aura.media_files import VIDEO_SUFFIXES
from aura.runtime import cpu_threads, read_card, sha256_file, weights_dir
from aura.timeline import BELIEVABLE_FPS
from aura.training.data.clip import truth_of
from aura.training.data.extract import MODELS, Networks, Unusable, extract, open_networks
from aura.training.data.journal import UNTRIED, Entry, Journal
from aura.training.data.manifest import Row, read_manifest, write_manifest
from aura.training.data.prepared import CLIPS, HEAD, PREPARED_FORMAT, SHARD_COLUMNS, read_head
from aura.training.data.shards import (
    SHARD_FORMAT,
    ShardInfo,
    read_info,
    remove_partial,
    shard_name,
    write_shard,
)
from aura.training.data.workers import in_processes
from aura.windows import WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

JOURNAL = "journal.jsonl"
DROPPED = "dropped.csv"
STAGE = "preparing"
MAX_SECONDS = 30.0  # 23 MB of faces at 5 a second: twice what most data sets' clips have

# Why a file is left out, beside the reasons of `extract`.
NOT_VIDEO = "not a video"
UNREADABLE = "unreadable"
OTHER_FILE = "not the file of the manifest"
FAKE_LATER = "manipulated only later"
CRASHED = "the decoder crashed"


@dataclass(frozen=True)
class Options:
    """How clips are prepared: pictures a second (None: the contract's 5, and 10 from 1080 lines
    on), and how many seconds of a clip are kept.
    """

    fps: float | None = None
    max_seconds: float = MAX_SECONDS


@dataclass(frozen=True)
class Summary:
    """What became of a preparation: clips by (split, label), left out by reason.

    `reused` clips were known from an earlier run. `seconds`, `faces`, `speech` (seconds) and
    `size_bytes` add up all clips; `warnings` are sentences for the user.
    """

    clips: Counter[tuple[str, str]]
    dropped: Counter[str]
    reused: int
    seconds: float
    faces: int
    speech: float
    size_bytes: int
    warnings: tuple[str, ...]


def prepare(
    manifest: Path,
    out: Path,
    options: Options | None = None,
    *,
    workers: int | None = None,
    hook: Callable[[str, float, float | None], None] | None = None,
) -> Summary:
    """Prepare all videos of a manifest; run again to go on, or after the manifest has changed.

    Args:
        manifest: from `aura data import`. out: the folder to fill.
        workers: processes; as many as processors by default.
        hook: told (stage, completed, total), in files.

    Raises:
        InputNotFound, InputError: the manifest can't be read, or no video of it can be used.
        UsageError: an option makes no sense, `out` was prepared otherwise or can't be written.
        WeightsError: the network that finds faces or speech is missing or altered.
    """
    options = options or Options()
    settings = settings_of(options)
    rows = read_manifest(manifest)
    _check_columns(manifest, rows)
    head = read_head(out)
    if head is not None and head["settings"] != settings:
        raise UsageError(_otherwise(out, head["settings"], settings))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} can't be created ({error.strerror})") from None
    begin = {
        "format": PREPARED_FORMAT,
        "complete": False,
        "version": __version__,
        "manifest": manifest.name,
        "manifest_sha256": sha256_file(manifest),
        "settings": settings,
    }
    with Journal(out / JOURNAL) as journal:
        remove_partial(out)
        if head is None:  # a complete set stays one until the next is
            _write(out / HEAD, _json(begin))
        try:
            found, reused = _work_through(
                [_job(manifest, row) for row in rows],
                out,
                journal,
                options=options,
                workers=workers or cpu_threads(),
                hook=hook,
            )
        finally:
            remove_partial(out)  # of processes that were stopped
        return _finish(out, rows, found, begin, reused)


def settings_of(options: Options) -> dict[str, Any]:
    """Everything that decides what a shard holds, besides the video.

    Raises:
        UsageError: a value that makes no sense.
        WeightsError: a network's card is missing.
    """
    if options.fps is not None and not BELIEVABLE_FPS[0] <= options.fps <= BELIEVABLE_FPS[1]:
        raise UsageError(f"--fps {options.fps:g}: give a number of pictures a second, such as 5")
    if not WINDOW_SECONDS <= options.max_seconds < float("inf"):
        raise UsageError(f"--max-seconds {options.max_seconds:g}: give at least {WINDOW_SECONDS:g}")
    cards = [read_card(weights_dir() / f"{name}.json") for name in MODELS]
    return {
        "fps": options.fps,
        "max_seconds": options.max_seconds,
        "faces": "single",
        "min_confidence": MIN_CONFIDENCE,
        "crop_side": CROP_SIDE,
        "crop_span": CROP_SPAN,
        "networks": {card.name: card.sha256 for card in cards},
        "shard_format": SHARD_FORMAT,
    }


@dataclass(frozen=True)
class _Job:
    """A file to look into: as the manifest names it, where it is, and its state on disk."""

    key: Entry
    file: Path


def _work_through(
    jobs: Sequence[_Job],
    out: Path,
    journal: Journal,
    *,
    options: Options,
    workers: int,
    hook: Callable[[str, float, float | None], None] | None,
) -> tuple[dict[str, Entry], int]:
    """What became of each file, and how many were known."""
    found: dict[str, Entry] = {}
    left: list[_Job] = []
    for job in jobs:
        path = job.key.path
        before = journal.entries.get(path)
        if job.key.reason:
            found[path] = job.key
        elif before and _still_true(before, job.key, out):
            found[path] = before
        else:
            left.append(job)
    reused = sum(entry.mtime_ns != UNTRIED for entry in found.values())
    work = partial(_prepare_one, out, options)
    with closing(in_processes(work, left, min(workers, max(1, len(left))), _crashed)) as results:
        for done, entry in enumerate(results, start=1):
            journal.add(entry)
            found[entry.path] = entry
            if hook:
                hook(STAGE, done, len(left))
    return found, reused


def _job(manifest: Path, row: Row) -> _Job:
    file = manifest.parent / row.path
    key = Entry(row.path, 0, UNTRIED)
    if file.suffix.lower() not in VIDEO_SUFFIXES:
        return _Job(replace(key, reason=NOT_VIDEO), file)
    try:
        stat = file.stat()
    except OSError as error:
        return _Job(replace(key, reason=UNREADABLE, detail=str(error.strerror)), file)
    return _Job(Entry(row.path, stat.st_size, stat.st_mtime_ns), file)


def _still_true(before: Entry, now: Entry, out: Path) -> bool:
    if (before.size, before.mtime_ns) != (now.size, now.mtime_ns):
        return False
    return before.info is None or (out / before.info.shard).is_file()


@lru_cache(maxsize=1)
def _networks() -> Networks:
    return open_networks()


def _prepare_one(out: Path, options: Options, job: _Job) -> Entry:
    """One file to its shard; runs in a process of its own."""
    key = job.key
    try:
        info = media.probe(job.file)
        key = replace(key, sha256=info.sha256)
        name = shard_name(info.sha256)
        known = _known(out, name)
        if known is not None:
            return replace(key, info=known)
        footage = extract(info, _networks(), fps=options.fps, max_seconds=options.max_seconds)
    except NoVideo as error:
        return replace(key, reason=NOT_VIDEO, detail=str(error))
    except InputNotFound as error:  # permissions may change without the file doing so
        return replace(key, mtime_ns=UNTRIED, reason=UNREADABLE, detail=str(error))
    except InputError as error:
        return replace(key, reason=UNREADABLE, detail=str(error))
    if isinstance(footage, Unusable):
        return replace(key, reason=footage.reason, detail=footage.detail)
    return replace(key, info=write_shard(out, name, footage))


def _known(out: Path, name: str) -> ShardInfo | None:
    """A whole shard of the same bytes: of a copy, a touched file, or a run that was killed."""
    try:
        return read_info(out, name)
    except InputError:
        return None


def _crashed(job: _Job) -> Entry:
    detail = "or memory ran out; fewer --workers need less"
    return replace(job.key, mtime_ns=UNTRIED, reason=CRASHED, detail=detail)


def _finish(
    out: Path,
    rows: Sequence[Row],
    found: dict[str, Entry],
    head: dict[str, Any],
    reused: int,
) -> Summary:
    """Write the tables; prepared.json last, so that it is complete only when they are."""
    kept: list[tuple[Row, ShardInfo]] = []
    dropped: list[Entry] = []
    for row in rows:
        entry = _against(row, found[row.path])
        if entry.info is None:
            dropped.append(entry)
        else:
            kept.append((row, entry.info))
    _write(out / DROPPED, _dropped_table(dropped))
    reasons = Counter(entry.reason for entry in dropped)
    if not kept:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise InputError(
            f"{head['manifest']} names no video that can be trained on ({why}); "
            f"{out / DROPPED} lists them"
        )
    write_manifest(out / CLIPS, [_listed(row, info) for row, info in kept])
    clips = Counter((row.split, row.label) for row, _ in kept)
    seconds = sum(info.end - info.start for _, info in kept)
    counts = {"clips": len(kept), "dropped": len(dropped), "seconds": round(seconds, 3)}
    _write(out / HEAD, _json({**head, **counts, "complete": True}))
    return Summary(
        clips=clips,
        dropped=reasons,
        reused=reused,
        seconds=seconds,
        faces=sum(info.frames for _, info in kept),
        speech=sum(info.speech for _, info in kept),
        size_bytes=sum((out / name).stat().st_size for name in {i.shard for _, i in kept}),
        warnings=tuple(_warnings(clips, [info for _, info in kept])),
    )


def _against(row: Row, entry: Entry) -> Entry:
    """What became of a file, unless the manifest's row forbids to use it."""
    if entry.sha256 and row.sha256 and entry.sha256 != row.sha256:
        detail = "its SHA-256 differs; import the data set again if the change was meant"
        return replace(entry, reason=OTHER_FILE, detail=detail, info=None)
    info = entry.info
    if info is None:
        return entry
    if truth_of(row, (info.start, info.end), speech=info.speech > 0).spans == ():
        detail = f"after {info.end:.2f} s, where the prepared part ends; raise --max-seconds"
        return replace(entry, reason=FAKE_LATER, detail=detail, info=None)
    return entry


def _listed(row: Row, info: ShardInfo) -> Row:
    cells = (
        *(info.shard, info.content, repr(info.fps), repr(info.start), repr(info.end)),
        *(str(info.frames), f"{info.speech:.3f}", str(info.people)),
    )
    return replace(row, extra={**row.extra, **dict(zip(SHARD_COLUMNS, cells, strict=True))})


def _warnings(clips: Counter[tuple[str, str]], infos: Sequence[ShardInfo]) -> Iterable[str]:
    for split in sorted({split for split, _ in clips}):
        labels = [label for label in ("real", "fake") if clips[split, label]]
        if len(labels) == 1:
            name = f"split {split}" if split else "what has no split"
            remedy = {
                "real": "fakes have to be made of them (aura train --pairs)",
                "fake": "nothing can be learned or measured on it",
            }
            yield f"{name} has {labels[0]} clips only: {remedy[labels[0]]}"
    if len({info.fps for info in infos}) > 1:
        yield (
            "clips are sampled at different rates, as the contract has it for high resolution; "
            "--fps 5 or --fps 10 treats all alike"
        )
    several = sum(info.people > 1 for info in infos)
    if several:
        yield f"{several} clips show several people in turn: the one with most faces was kept"


def _dropped_table(dropped: Iterable[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason", "detail"])
    for entry in sorted(dropped, key=lambda entry: entry.path):
        writer.writerow([entry.path, entry.reason, entry.detail])
    # A folder's name may be no UTF-8, and details name it.
    return text.getvalue().encode("utf-8", "replace").decode()


def _check_columns(manifest: Path, rows: Sequence[Row]) -> None:
    taken = sorted({name for row in rows for name in row.extra} & set(SHARD_COLUMNS))
    if taken:
        raise UsageError(
            f"{manifest} has a column {taken[0]}, a name that a prepared set uses itself; rename it"
        )


def _otherwise(out: Path, before: dict[str, Any], now: dict[str, Any]) -> str:
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return (
        f"{out} was prepared with other settings ({'; '.join(changed)}); name another folder, or "
        "delete this one"
    )


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise UsageError(
            f"{path} can't be written ({error.strerror}); make room or name another folder, what "
            "was prepared so far stays"
        ) from None
