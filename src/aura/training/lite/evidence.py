"""Evidence had back from reports, windows and all, so that other profiles can judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aura.calibration import logit, sigmoid
from aura.detectors.base import Evidence
from aura.fusion import Verdict, decide
from aura.training.calibrate import people_of
from aura.windows import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.fusion import Subject
    from aura.profiles import Profile


def rebuilt(report: Mapping[str, Any], made_with: Profile) -> tuple[list[Evidence], list[Subject]]:
    """What the detectors said before any calibration, and of whom.

    Args:
        report: as a JSON object. made_with: the profile in force then, whose calibration is in
            the windows.
    """
    evidence = [_one(entry, made_with) for entry in report["detectors"]]
    return evidence, people_of(report)


def _one(entry: Mapping[str, Any], made_with: Profile) -> Evidence:
    raw = entry["logit"]
    calibration = made_with.detector(entry["name"]).calibration

    def before(score: float) -> float:
        return float(sigmoid((float(logit(score)) - calibration.bias) * calibration.temperature))

    return Evidence(
        entry["name"],
        entry["modality"],
        entry["subject"],
        entry["status"],
        entry["reason"],
        score=None if raw is None else float(sigmoid(raw)),
        logit=raw,
        weight=entry["weight"] or 0.0,
        windows=tuple(
            Window(one["start"], one["end"], before(one["score"])) for one in entry["windows"]
        ),
        details=entry["details"],
    )


def verdict_of(report: Mapping[str, Any], made_with: Profile, profile: Profile) -> Verdict:
    """The verdict that another profile would have given."""
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
