"""All figures of an evaluation, from its predictions: by clip, window and frame, and by kind.

Intervals are percentile bootstraps over groups. The threshold of accuracy, precision, recall and
F1 is P(fake) 0.5 and was not chosen on these clips.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aura.errors import InputError
from aura.evaluation.clips import family_of
from aura.evaluation.localisation import THRESHOLDS, match
from aura.evaluation.trust import Sureness, reliability
from aura.metrics import (
    RESAMPLES,
    Confusion,
    Estimate,
    Ranking,
    percentile_interval,
    resamples,
    share_interval,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from aura.evaluation.predictions import Header, Prediction

    Floats = NDArray[np.float64]
    Key = Callable[[Prediction], str]

THRESHOLD = 0.5  # P(fake) from which on a score is called fake
# Windows and frames are many, and their intervals come from the same few groups.
RESAMPLES_BELOW_CLIPS = 500
RESAMPLES_OF_SLICES = 500
ONE_CLASS = "needs real and fake ones"
MOST_VALUES = 12  # a column of the manifest with more values is no subgroup


class Figure(NamedTuple):
    """What is measured: its key in `metrics.json`, its name, and whether more is better."""

    key: str
    name: str
    higher_is_better: bool
    meaning: str


FIGURES = (
    Figure("auc", "AUC", True, "chance that a fake scores above a real one"),
    Figure("ap", "AP", True, "area under precision over recall"),
    Figure("eer", "EER", False, "misses = false alarms"),
    Figure("fpr_at_tpr95", "FPR at 95 % TPR", False, "false alarms when 95 % are found"),
    Figure("tpr_at_fpr1", "TPR at 1 % FPR", True, "found at 1 % false alarms"),
    Figure("tpr_at_fpr01", "TPR at 0.1 % FPR", True, "found at 0.1 % false alarms"),
    Figure("accuracy", "Accuracy", True, "right answers at 0.5"),
    Figure("precision", "Precision", True, "fakes in what is called fake at 0.5"),
    Figure("recall", "Recall", True, "fakes called fake at 0.5"),
    Figure("f1", "F1", True, "harmonic mean of precision and recall at 0.5"),
    Figure("false_alarms", "False alarms", False, "real ones called fake at 0.5"),
    Figure("brier", "Brier", False, "mean squared distance of P(fake) to the answer"),
    Figure("ece", "ECE", False, "gap between P(fake) and the share of fakes, 10 bins"),
    Figure("aurc", "AURC", False, "mean risk over coverage of the reject option"),
)
KEYS = tuple(one.key for one in FIGURES)
# What a rate of false alarms needs before it can be told from none at all.
REALS_NEEDED = {"tpr_at_fpr1": 100, "tpr_at_fpr01": 1000}


@dataclass(frozen=True)
class Scores:
    """Entries of one level: labels (N,) 0 or 1, P(fake) (N,), names of groups (N,)."""

    labels: NDArray[np.int64]
    scores: Floats
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fakes(self) -> int:
        """How many are fake."""
        return int(self.labels.sum())

    @property
    def reals(self) -> int:
        """How many are real."""
        return len(self) - self.fakes


@dataclass(frozen=True)
class Measured:
    """Figures of some entries; `notes` says by key why one is missing."""

    fakes: int
    reals: int
    groups: int
    figures: dict[str, Estimate]
    notes: dict[str, str]


class Slice(NamedTuple):
    """Figures of a part of the clips: `kind` is what divides them, `name` the part."""

    kind: str
    name: str
    measured: Measured


@dataclass(frozen=True)
class Decisions:
    """What became of the clips with a verdict, by true label, and shares with Wilson intervals."""

    counts: dict[str, dict[str, int]]
    false_alarms: Estimate
    missed: Estimate
    uncertain: Estimate


@dataclass(frozen=True)
class Evaluation:
    """Everything that is measured on one file of predictions."""

    header: Header
    clips: tuple[Prediction, ...]
    levels: dict[str, Measured]
    slices: tuple[Slice, ...]
    decisions: Decisions | None
    localisation: dict[str, Estimate]
    localised: int
    """Clips of which somebody says where they are manipulated."""

    @property
    def unscored(self) -> list[Prediction]:
        """Clips without a score."""
        return [one for one in self.clips if one.score is None]


def measure(header: Header, clips: Sequence[Prediction], *, slices: bool = True) -> Evaluation:
    """Measure predictions.

    Raises:
        InputError: no clip with a score, or only one class among them.
    """
    scored = [one for one in clips if one.score is not None]
    if not scored:
        raise InputError(
            f"none of the {len(clips)} clips of {header.data} has a score, so there is nothing "
            f"to measure; the first: {clips[0].error or 'nothing to judge'}"
        )
    missing = {0, 1} - {one.label for one in scored}
    if missing:
        name = "real" if 0 in missing else "fake"
        raise InputError(
            f"{header.data} has no {name} clip with a score; an evaluation needs real and fake ones"
        )
    levels = {"clip": measure_scores(clip_scores(scored))}
    for level, entries in (("window", window_scores(scored)), ("frame", frame_scores(scored))):
        if 0 < entries.fakes < len(entries):
            levels[level] = measure_scores(entries, RESAMPLES_BELOW_CLIPS)
    located = [one for one in scored if one.label == 0 or one.segments_true is not None]
    localised = sum(one.segments_true is not None for one in located)
    return Evaluation(
        header,
        tuple(clips),
        levels,
        tuple(measure_slices(header, scored)) if slices else (),
        decisions(clips),
        measure_localisation(located) if localised else {},
        localised,
    )


def clip_scores(clips: Iterable[Prediction]) -> Scores:
    """One entry a clip with a score."""
    return _scores((one.label, one.score, one) for one in clips if one.score is not None)


def window_scores(clips: Iterable[Prediction]) -> Scores:
    """One entry a window with a known answer."""
    return _scores(
        (window.label, window.score, one)
        for one in clips
        for window in one.windows
        if window.label is not None
    )


def frame_scores(clips: Iterable[Prediction]) -> Scores:
    """One entry a picture with a known answer."""
    return _scores(
        (frame.label, frame.score, one)
        for one in clips
        for frame in one.frames
        if frame.label is not None
    )


def _scores(entries: Iterable[tuple[int, float, Prediction]]) -> Scores:
    rows = [(label, score, group_of(one)) for label, score, one in entries]
    labels, scores, groups = zip(*rows, strict=True) if rows else ((), (), ())
    return Scores(
        np.array(labels, np.int64), np.array(scores, np.float64), np.array(groups, np.str_)
    )


def group_of(clip: Prediction) -> str:
    """What is resampled as a whole: the clip's group, else its people, else the clip alone."""
    return clip.group or clip.identity or clip.path


