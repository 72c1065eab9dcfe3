"""Is a data set fit to train and to measure on? What leaks between splits and between labels.

Each check gives at least one finding, also when all is well, so that a reader sees what was
looked at. `bad` findings are reasons not to trust a figure measured on this data.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from aura.errors import InputError
from aura.media_files import VIDEO_SUFFIXES
from aura.training.data.duplicates import look_alikes
from aura.training.data.looks import Look, look_at
from aura.training.data.manifest import read_manifest
from aura.training.data.shortcuts import MIN_CLIPS, Shortcut, find_shortcuts
from aura.training.data.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from aura.training.data.manifest import Row

    Hook = Callable[[str, float, float | None], None]

State = Literal["ok", "note", "bad"]

RARE_SHARE = 0.1  # a class below this share of a split makes accuracy meaningless
SENTENCE = "sentence"  # an optional column: what is said, where a corpus repeats sentences
STRONGEST = 3  # features named when only all of them together leak
STAGE = "looking at clips"


@dataclass(frozen=True)
class Finding:
    """One result of a check, in words, with all that it is about."""

    check: str
    state: State
    text: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """All findings on a manifest; `shortcuts` is empty where there were too few clips."""

    rows: int
    findings: tuple[Finding, ...]
    shortcuts: tuple[Shortcut, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing bad was found."""
        return all(one.state != "bad" for one in self.findings)


@dataclass(frozen=True)
class _Seen:
    """A row with its look, or with why there is none."""

    row: Row
    look: Look | None
    problem: str = ""


def audit(manifest: Path, *, workers: int | None = None, hook: Hook | None = None) -> Audit:
    """Check a manifest and the files that it names.

    Args:
        workers: threads; as many as processors by default. hook: told (stage, completed, total).

    Raises:
        InputError: the manifest can't be read.
    """
    rows = read_manifest(manifest)
    see = partial(_see, manifest.parent)
    seen = list(in_threads(see, rows, workers, STAGE, hook))
    shortcuts, told = _shortcuts([one for one in seen if one.look])
    findings = [
        *_files(seen),
        *_balance(rows),
        *_leakage(rows),
        *_exact_duplicates(seen),
        *_near_duplicates(seen),
        *told,
    ]
    return Audit(len(rows), tuple(findings), tuple(shortcuts))


def _see(folder: Path, row: Row) -> _Seen:
    path = folder / row.path
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        missing = "" if os.access(path, os.R_OK) else "is not there or can't be read"
        return _Seen(row, None, missing)
    try:
        return _Seen(row, look_at(path))
    except InputError as error:
        return _Seen(row, None, str(error))


def _files(seen: Sequence[_Seen]) -> Iterator[Finding]:
    broken = tuple(f"{one.row.path}: {one.problem}" for one in seen if one.problem)
    if broken:
        yield Finding("files", "bad", f"{_count(broken, 'file')} can't be read", broken)
    changed = tuple(
        one.row.path
        for one in seen
        if one.look and one.row.sha256 and one.row.sha256 != one.look.info.sha256
    )
    if changed:
        text = f"{_count(changed, 'file')} changed since the manifest was written (SHA-256 differs)"
        yield Finding("files", "bad", text, changed)
    looked = sum(one.look is not None for one in seen)
    other = len(seen) - looked - len(broken)
    if other:
        text = f"{_count(other, 'other file')}: of them only the manifest's columns are checked"
        yield Finding("files", "note", text)
    if not broken and not changed:
        yield Finding("files", "ok", f"{_count(looked, 'video')} can be decoded")


def _balance(rows: Sequence[Row]) -> Iterator[Finding]:
    splits = sorted({row.split for row in rows})
    # Real clips alone can be trained on: fakes are made of them.
    made = not any(row.target for row in rows if row.split != "test")
    for split in splits:
        counts = Counter(row.label for row in rows if row.split == split)
        name = split or ("all" if splits == [""] else "no split")
        text = f"{name}: {counts['fake']} fake, {counts['real']} real"
        rare = min(counts["fake"], counts["real"])
        if made and counts["real"] and split != "test":
            yield Finding("classes", "note", f"{text}; fakes have to be made (aura train --pairs)")
        elif not rare:
            yield Finding("classes", "bad", f"{text}; one class is missing")
        elif rare < RARE_SHARE * counts.total():
            yield Finding("classes", "note", f"{text}; weight the classes, don't quote accuracy")
        else:
            yield Finding("classes", "ok", text)


