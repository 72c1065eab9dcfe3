"""The table that `aura evaluate` prints: each kind of fake against all real clips.

A clip that can't be analysed or gets no score is counted and named, never scored by guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aura import media
from aura.errors import AuraError
from aura.metadata_baseline import metadata_features, mixed_folds, out_of_fold_scores
from aura.metrics import Estimate, auc_interval, bootstrap, share_interval, tpr_at_fpr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aura.evaluation.clips import LabelledClip
    from aura.evaluation.predictions import Prediction

MAX_FPR = 0.05  # the false alarms at which detection is quoted


@dataclass(frozen=True)
class Outcome:
    """What the profile said about one clip; `score` None when there was nothing to judge."""

    clip: LabelledClip
    score: float | None
    overall_class: str | None
    detectors: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


def outcome_of(clip: LabelledClip, prediction: Prediction) -> Outcome:
    """What was said about a clip, as the table wants it."""
    return Outcome(
        clip, prediction.score, prediction.decision, prediction.detectors, prediction.error
    )


@dataclass(frozen=True)
class Row:
    """One line of the table: fakes of one kind against all real clips, by one score."""

    name: str
    fakes: int
    reals: int
    auc: Estimate
    tpr: Estimate


def rows(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows for the verdict (all fakes, each family, each method), then for each detector."""
    scored = [one for one in outcomes if one.score is not None]
    table = _rows_of("verdict", scored, [float(one.score or 0.0) for one in scored], methods=True)
    for detector in sorted({name for one in scored for name in one.detectors}):
        ran = [one for one in scored if detector in one.detectors]
        table += _rows_of(detector, ran, [one.detectors[detector] for one in ran])
    return table


def _rows_of(
    name: str, outcomes: Sequence[Outcome], scores: Sequence[float], *, methods: bool = False
) -> list[Row]:
    """One score against all fakes, each family of fakes and, on request, each method."""
    clips = [one.clip for one in outcomes]
    kinds = [("all fakes", [True] * len(clips))]
    families = sorted({clip.family for clip in clips if clip.label})
    kinds += [(family, [clip.family == family for clip in clips]) for family in families]
    if methods:
        named = sorted({clip.method for clip in clips if clip.label})
        kinds += [(f"method {name}", [clip.method == name for clip in clips]) for name in named]
    table = []
    for kind, wanted in kinds:
        picked = [i for i, clip in enumerate(clips) if not clip.label or wanted[i]]
        if any(clips[i].label for i in picked):
            table.append(
                row(f"{name}: {kind}", [clips[i] for i in picked], [scores[i] for i in picked])
            )
    return table


def row(name: str, clips: Sequence[LabelledClip], scores: Sequence[float]) -> Row:
    """One line of the table; intervals resample whole groups."""
    labels = [clip.label for clip in clips]
    groups = [clip.group for clip in clips]
    return Row(
        name,
        sum(labels),
        len(labels) - sum(labels),
        auc_interval(labels, scores, groups),
        bootstrap(_found, labels, scores, groups),
    )


def _found(labels: Any, scores: Any) -> float:
    return tpr_at_fpr(labels, scores, MAX_FPR)


@dataclass(frozen=True)
class Decisions:
    """What became of the clips at the profile's own threshold."""

    false_alarms: Estimate
    missed: Estimate
    uncertain: Estimate
    unscored: tuple[str, ...]


def decisions(outcomes: Sequence[Outcome]) -> Decisions:
    """Shares of real clips called fake, fakes called real, and of clips left uncertain."""
    judged = [one for one in outcomes if one.error is None]
    real = [one for one in judged if not one.clip.label]
    fake = [one for one in judged if one.clip.label]
    return Decisions(
        share_interval(sum(one.overall_class == "fake" for one in real), len(real)),
        share_interval(sum(one.overall_class == "real" for one in fake), len(fake)),
        share_interval(sum(one.overall_class == "uncertain" for one in judged), len(judged)),
        tuple(
            f"{one.clip.path.name}: {one.error or 'nothing to judge'}"
            for one in outcomes
            if one.score is None
        ),
    )


def metadata_rows(clips: Sequence[LabelledClip]) -> list[Row]:
    """The metadata-only baseline on the same clips, folds mixed and folds by source."""
    features, kept = [], []
    for clip in clips:
        try:
            features.append(metadata_features(media.probe(clip.path)))
            kept.append(clip)
        except AuraError:
            continue
    labels = [clip.label for clip in kept]
    if len(set(labels)) < 2:
        return []
    folds: tuple[tuple[str, Sequence[Any]], ...] = (
        ("metadata only, sources mixed", mixed_folds(labels)),
        ("metadata only, source left out", [clip.source for clip in kept]),
    )
    return [
        row(name, kept, out_of_fold_scores(features, labels, fold).tolist()) for name, fold in folds
    ]


def markdown(table: Sequence[Row], outcome: Decisions) -> str:
    """The evaluation as Markdown, ready for README and cards."""
    lines = [
        f"| scores | fake / real | AUC [95 %] | found at {MAX_FPR:.0%} false alarms |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.name} | {one.fakes} / {one.reals} | {one.auc} | {one.tpr} |" for one in table
    ]
    lines += [
        "",
        f"Real clips called manipulated: {outcome.false_alarms}; manipulated clips called real: "
        f"{outcome.missed}; left uncertain: {outcome.uncertain}.",
    ]
    if outcome.unscored:
        lines += ["", "Without a score: " + "; ".join(outcome.unscored) + "."]
    return "\n".join(lines)
