"""Models side by side on the clips that all of them scored, with paired bootstraps.

Each resample draws the same groups for both models, so what makes a clip easy or hard for both
cancels out (Efron and Tibshirani, 1993, chapter 16).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aura.errors import InputError, UsageError
from aura.evaluation.suite import (
    KEYS,
    REALS_NEEDED,
    Measured,
    Scores,
    clip_scores,
    figures_of,
    measure_scores,
)
from aura.metrics import RESAMPLES, Estimate, percentile_interval, resamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.evaluation.predictions import Header, Prediction


FEWEST = 2  # clips of each class; every resample of a single one is the same


class Contender(NamedTuple):
    """One evaluation: what it is called here, its header and its clips."""

    name: str
    header: Header
    clips: Sequence[Prediction]


@dataclass(frozen=True)
class Standing:
    """One model on the shared clips.

    `differences` are its figures minus the first model's, by key, with paired intervals; empty for
    the first itself. `left_out` counts its scored clips that another one did not score.
    """

    name: str
    header: Header
    measured: Measured
    differences: dict[str, Estimate]
    left_out: int
    scores: Scores


@dataclass(frozen=True)
class Comparison:
    """Models on the same clips; the first is the one that the others are held against."""

    standings: tuple[Standing, ...]
    shared: int
    matched_by: str


def compare(contenders: Sequence[Contender], count: int = RESAMPLES) -> Comparison:
    """Hold evaluations against the first one.

    Args:
        contenders: at least two. count: resamples.

    Raises:
        UsageError: fewer than two. InputError: no clip that all scored, clips that are real in one
            and fake in another, or only one class among the shared ones.
    """
    if len(contenders) < 2:
        raise UsageError("name at least two evaluation folders to compare")
    matched_by, tables = _tables(contenders)
    first = tables[0]
    keys = [key for key in first if all(key in table for table in tables[1:])]
    names = ", ".join(one.name for one in contenders)
    if not keys:
        raise InputError(
            f"there is no clip that all of {names} scored (matched by {matched_by}): they were "
            "evaluated on different clip sets and can't be compared"
        )
    for contender, table in zip(contenders[1:], tables[1:], strict=True):
        _check_answers(contenders[0], contender, [(first[key], table[key]) for key in keys])
    chosen = [[table[key] for key in keys] for table in tables]
    # The first one's groups count for all: equal draws need equal groups.
    groups = clip_scores(chosen[0]).groups
    entries = [_with_groups(clip_scores(clips), groups) for clips in chosen]
    if not 0 < entries[0].fakes < len(entries[0]):
        raise InputError(
            f"the {len(keys)} clips that all of {names} scored are of one class, which says nothing"
        )
    standings = [
        Standing(
            contender.name,
            contender.header,
            measure_scores(scores, count),
            difference(scores, entries[0], count) if index else {},
            len(tables[index]) - len(keys),
            scores,
        )
        for index, (contender, scores) in enumerate(zip(contenders, entries, strict=True))
    ]
    return Comparison(tuple(standings), len(keys), matched_by)


def difference(scores: Scores, base: Scores, count: int = RESAMPLES) -> dict[str, Estimate]:
    """Figures of `scores` minus those of `base`, entry for entry the same clips.

    Below `FEWEST` of a class the bounds are nan.
    """
    mine, theirs = figures_of(scores), figures_of(base)
    once = np.ones(len(base))
    here = mine(once) - theirs(once)
    draws = np.array([mine(weights) - theirs(weights) for weights in resamples(base.groups, count)])
    few = min(base.fakes, base.reals) < FEWEST
    return {
        key: Estimate(
            float(here[index]),
            *((np.nan, np.nan) if few else percentile_interval(draws[:, index])),
        )
        for index, key in enumerate(KEYS)
        if not np.isnan(here[index]) and base.reals >= REALS_NEEDED.get(key, 0)
    }


def _with_groups(scores: Scores, groups: np.ndarray[tuple[int], np.dtype[np.str_]]) -> Scores:
    return Scores(scores.labels, scores.scores, groups)


def _tables(contenders: Sequence[Contender]) -> tuple[str, list[dict[str, Prediction]]]:
    """Scored clips by what names them in all: their bytes where known everywhere, else the path."""
    scored = [[one for one in each.clips if one.score is not None] for each in contenders]
    hashed = all(one.sha256 for clips in scored for one in clips)
    # A data set may hold the same bytes twice; then the path has to tell them apart.
    unique = all(len({one.sha256 for one in clips}) == len(clips) for clips in scored)
    if hashed and unique:
        return "SHA-256", [{one.sha256: one for one in clips} for clips in scored]
    return "path", [{one.path: one for one in clips} for clips in scored]


def _check_answers(
    one: Contender, other: Contender, pairs: Sequence[tuple[Prediction, Prediction]]
) -> None:
    for left, right in pairs:
        if left.label != right.label:
            names = ("real", "fake")
            raise InputError(
                f"{left.path} is {names[left.label]} in {one.name} and {names[right.label]} in "
                f"{other.name}; evaluate both with the same manifest"
            )


def markdown(comparison: Comparison, keys: Sequence[str]) -> str:
    """The comparison as two Markdown tables: figures, and differences to the first."""
    first = comparison.standings[0]
    lines = [
        f"{comparison.shared} clips that all scored ({first.measured.fakes} fake, "
        f"{first.measured.reals} real, {first.measured.groups} groups), matched by "
        f"{comparison.matched_by}. Left out: "
        + "; ".join(f"{one.name} {one.left_out}" for one in comparison.standings)
        + ".",
        "",
        "| model | " + " | ".join(keys) + " |",
        "| --- |" + " --- |" * len(keys),
    ]
    for one in comparison.standings:
        cells = [str(one.measured.figures.get(key, "n/a")) for key in keys]
        lines.append(f"| {one.name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"| minus {first.name} | " + " | ".join(keys) + " |",
        "| --- |" + " --- |" * len(keys),
    ]
    for one in comparison.standings[1:]:
        cells = [signed(one.differences.get(key)) for key in keys]
        lines.append(f"| {one.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def signed(estimate: Estimate | None) -> str:
    """A difference with its sign; a star where the interval leaves out zero.

    >>> signed(Estimate(0.1, 0.02, 0.2))
    '+0.10 [+0.02, +0.20] *'
    """
    if estimate is None:
        return "n/a"
    if np.isnan(estimate.low):
        return f"{estimate.value:+.2f} [too few clips]"
    star = " *" if estimate.low > 0 or estimate.high < 0 else ""
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]{star}"
