"""Splits by people: nobody, and no content, is in two of train, val and test."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.media_files import VIDEO_SUFFIXES
from aura.training.data.linked import linked, names_of
from aura.training.data.manifest import SPLITS, read_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aura.training.data.manifest import Row

DEFAULT_SHARES = (0.6, 0.25, 0.15)  # train; val, which is halved to select and to calibrate; test


def split_by_people(
    rows: Sequence[Row],
    shares: Sequence[float] = DEFAULT_SHARES,
    seed: int = 0,
    *,
    fakes_to_test: bool = False,
) -> list[Row]:
    """The rows with new splits, about as large as asked, both classes dealt alike.

    Clips that share a person or a group are dealt together. Large sets come first, into the split
    that lacks most of their class; a hash of their names and the seed settles the order, so that a
    clip that is added later changes little.

    Args:
        shares: of train, val and test; they sum to 1.
        fakes_to_test: whoever is in a fake goes to test, and the shares hold for the others: for
            training on self-made fakes alone, and measuring on what others made.

    Raises:
        UsageError: shares that make no sense, or so few people that a split gets none.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise UsageError(f"shares {list(shares)} of train, val and test must sum to 1")
    sets = linked({i: names_of(row) for i, row in enumerate(rows)})
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    if fakes_to_test and SPLITS[-1] not in wanted:
        raise UsageError("fakes can't go to test: its share is 0")
    if len(sets) < len(wanted):
        raise UsageError(
            f"{len(sets)} people or groups can't fill {' and '.join(wanted)}: the clips share "
            "people with each other; add other people or leave out a split"
        )
    filled: dict[str, Counter[str]] = {split: Counter() for split in wanted}
    found = list(rows)
    if fakes_to_test:
        held = [i for _, clips in sets for i in clips if any(rows[k].target for k in clips)]
        for i in held:
            found[i] = replace(rows[i], split=SPLITS[-1])
        filled[SPLITS[-1]] = Counter(rows[i].label for i in held if not rows[i].target)
        sets = [one for one in sets if not any(rows[k].target for k in one[1])]
    totals = Counter(row.label for row in rows if not (fakes_to_test and row.target))
    for _, clips in sorted(sets, key=lambda one: _turn(one, rows, seed)):
        classes = Counter(rows[i].label for i in clips)
        split = max(wanted, key=lambda name: _lack(filled[name], classes, totals, shares, name))
        filled[split] += classes
        for i in clips:
            found[i] = replace(rows[i], split=split)
    empty = [split for split in wanted if not filled[split]]
    if empty:
        raise UsageError(
            f"no clips are left for {' and '.join(empty)}: most clips share people with each "
            "other; add other people or leave out that split"
        )
    return found


def _turn(one: tuple[str, list[int]], rows: Sequence[Row], seed: int) -> tuple[int, str]:
    names, clips = one
    text = names or " ".join(sorted(rows[i].path for i in clips))
    return -len(clips), hashlib.sha256(f"{seed} {text}".encode()).hexdigest()


def _lack(
    have: Counter[str],
    classes: Counter[str],
    totals: Counter[str],
    shares: Sequence[float],
    split: str,
) -> float:
    """How far a split is from its share of the classes that a set would bring, relative to it."""
    share = shares[SPLITS.index(split)]
    return sum(
        count * (1 - have[label] / (share * totals[label])) for label, count in classes.items()
    )


def split_manifest(
    manifest: Path,
    out: Path,
    shares: Sequence[float] = DEFAULT_SHARES,
    *,
    seed: int = 0,
    videos_only: bool = False,
    fakes_to_test: bool = False,
) -> list[Row]:
    """Write a manifest with new splits; the old one stays as it is.

    Args:
        out: in the manifest's folder or in one above it, since paths are relative to it.
        videos_only: leave out photos and sound files. fakes_to_test: see `split_by_people`.

    Raises:
        UsageError: a place or shares that make no sense. InputError: a manifest that can't be read.
    """
    if out.resolve() == manifest.resolve():
        raise UsageError(f"{out} is the manifest itself; name another file for the new splits")
    # Links are kept: data may be linked beside the place where manifests are kept.
    home, above = manifest.absolute().parent, out.absolute().parent
    if not home.is_relative_to(above):
        raise UsageError(
            f"{out} must be in {manifest.parent} or above it, as paths are relative to it: link "
            "the data beside it (ln -s) and name the manifest through the link"
        )
    way = PurePosixPath(home.relative_to(above).as_posix())
    rows = [
        replace(row, path=(way / row.path).as_posix())
        for row in read_manifest(manifest)
        if not videos_only or PurePosixPath(row.path).suffix.lower() in VIDEO_SUFFIXES
    ]
    if not rows:
        raise UsageError(f"{manifest} lists no video")
    found = split_by_people(rows, shares, seed, fakes_to_test=fakes_to_test)
    write_manifest(out, found)
    return found
