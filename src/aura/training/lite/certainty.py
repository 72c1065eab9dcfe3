"""Thresholds for few false alarms, with what so many genuine clips can promise.

Split-conformal (Vovk et al., 2005; for classifiers Angelopoulos and Bates, 2023): with n genuine
clips whose scores come from fits without their source, a clip is called manipulated when it scores
above the k-th smallest of them, k = ceil((n + 1)(1 - level)). The chance that the next genuine clip
like them is called so is then at most `level`; where k > n no number of these clips can promise
that, and the highest score is taken without a promise. How often it is with 95 % confidence follows
from the order statistic's Beta distribution.

A clip counts with the highest score of all its copies: recompressed ones raise the threshold for
all, and what is promised holds for clips that were sent around as well. A promise holds for clips
drawn as these were. Photographs filmed by a swaying camera can raise a
threshold, but promise nothing: they are no videos, and ask the detectors of faces alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import beta

from aura.metrics import share_interval
from aura.profiles import FalseAlarmLevel, Rate
from aura.training.calibrate import verdict_score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.training.lite.fits import Fits
    from aura.training.lite.judge import Case

LEVELS = (0.01, 0.05)
CONFIDENCE = 0.95
FINEST = 0.0001  # what a threshold is rounded up to


def threshold(scores: Sequence[float], level: float) -> tuple[float, bool, float]:
    """The score above which to call a clip manipulated, whether that keeps `level`, and a bound.

    Args:
        scores: of genuine clips, not empty. level: share of false alarms.

    Returns:
        Threshold, promised or not, and the share that is not exceeded with 95 % confidence.

    >>> threshold([i / 100 for i in range(99)], 0.01)[:2]
    (0.98, True)
    >>> threshold([0.1, 0.2], 0.05)[:2]
    (0.2, False)
    """
    ranked = np.sort(np.asarray(scores, np.float64))
    n = len(ranked)
    wanted = math.ceil((n + 1) * (1 - level) - 1e-9)
    k = min(wanted, n)
    return float(ranked[k - 1]), wanted <= n, float(beta.ppf(CONFIDENCE, n + 1 - k, k))


def left_out_scores(fits: Fits, more: Sequence[Case], left_out: str = "") -> dict[str, float]:
    """Highest score of each real clip's group, by fits without its source and `left_out`.

    Args:
        more: further real clips and copies, whose temperatures were not fitted on.
    """
    scores: dict[str, float] = {}
    everything = (*fits.cases, *more)
    for source in sorted({clip.source for clip, _ in everything} - {left_out}):
        fitted = fits.without(source, left_out)
        for case in everything:
            if case[0].source != source or case[0].label:
                continue
            score = verdict_score(case, fitted)
            if score is not None:
                scores[case[0].group] = max(score, scores.get(case[0].group, 0.0))
    return scores


def levels(fits: Fits, more: Sequence[Case]) -> tuple[list[FalseAlarmLevel], dict[str, Any]]:
    """What stands in the profile for each of `LEVELS`; and the figures by kind of material.

    The shipped threshold comes from all scores. What it does to clips of a new source is measured
    by thresholds that were found without that source.
    """
    everywhere = left_out_scores(fits, more)
    sources = sorted({clip.source for clip, _ in fits.cases})
    elsewhere = {one: left_out_scores(fits, more, one) for one in sources}
    source_of = {clip.group: clip.source for clip, _ in fits.cases}
    video = sum(group in source_of for group in everywhere)
    found = []
    worst: dict[str, Any] = {}
    for level in LEVELS:
        edge, promised, bound = _edge(everywhere, source_of, level)
        edge = math.ceil(edge / FINEST + 1e-6) * FINEST
        edges = {one: _edge(elsewhere[one], source_of, level)[0] for one in sources}
        calls = _calls_on_new_sources(fits, edges)
        over = [everywhere[g] > edges[s] for g, s in source_of.items() if g in everywhere]
        worst[f"{level:.0%}"] = _rate(sum(over), len(over)).model_dump()
        real = [called for label, called, _ in calls if not label]
        fake = [called for label, called, _ in calls if label]
        found.append(
            FalseAlarmLevel(
                level=level,
                threshold=min(round(edge, 4), 0.9999),
                clips=video,
                at_most=round(bound, 3),
                measured=_rate(sum(real), len(real)),
                uncertain=_rate(sum(unsure for _, _, unsure in calls), len(calls)),
                found=_rate(sum(fake), len(fake)),
                guaranteed=promised,
            )
        )
    figures = {
        "genuine clips": video,
        "called in the worst of their copies": worst,
        "filmed photographs": len(everywhere) - video,
        "clips alone allow with 95 % confidence": round(float(1 - 0.05 ** (1 / video)), 3),
        "needed for a promise": {f"{level:.0%}": math.ceil(1 / level) - 1 for level in LEVELS},
    }
    return found, figures


def _edge(
    scores: Mapping[str, float], clips: Mapping[str, str], level: float
) -> tuple[float, bool, float]:
    """The stricter threshold of clips alone and of all material; promise and bound of clips."""
    edge, promised, bound = threshold([s for g, s in scores.items() if g in clips], level)
    return max(edge, threshold(list(scores.values()), level)[0]), promised, bound


def _calls_on_new_sources(fits: Fits, edges: Mapping[str, float]) -> list[tuple[int, bool, bool]]:
    """Label, called manipulated, uncertain: each clip by fit and threshold without its source."""
    calls = []
    for source, edge in edges.items():
        fitted = fits.without(source)
        fake_from = max(edge, fitted.fusion.fake_from)
        for case in fits.cases:
            if case[0].source != source:
                continue
            score = verdict_score(case, fitted)
            called = score is not None and score > fake_from
            unsure = score is None or fake_from >= score > fitted.fusion.real_up_to
            calls.append((case[0].label, called, unsure))
    return calls


def _rate(hits: int, count: int) -> Rate:
    one = share_interval(hits, count)
    return Rate(
        value=round(one.value, 3), low=round(one.low, 3), high=round(one.high, 3), cases=count
    )