def _leakage(rows: Sequence[Row]) -> Iterator[Finding]:
    splits = {row.split for row in rows} - {""}
    if len(splits) < 2:
        yield Finding(
            "identity", "note", "fewer than two splits: nothing can leak between them yet"
        )
        return
    checks: tuple[tuple[str, str, str, Callable[[Row], Iterable[str]]], ...] = (
        ("identity", "person", "people", lambda row: row.identities),
        ("content", "group of clips", "groups of clips", lambda row: (row.group,)),
        (SENTENCE, "sentence", "sentences", lambda row: (row.extra.get(SENTENCE, ""),)),
    )
    for check, singular, plural, names_of in checks:
        places: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            for name in names_of(row):
                if name and row.split:
                    places[name].add(row.split)
        if not places:
            if check != SENTENCE:
                yield Finding(check, "note", f"the manifest names no {plural}: not checked")
            continue
        shared = tuple(
            f"{name} ({', '.join(sorted(where))})"
            for name, where in sorted(places.items())
            if len(where) > 1
        )
        number = _count(shared or len(places), singular, plural)
        if shared:
            yield Finding(check, "bad", f"{number} in more than one split", shared)
        else:
            yield Finding(check, "ok", f"{number}, each in one split only")


def _exact_duplicates(seen: Sequence[_Seen]) -> Iterator[Finding]:
    by_hash: dict[str, list[Row]] = defaultdict(list)
    for one in seen:
        if digest := one.look.info.sha256 if one.look else one.row.sha256:
            by_hash[digest].append(one.row)
    pairs = [(rows[0], other) for rows in by_hash.values() for other in rows[1:]]
    yield from _pairs("duplicates", "of files with the same bytes", pairs)
    if not pairs:
        yield Finding("duplicates", "ok", "no two files have the same bytes")


def _near_duplicates(seen: Sequence[_Seen]) -> Iterator[Finding]:
    """Look-alikes that the manifest does not know of, that is, of no common group."""
    looked = [(one.row, one.look) for one in seen if one.look]
    pairs = []
    for i, j in look_alikes([look.hashes for _, look in looked]):
        (one, first), (other, second) = looked[i], looked[j]
        same_bytes = first.info.sha256 == second.info.sha256
        if not same_bytes and not (one.group and one.group == other.group):
            pairs.append((one, other))
    yield from _pairs("look-alikes", "of videos with the same pictures and no common group", pairs)
    if not pairs:
        text = "no two videos show the same pictures without a common group"
        yield Finding("look-alikes", "ok", text)


def _pairs(check: str, what: str, pairs: Sequence[tuple[Row, Row]]) -> Iterator[Finding]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for one, other in pairs:
        if one.split and other.split and one.split != other.split:
            kind = "in two splits"
        elif one.label != other.label:
            kind = "once real, once fake"
        else:
            kind = "of one label and split"
        kinds[kind].append(f"{one.path} = {other.path}")
    for kind, found in kinds.items():
        state: State = "note" if kind == "of one label and split" else "bad"
        text = f"{_count(found, 'pair')} {what}, {kind}"
        yield Finding(check, state, text, tuple(found))


def _shortcuts(seen: Sequence[_Seen]) -> tuple[list[Shortcut], list[Finding]]:
    looks = [one.look for one in seen if one.look]
    groups = [one.row.group or one.row.path for one in seen]
    found = find_shortcuts(looks, [one.row.target for one in seen], groups)
    if not found:
        text = f"fewer than {MIN_CLIPS} videos of a class: too few to judge"
        return found, [Finding("shortcuts", "note", text)]
    together, *single = found
    text = f"a classifier that neither looks nor listens gets AUC {together.auc}"
    leaking = [one for one in single if one.leaks]
    if not leaking and not together.leaks:
        return found, [Finding("shortcuts", "ok", text)]
    examples = [f"{one.name}: AUC {one.auc}" for one in leaking]
    if not leaking:
        examples = [f"{one.name} alone: AUC {one.auc.value:.2f}" for one in single[:STRONGEST]]
        text += ", though no figure alone stands out"
    return found, [Finding("shortcuts", "bad", f"{text}; the data set leaks", tuple(examples))]


def _count(things: int | Sequence[object], singular: str, plural: str | None = None) -> str:
    number = things if isinstance(things, int) else len(things)
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