def figures_of(entries: Scores) -> Callable[[Floats], Floats]:
    """All of `FIGURES` as a function of the entries' weights (N,), sorted once."""
    labels, scores = entries.labels, entries.scores
    ranking, sureness = Ranking(labels, scores), Sureness(labels, scores)
    squared = (scores - labels) ** 2

    def values(weights: Floats) -> Floats:
        curve = ranking.curve(weights)
        cut = Confusion.of(labels, scores, THRESHOLD, weights)
        reals = cut.alarms + cut.passed
        total = weights.sum()
        return np.array(
            [
                curve.auc,
                curve.average_precision,
                curve.equal_error_rate,
                curve.fpr_at(0.95),
                curve.tpr_at(0.01),
                curve.tpr_at(0.001),
                cut.accuracy,
                cut.precision,
                cut.recall,
                cut.f1,
                cut.alarms / reals if reals else np.nan,
                float((weights * squared).sum() / total),
                reliability(labels, scores, weights).error,
                sureness.curve(weights).area,
            ]
        )

    return values


def measure_scores(entries: Scores, count: int = RESAMPLES) -> Measured:
    """All figures of some entries; those that these entries can't give are left out with a note.

    Args:
        entries: at least one. count: resamples.
    """
    values = figures_of(entries)
    here = values(np.ones(len(entries)))
    draws = np.array([values(weights) for weights in resamples(entries.groups, count)])
    both = 0 < entries.fakes < len(entries)
    figures: dict[str, Estimate] = {}
    notes: dict[str, str] = {}
    for index, key in enumerate(KEYS):
        needed = REALS_NEEDED.get(key, 0)
        if np.isnan(here[index]):
            notes[key] = ONE_CLASS
        elif entries.reals < needed:
            notes[key] = f"needs {needed} real ones, here are {entries.reals}"
        elif not both and key in {"precision", "f1"}:
            notes[key] = ONE_CLASS
        else:
            figures[key] = Estimate(float(here[index]), *percentile_interval(draws[:, index]))
    return Measured(entries.fakes, entries.reals, len(np.unique(entries.groups)), figures, notes)


