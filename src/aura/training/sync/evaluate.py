"""How well sound that belongs to the lips is told from sound that does not, person held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from aura.detectors.alignment import agreements, near, steps_of
from aura.detectors.speaker import Mouth
from aura.detectors.sync import MIN_SPEECH
from aura.detectors.sync_windows import (
    AROUND_SPEECH,
    MIN_SPEECH_SHARE,
    TOLERANCE,
    window_agreements,
    window_correlation,
)
from aura.training.intervals import auc_entry, share_entry
from aura.training.sync.damage import aac, with_babble
from aura.training.sync.features import hear
from aura.training.sync.fit import Fit, fit
from aura.training.sync.window_rules import (
    BOTH_WAYS,
    MOVES,
    REACH,
    TRIED,
    doubted,
    shipped,
    window_areas,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aura.detectors.alignment import Agreement, Floats, Mask
    from aura.training.sync.features import Clip
    from aura.training.sync.window_rules import Rule

SHIFTS = {"shift 0.4 s": 0.4, "shift 0.6 s": 0.6}
LARGER = {"shift 0.8 s": 0.8, "shift 1 s": 1.0}  # the calibration sees none of them
SWAP = "another clip's speech"
KINDS = (*SHIFTS, *LARGER, SWAP)
BABBLE_VOICES = 4


@dataclass(frozen=True)
class Case:
    """Lips beside some sound: `kind` says which; scores are correlations.

    `windows` are the curves of those that can be judged, up to `REACH`. `lag` is `offset` where
    the clip fits, by a threshold that others set: see `fitting`.
    """

    clip: str
    group: str
    kind: str
    correlation: float
    offset: int
    windows: tuple[Agreement, ...]
    lag: int | None = None


def speech_seconds(clip: Clip) -> float:
    """Seconds in which the mouth is seen and somebody speaks."""
    return float((clip.seen & clip.speech).sum()) / steps_of(1.0)


def speaks(clip: Clip, share: float, seconds: float) -> bool:
    """Whether a clip holds enough speech."""
    part = (clip.seen & clip.speech).sum() / max(clip.seen.sum(), 1)
    return bool(part >= share and speech_seconds(clip) >= seconds)


def chosen(clips: Sequence[Clip], config: dict[str, Any]) -> tuple[list[Clip], list[Clip]]:
    """Speaking real clips, to fit and test on; and synthetic speakers, to fit on as well."""
    enough = [
        clip
        for clip in clips
        if speaks(clip, config["min_speech_share"], config["min_speech_seconds"])
    ]
    real = [clip for clip in enough if clip.label == "real"]
    return real, [clip for clip in enough if clip.method in config["extra_methods"]]


def folds(
    tested: Sequence[Clip], pool: Sequence[Clip], config: dict[str, Any]
) -> Iterator[tuple[Fit, list[Clip]]]:
    """For each group of the tested clips: a fit on the rest of the pool, and the group's clips."""
    for group in sorted({clip.group for clip in tested}):
        rest = [clip for clip in pool if clip.group != group]
        yield fit(rest, config), [clip for clip in tested if clip.group == group]


def score(
    clip: Clip, kind: str, lips: Floats, sound: Floats, speech: Mask, *, first: int = 0
) -> Case:
    """One case. `first` is the clip's grid step at which `lips`, `sound` and `speech` begin."""
    length = min(len(lips), len(sound))
    lips, sound, speech = lips[:length], sound[:length], speech[:length]
    seen, opening = clip.seen[first : first + length], clip.opening[first : first + length]
    mask = seen & near(speech, steps_of(AROUND_SPEECH))
    whole = agreements(lips, sound, mask, [(0, length)], steps_of(TOLERANCE))[0].best()
    found = window_agreements(Mouth(lips, opening, seen), sound, speech, REACH)
    windows = tuple(one for *_, one in found if not np.isnan(window_correlation(one, None)))
    return Case(clip.name, clip.group, kind, whole[0], whole[1], windows)


