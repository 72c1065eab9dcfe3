"""Evidence had back from kept reports, so that other profiles can judge it: no network runs.

The one place where a report's numbers become evidence again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aura.calibration import logit, sigmoid
from aura.detectors.base import Evidence
from aura.fusion import OF_FACES, Subject, Verdict, decide
from aura.wear import Wear
from aura.windows import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.profiles import Profile


def rebuilt(
    report: Mapping[str, Any], made_with: Profile | None = None
) -> tuple[list[Evidence], list[Subject]]:
    """What the detectors said before any calibration, and of whom.

    Args:
        report: as a JSON object. made_with: the profile in force then, whose calibration is in
            the windows; None: windows are left out, which spares the interval's resampling.
    """
    trust = {one["id"]: one.get("face_trust") or 1.0 for one in report["subjects"]}
    evidence = [
        _one(entry, made_with, trust.get(entry["subject"], 1.0)) for entry in report["detectors"]
    ]
    return evidence, people_of(report)


def _one(entry: Mapping[str, Any], made_with: Profile | None, trust: float) -> Evidence:
    raw = entry["logit"]
    return Evidence(
        entry["name"],
        entry["modality"],
        entry["subject"],
        entry["status"],
        entry["reason"],
        score=None if raw is None else float(sigmoid(raw)),
        logit=raw,
        weight=entry["weight"] or 0.0,
        windows=() if made_with is None else _windows(entry, made_with, trust),
        details=entry["details"],
    )


def _windows(entry: Mapping[str, Any], made_with: Profile, trust: float) -> tuple[Window, ...]:
    then = made_with.detector(entry["name"]).calibration
    trust = trust if entry["modality"] in OF_FACES else 1.0

    def before(score: float) -> float:
        told = float(logit(score))
        calibrated = told / trust if told > 0 else told
        return float(sigmoid((calibrated - then.bias) * then.temperature))

    return tuple(Window(one["start"], one["end"], before(one["score"])) for one in entry["windows"])


def people_of(report: Mapping[str, Any]) -> list[Subject]:
    """The tracked people of a report."""
    return [
        Subject(
            one["id"],
            one["first_seen"],
            one["last_seen"],
            one["faces_sampled"],
            one["face_quality"],
            one["face_size"],
            _wear_of(one),
        )
        for one in report["subjects"]
    ]


def _wear_of(person: Mapping[str, Any]) -> Wear | None:
    detail, blocks = person.get("face_detail"), person.get("face_blocks")
    return None if detail is None or blocks is None else Wear(detail, blocks)


def verdict_of(
    report: Mapping[str, Any], profile: Profile, made_with: Profile | None = None
) -> Verdict:
    """The verdict that a profile gives on what a report's detectors said; see `rebuilt`."""
    evidence, subjects = rebuilt(report, made_with)
    known = {one.name for one in profile.detectors}
    return decide([e for e in evidence if e.detector in known], subjects, profile, seed="")


def without_sound(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report as if the file had no sound track: nothing that listens could judge."""
    deaf: Sequence[str] = ("audio", "sync")
    return {
        **report,
        "detectors": [
            {**e, "status": "not_applicable", "score": None, "logit": None, "windows": ()}
            if e["modality"] in deaf
            else e
            for e in report["detectors"]
        ],
    }
