"""Where a manipulation lies: rules for stretches, tuned and measured on different sources.

For each source, the rule that is best on all others finds the stretches in it. Untouched real
clips take part: a stretch that is told in one of them is a false one.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.evaluation.localisation import match
from aura.metrics import percentile_interval, resamples, share_interval
from aura.segments import SegmentRule, find_stretches
from aura.training.evidence import verdict_of
from aura.training.lite.judge import DEV
from aura.training.lite.sets import DUB_PART, FACE_PART, VOICE_PART

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.detectors.base import Modality
    from aura.evaluation import LabelledClip
    from aura.profiles import Profile
    from aura.training.lite.judge import Case, Judged
    from aura.windows import Window

MODALITY: dict[str, Modality] = {FACE_PART: "visual", VOICE_PART: "audio", DUB_PART: "sync"}
OVERLAP = 0.5
ENTER = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STAY = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
BRIDGE = (0.0, 1.0)
SHORTEST = (0.5, 1.5)
FALSE_STRETCHES = 0.05  # of untouched clips, at most: average precision alone would allow a third
# Of rules that are equally good the one that says least: it comes last.
RULES = tuple(
    SegmentRule(enter, stay, bridge, shortest)
    for enter, stay, bridge, shortest in product(ENTER, STAY, BRIDGE, SHORTEST)
    if stay <= enter
)

Stretches = list[tuple[float, float, float]]


class Finder:
    """The windows of all clips of one kind, and what each rule finds in them."""

    def __init__(self, judged: Judged, name: str, profile: Profile) -> None:
        modality = MODALITY[name]
        real = [case for case in judged.cases(DEV) if not case[0].label]
        self.clips: list[LabelledClip] = []
        self.true: list[list[tuple[float, float]]] = []
        windows: list[list[tuple[Window, ...]]] = []
        for clip, report in (*judged.cases(name), *real):
            verdict = verdict_of(report, profile, judged.profile)
            people = verdict.subjects or (verdict.decisive,)
            there = [p.windows[modality] for p in people if modality in p.windows]
            if not there and not clip.segments:
                continue  # nothing to look at, and nothing to be found
            self.clips.append(clip)
            self.true.append([(a, b) for m, a, b in clip.segments or () if m == modality])
            windows.append(there)
        self.found: list[list[Stretches]] = [
            [
                [(w.start, w.end, w.score) for one in people for w in find_stretches(one, rule)]
                for people in windows
            ]
            for rule in RULES
        ]

    def precision(self, rule: int, chosen: Sequence[int]) -> float:
        """AP of a rule over some clips."""
        return match(
            [self.found[rule][i] for i in chosen], [self.true[i] for i in chosen], OVERLAP
        ).average_precision()

    def best(self, chosen: Sequence[int]) -> int:
        """Of the rules that leave untouched clips in peace, the one with the highest AP.

        Where none does, the rules with the fewest false stretches are asked.
        """
        told = np.array([self.false_share(rule, chosen) for rule in range(len(RULES))])
        calm = np.flatnonzero(told <= max(FALSE_STRETCHES, told.min()))
        scores = np.nan_to_num([self.precision(int(rule), chosen) for rule in calm])
        return int(calm[np.flatnonzero(scores >= scores.max() - 1e-9)[-1]])

    def false_share(self, rule: int, chosen: Sequence[int]) -> float:
        """Share of untouched clips among them in which a rule finds a stretch."""
        found = [bool(self.found[rule][i]) for i in chosen if not self.true[i]]
        return sum(found) / len(found) if found else 0.0


def told_in(
    copies: Mapping[str, Sequence[Case]], profile: Profile, made_with: Profile
) -> dict[str, list[int]]:
    """Genuine clips in which a stretch of a face is told, wear left aside and not, and of how many.

    By the profile as it is shipped, which was fitted on all of them.
    """
    unworn = profile.evidence.model_copy(update={"wear": None})
    rule = profile.segment_rule("visual")
    result = {}
    for name, cases in copies.items():
        counts = []
        for one in (profile.model_copy(update={"evidence": unworn}), profile):
            people = [verdict_of(report, one, made_with).subjects for _, report in cases]
            counts.append(
                sum(
                    any(find_stretches(who.windows.get("visual", ()), rule) for who in clip)
                    for clip in people
                )
            )
        result[name] = [*counts, len(cases)]
    return result


def measure(judged: Judged, name: str, profile: Profile) -> tuple[dict[str, Any], SegmentRule]:
    """AP at IoU 0.5 by rules that never saw the source, and the rule tuned on all."""
    finder = Finder(judged, name, profile)
    sources = [clip.source for clip in finder.clips]
    everything = list(range(len(sources)))
    found: list[Stretches] = [[] for _ in everything]
    for source in sorted(set(sources)):
        mine = [i for i in everything if sources[i] == source]
        rule = finder.best([i for i in everything if sources[i] != source])
        for i in mine:
            found[i] = finder.found[rule][i]
    matches = match(found, finder.true, OVERLAP)
    groups = [clip.group for clip in finder.clips]
    draws = [matches.average_precision(weights) for weights in resamples(groups)]
    low, high = percentile_interval(np.array([d for d in draws if np.isfinite(d)]))
    real = [i for i in everything if not finder.true[i]]
    told = share_interval(sum(bool(found[i]) for i in real), len(real)) if real else None
    hit = sum(matches.right)
    return {
        "modality": MODALITY[name],
        "fakes": len(everything) - len(real),
        "real": len(real),
        "people": len(set(groups)),
        "ap": [round(float(x), 3) for x in (matches.average_precision(), low, high)],
        "stretches found": [int(hit), int(matches.true_counts.sum())],
        "real clips with a stretch": told
        and [round(float(x), 3) for x in (told.value, told.low, told.high)],
    }, RULES[finder.best(everything)]