def moved(clip: Clip, kind: str, lips: Floats, sound: Floats, seconds: float) -> Case:
    """A clip with its own sound that much later, or earlier if below 0."""
    steps = steps_of(abs(seconds))
    if seconds > 0:
        return score(clip, kind, lips[steps:], sound, clip.speech, first=steps)
    return score(clip, kind, lips[:-steps], sound[steps:], clip.speech[steps:])


def cases(
    tested: Sequence[Clip],
    pool: Sequence[Clip],
    config: dict[str, Any],
    *,
    in_sync_only: bool = False,
) -> list[Case]:
    """Every tested clip with its own sound, and (unless only that) shifted and foreign sound.

    Sound is shifted both ways; foreign speech comes from every tested clip of another group.
    """
    found = []
    for fitted, mine in folds(tested, pool, config):
        sounds = {clip.name: fitted.project(clip)[1] for clip in tested}
        for clip in mine:
            lips, sound = fitted.project(clip)
            found.append(score(clip, "in sync", lips, sound, clip.speech))
            if in_sync_only:
                continue
            for kind, seconds in (SHIFTS | LARGER).items():
                found += [moved(clip, kind, lips, sound, way * seconds) for way in (1, -1)]
            found += [moved(clip, f"{x:+g} s", lips, sound, x) for x in MOVES]
            found += [
                score(clip, SWAP, lips, sounds[other.name], other.speech)
                for other in tested
                if other.group != clip.group
            ]
    return [case for case in found if not np.isnan(case.correlation)]


def areas(found: Sequence[Case]) -> dict[str, Any]:
    """AUC of in sync against each kind of mismatch, by clip and by window of 2 s."""
    by_clip = {}
    for kind in KINDS:
        two = [case for case in found if case.kind in ("in sync", kind)]
        labels = [int(case.kind == kind) for case in two]
        by_clip[kind] = auc_entry(
            labels, [-case.correlation for case in two], [case.group for case in two]
        )
    return {"whole clip": by_clip, "windows of 2 s": window_areas(found, KINDS)}


def logistic(
    positive: Sequence[float], negative: Sequence[float], prior: float
) -> dict[str, float]:
    """Slope and bias of logit P(belong together) against correlation.

    Args:
        positive: correlations in sync. negative: correlations of mismatches.
        prior: how likely a clip is in sync before it was looked at; numbers of cases don't matter.
    """
    values = np.array([*positive, *negative])[:, None]
    labels = np.array([1] * len(positive) + [0] * len(negative))
    model = LogisticRegression(C=10.0, class_weight="balanced").fit(values, labels)
    bias = float(model.intercept_[0] + np.log(prior / (1 - prior)))
    return {"slope": round(float(model.coef_[0, 0]), 4), "bias": round(bias, 4)}