def measure_slices(header: Header, clips: Sequence[Prediction]) -> list[Slice]:
    """Figures by kind and method of fake (against all real clips), data set and subgroup."""
    found = []
    reals = [one for one in clips if not one.label]
    fakes = [one for one in clips if one.label]
    against_all: tuple[tuple[str, Key], ...] = (
        ("kind of fake", lambda one: family_of(one.label, one.method)),
        ("method", lambda one: one.method),
        ("what is fake", _fake_parts),
    )
    for kind, key in against_all:
        for name, part in _parts(fakes, key):
            found.append(_slice(kind, name, [*part, *reals]))
    divisions: list[tuple[str, Key]] = [("data set", lambda one: one.source)]
    if header.trained_on:
        known = set(header.trained_on)
        divisions.append(
            ("distribution", lambda one: "trained on" if one.source in known else "not trained on")
        )
    columns = sorted({name for one in clips for name in one.subgroups})
    divisions += [(column, _column(column)) for column in columns]
    for kind, key in divisions:
        parts = _parts(clips, key)
        if kind in {"data set", "distribution"} or 2 <= len(parts) <= MOST_VALUES:
            found += [_slice(kind, name, part) for name, part in parts]
    return found


def _column(name: str) -> Key:
    return lambda clip: clip.subgroups.get(name, "")


def _parts(clips: Iterable[Prediction], key: Key) -> list[tuple[str, list[Prediction]]]:
    parts: dict[str, list[Prediction]] = {}
    for one in clips:
        name = key(one)
        if name:
            parts.setdefault(name, []).append(one)
    return sorted(parts.items())


def _fake_parts(clip: Prediction) -> str:
    """Picture, sound or both; empty where the manifest does not say."""
    if clip.visual is None and clip.audio is None:
        return ""
    fake = [name for name, one in (("picture", clip.visual), ("sound", clip.audio)) if one == 1]
    return " and ".join(fake) or "neither picture nor sound alone"


def _slice(kind: str, name: str, clips: Sequence[Prediction]) -> Slice:
    return Slice(kind, name, measure_scores(clip_scores(clips), RESAMPLES_OF_SLICES))


def decisions(clips: Sequence[Prediction]) -> Decisions | None:
    """Verdicts by true label; None when the predictions hold no verdicts."""
    judged = [one for one in clips if one.decision is not None]
    if not judged:
        return None
    counts = {
        name: dict(Counter(str(one.decision) for one in judged if one.label == label))
        for name, label in (("real", 0), ("fake", 1))
    }
    real, fake = sum(counts["real"].values()), sum(counts["fake"].values())
    unsure = sum(one.get("uncertain", 0) for one in counts.values())
    return Decisions(
        counts,
        share_interval(counts["real"].get("fake", 0), real),
        share_interval(counts["fake"].get("real", 0), fake),
        share_interval(unsure, len(judged)),
    )


def measure_localisation(clips: Sequence[Prediction]) -> dict[str, Estimate]:
    """AP of found against true stretches at each of `THRESHOLDS`, whatever the modality."""
    found = [[(one.start, one.end, one.score) for one in clip.segments_found] for clip in clips]
    true = [_merged(clip) for clip in clips]
    groups = np.array([group_of(clip) for clip in clips])
    result = {}
    for threshold in THRESHOLDS:
        matches = match(found, true, threshold)
        draws = [
            matches.average_precision(weights)
            for weights in resamples(groups, RESAMPLES_BELOW_CLIPS)
        ]
        value = matches.average_precision()
        result[f"{threshold:g}"] = Estimate(value, *percentile_interval(draws))
    return result


def _merged(clip: Prediction) -> list[tuple[float, float]]:
    """The clip's true stretches as one row of time: a re-voiced and re-enacted second is one."""
    merged: list[tuple[float, float]] = []
    for one in sorted(clip.segments_true or (), key=lambda one: one.start):
        if merged and one.start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], one.end))
        else:
            merged.append((one.start, one.end))
    return merged
