"""What a single picture, or sound alone, can be asked, and how far the verdict on it may go.

A profile is made for clips. Of a picture only its faces are judged, and its score never becomes
more than "uncertain": detectors are fitted and calibrated on clips, where many pictures of a face
are weighed together. Of sound alone only the voice is judged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aura.detectors.base import Evidence, not_applicable
from aura.fusion import NO_FACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aura.fusion import SubjectVerdict, Verdict
    from aura.interval import Interval
    from aura.media import MediaKind
    from aura.profiles import DetectorConfig, Profile

# Which modalities each kind has; "joint" networks know themselves what they lack.
HAS: Mapping[MediaKind, frozenset[str]] = {
    "video": frozenset({"visual", "temporal", "audio", "sync", "joint"}),
    "image": frozenset({"visual", "joint"}),
    "audio": frozenset({"audio", "joint"}),
}
WHY_NOT: Mapping[MediaKind, str] = {
    "video": "",
    "image": "A picture has neither motion nor sound.",
    "audio": "The file has only sound.",
}
ONE_PICTURE = (
    "One picture is too little for a verdict: the detectors are fitted to clips. "
    "The score is an indication, not a finding."
)
NO_FACE_IN_PICTURE = "No face was found, and of a picture only faces are judged."
NO_TRACE = (
    "{why} Nothing that was looked at shows a sign of manipulation, and that proves nothing: "
    "only traces that are found count."
)


def _applies(config: DetectorConfig, kind: MediaKind) -> bool:
    return config.modality in HAS[kind]


def models_for(profile: Profile, kind: MediaKind) -> tuple[str, ...]:
    """Names of the networks whose detectors can judge a file of this kind, in order."""
    needed = (one.models for one in profile.detectors if _applies(one, kind))
    return tuple(dict.fromkeys(name for models in needed for name in models))


def left_out(profile: Profile, kind: MediaKind) -> list[Evidence]:
    """`not_applicable` for every detector that a file of this kind gives nothing to look at."""
    opened = set(models_for(profile, kind))
    return [
        not_applicable(one.name, one.modality, WHY_NOT[kind])
        for one in profile.detectors
        if not (_applies(one, kind) or one.unavailable or opened.intersection(one.models))
    ]


def rules_for(profile: Profile, kind: MediaKind) -> Profile:
    """The profile as the verdict needs it: of a picture, one face must do."""
    if kind != "image":
        return profile
    evidence = profile.evidence.model_copy(update={"min_faces": 1})
    return profile.model_copy(update={"evidence": evidence})


def reserved(verdict: Verdict, kind: MediaKind, nobody: str = NO_FACE) -> Verdict:
    """The verdict with what this kind of file allows to be said.

    Args:
        verdict: from `fusion.decide`. kind: of the file. nobody: why there is no person, if so.
    """
    if kind != "image":
        decisive = verdict.decisive
        seen = any(item.score is not None for item in decisive.evidence)
        if decisive.score is None and decisive.subject is None and seen:
            decisive = replace(decisive, reason=NO_TRACE.format(why=nobody))
        elif kind == "audio" and decisive.score is None:
            decisive = replace(decisive, reason=_why_unheard(decisive.evidence))
        return replace(verdict, decisive=decisive)
    subjects = tuple(_of_picture(one) for one in verdict.subjects)
    place = [index for index, one in enumerate(verdict.subjects) if one is verdict.decisive]
    decisive = subjects[place[0]] if place else _of_picture(verdict.decisive)
    if not subjects:
        decisive = replace(decisive, reason=NO_FACE_IN_PICTURE)
    return replace(
        verdict, decisive=decisive, subjects=subjects, evidence=_moments_only(verdict.evidence)
    )


def _why_unheard(evidence: Iterable[Evidence]) -> str:
    reasons = [one.reason for one in evidence if one.modality in HAS["audio"] and one.reason]
    return f"{WHY_NOT['audio']} {' '.join(dict.fromkeys(reasons))}".strip()


def _of_picture(one: SubjectVerdict) -> SubjectVerdict:
    return replace(
        one,
        overall_class="uncertain",
        reason=ONE_PICTURE if one.score is not None else one.reason,
        interval=None if one.interval is None else _of_one_moment(one.interval),
        evidence=_moments_only(one.evidence),
        windows={},
    )


def _moments_only(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """Without windows: a picture has no length."""
    return tuple(replace(item, windows=()) for item in evidence)


def _of_one_moment(interval: Interval) -> Interval:
    told = [one for one in interval.widened_for if not one.endswith("s could be judged")]
    return replace(interval, widened_for=("there is one picture only", *told))