def evaluate(clips: Sequence[Clip], config: dict[str, Any]) -> dict[str, Any]:
    """All figures of the card, the calibration and the data, from cross-fitted scores."""
    real, extra = chosen(clips, config)
    pool = [*real, *extra]
    clean = cases(real, pool, config)
    found = fitting(clean, clean, config)
    good = [case for case in found if case.kind == "in sync"]
    bad = [case for case in found if case.kind in (*SHIFTS, SWAP)]
    parameters = {
        "clip": _clips_fit(found, config),
        "window": _windows_fit(good, bad, shipped, config),
    }
    threshold = _threshold(parameters["clip"])
    judged = {c.name for c in real if speaks(c, MIN_SPEECH_SHARE, MIN_SPEECH)}
    off = {case.clip for case in good if abs(case.offset) >= steps_of(TOLERANCE)}
    metrics: dict[str, Any] = {
        "note": "label 1 = mismatch, score = - correlation. Real dev clips with speech, each "
        "scored by a fit and a clip's threshold without its person; synthetic speakers are in "
        "every fit and in no area; shifts both ways, those of 0.8 and 1 s in no calibration; 95 % "
        "intervals by bootstrap over people",
        "all real clips with speech": areas(found),
        "those with enough speech for the detector": areas(
            [case for case in found if case.clip in judged]
        ),
        f"without those whose own sound is off by {TOLERANCE} s or more": {
            "left_out": sorted(off),
            **areas([case for case in found if case.clip not in off]),
        },
        "false alarms at the threshold": {
            "clips that the detector judges": share_entry(
                [c.correlation < threshold for c in good if c.clip in judged]
            ),
            "all real clips with speech": share_entry([c.correlation < threshold for c in good]),
        },
        "mismatches found at the threshold": {
            kind: share_entry([c.correlation < threshold for c in bad if c.kind == kind])
            for kind in (*SHIFTS, SWAP)
        },
        "rules for windows of 2 s that were tried": {
            name: window_areas(found, KINDS, rule) for name, rule in TRIED.items()
        },
        "windows above one half when their own sound is moved, above 0 later": {
            "shipped": doubted(found, _threshold(parameters["window"]), shipped),
            "0.2 s both ways": doubted(
                found, _threshold(_windows_fit(good, bad, BOTH_WAYS, config)), BOTH_WAYS
            ),
        },
        "real clips with their own sound: correlation, offset in s": _table(good),
    }
    fakes = [
        clip
        for clip in clips
        if clip.label == "fake" and speaks(clip, MIN_SPEECH_SHARE, MIN_SPEECH)
    ]
    metrics["fakes with their own sound: correlation, offset in s"] = _table(
        cases(fakes, pool, config, in_sync_only=True)
    )
    for name, changed in _damaged(real, config).items():
        found = fitting(cases(changed, pool, config), clean, config)
        alarms = [c.correlation < threshold for c in found if c.kind == "in sync"]
        metrics[name] = {**areas(found), "false alarms at the threshold": share_entry(alarms)}
    return {
        "parameters": parameters,
        "data": sorted({f"{clip.licence}; {clip.method}" for clip in pool}),
        "metrics": metrics,
    }


def fitting(found: Sequence[Case], known: Sequence[Case], config: dict[str, Any]) -> list[Case]:
    """The cases with the clip's own lag where it fits, by a threshold set on other people's.

    Args:
        found: to be told. known: cases with undamaged sound, to set thresholds on.
    """
    thresholds = {
        group: _threshold(_clips_fit([c for c in known if c.group != group], config))
        for group in {case.group for case in found}
    }
    return [replace(c, lag=c.offset) if c.correlation >= thresholds[c.group] else c for c in found]


def _clips_fit(found: Sequence[Case], config: dict[str, Any]) -> dict[str, float]:
    good = [c.correlation for c in found if c.kind == "in sync"]
    bad = [c.correlation for c in found if c.kind in (*SHIFTS, SWAP)]
    return logistic(good, bad, config["prior_in_sync"])


def _windows_fit(
    good: Sequence[Case], bad: Sequence[Case], rule: Rule, config: dict[str, Any]
) -> dict[str, float]:
    return logistic(
        [rule(case, one) for case in good for one in case.windows],
        [rule(case, one) for case in bad for one in case.windows],
        config["prior_in_sync"],
    )


def _threshold(line: dict[str, float]) -> float:
    """The correlation at which a logit is 0."""
    return -line["bias"] / line["slope"]


def _damaged(real: Sequence[Clip], config: dict[str, Any]) -> dict[str, list[Clip]]:
    """The clips with coded sound, and with others talking in the background."""
    decibels = config["babble_db"]
    noisy = []
    for index, clip in enumerate(real):
        others = [c.samples for c in (*real[index + 1 :], *real[:index]) if c.group != clip.group]
        babble = with_babble(clip.samples, others[:BABBLE_VOICES], decibels)
        noisy.append(hear(replace(clip, samples=babble)))
    coded = [hear(replace(clip, samples=aac(clip.samples))) for clip in real]
    return {"sound coded as AAC at 32 kb/s": coded, f"babble {decibels} dB below": noisy}


def _table(found: Sequence[Case]) -> dict[str, list[float]]:
    return {c.clip: [round(c.correlation, 3), c.offset / steps_of(1.0)] for c in found}
