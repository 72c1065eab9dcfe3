"""Fit a profile's temperatures on clips with known answers, and measure them on left-out sources.

    aura evaluate CLIPS --jsonl FILE
    python -m aura.training.calibrate CLIPS --reports FILE [--write]

Each visual detector is calibrated on real clips against the kinds of fakes it looks for, then the
fused score against the kinds that the profile finds at all. The figures count every kind, and they
come from fits that never saw the clip's source, so they say what to expect elsewhere; what is
shipped is fitted on everything. What wear explains is left aside here (`aura.training.lite.worn`
fits it).
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura.batch import Settings, read_reports
from aura.calibration import (
    Calibration,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    limited_logit,
)
from aura.evaluation import LabelledClip, labelled_clips
from aura.metrics import Estimate, auc_interval, share_interval
from aura.profiles import CalibrationConfig, Profile, Rate, load_profile, profiles_dir
from aura.training.evidence import verdict_of
from aura.training.recipe import told

if TYPE_CHECKING:
    from collections.abc import Sequence

# What each detector looks for. Fitted against other kinds of fakes it would learn to say nothing.
LOOKS_FOR = {
    "visual_blend": ("face swap", "lip sync"),
    "visual_generated": ("face swap", "lip sync", "driven or generated portrait"),
    "temporal": ("driven or generated portrait",),
}
# Driven portraits score no higher than real clips: fitted against them the score would say nothing
# about any clip. They stay in the figures, as misses.
FOUND_KINDS = ("face swap", "lip sync")
Report = dict[str, Any]
Case = tuple[LabelledClip, Report]
Judged = tuple[LabelledClip, float, str]  # clip, score, class


def verdict_score(case: Case, profile: Profile) -> float | None:
    """The clip's fused score under another calibration."""
    return verdict_of(case[1], profile).score


def fit(cases: Sequence[Case], profile: Profile) -> tuple[Profile, list[str]]:
    """The profile with temperatures fitted on these clips, and what could not be fitted.

    What wear explains is left out of it: that is fitted afterwards (`aura.training.lite.worn`).
    """
    unworn = profile.evidence.model_copy(update={"wear": None})
    profile = profile.model_copy(update={"evidence": unworn})
    notes: list[str] = []
    detectors = []
    for config in profile.detectors:
        if config.name not in LOOKS_FOR or not _ran(cases, config.name):
            detectors.append(config)
            continue
        calibration, note = _fit_detector(cases, config.name)
        update: dict[str, Any] = {"calibration": _config(calibration)}
        if note:  # it has not earned a say: shown, not counted
            notes.append(note)
            update["weight"] = 0.0
        detectors.append(config.model_copy(update=update))
    plain = profile.fusion.model_copy(update={"calibration": CalibrationConfig()})
    fitted = profile.model_copy(update={"detectors": tuple(detectors), "fusion": plain})
    scored = [
        (clip.label, verdict_score((clip, report), fitted))
        for clip, report in cases
        if not clip.label or clip.family in FOUND_KINDS
    ]
    labels = [label for label, score in scored if score is not None]
    logits = [limited_logit(score) for _, score in scored if score is not None]
    final = CalibrationConfig()
    if logits:  # else no detector has a say about these clips
        final = _config(fit_temperature(logits, labels))
    fusion = fitted.fusion.model_copy(update={"calibration": final})
    return fitted.model_copy(update={"fusion": fusion}), notes


def _config(calibration: Calibration) -> CalibrationConfig:
    return CalibrationConfig(
        temperature=round(calibration.temperature, 4), bias=round(calibration.bias, 4)
    )


def _ran(cases: Sequence[Case], name: str) -> bool:
    return any(
        entry["name"] == name and entry["status"] == "ok"
        for _, report in cases
        for entry in report["detectors"]
    )


def _fit_detector(cases: Sequence[Case], name: str) -> tuple[Calibration, str | None]:
    logits, labels = [], []
    for clip, report in cases:
        if clip.label and clip.family not in LOOKS_FOR[name]:
            continue
        person = report["prediction"]["decisive_subject"]
        for entry in report["detectors"]:
            if entry["name"] == name and entry["status"] == "ok" and entry["subject"] == person:
                logits.append(entry["logit"])
                labels.append(clip.label)
    try:
        return fit_temperature(logits, labels), None
    except ValueError as error:
        return Calibration(), f"{name}: {error}"


def cross_fitted(cases: Sequence[Case], profile: Profile) -> list[Judged]:
    """Score and class of each clip by temperatures fitted without its source."""
    results: list[Judged] = []
    for source in sorted({clip.source for clip, _ in cases}):
        fitted, _ = fit([case for case in cases if case[0].source != source], profile)
        for case in cases:
            if case[0].source == source:
                verdict = verdict_of(case[1], fitted)
                if verdict.score is not None:
                    results.append((case[0], verdict.score, verdict.overall_class))
    return results


def _rate(estimate: Estimate, cases: int) -> Rate:
    return Rate(
        value=round(estimate.value, 3),
        low=round(estimate.low, 3),
        high=round(estimate.high, 3),
        cases=cases,
    )


def error_rates(
    results: Sequence[Judged],
    data_set: str,
    command: str = "python -m aura.training.calibrate CLIPS --reports FILE",
) -> dict[str, Any]:
    """Figures of cross-fitted results as the profile shows them beside every verdict."""
    real = [one for one in results if not one[0].label]
    fake = [one for one in results if one[0].label]
    area = auc_interval(
        [one[0].label for one in results],
        [one[1] for one in results],
        [one[0].group for one in results],
    )
    shares = {
        "real_called_manipulated": (sum(one[2] == "fake" for one in real), len(real)),
        "manipulated_called_real": (sum(one[2] == "real" for one in fake), len(fake)),
        "uncertain": (sum(one[2] == "uncertain" for one in results), len(results)),
    }
    return {
        "data_set": data_set,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        **{
            name: _rate(share_interval(*counts), counts[1]).model_dump()
            for name, counts in shares.items()
        },
        "auc": _rate(area, len(results)).model_dump(),
    }


def main() -> None:
    """Fit, print the figures, and on request write the profile."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.calibrate", description=__doc__)
    parser.add_argument("folder", type=Path, help="clips with labels")
    parser.add_argument("--reports", type=Path, required=True, help="from `aura evaluate --jsonl`")
    parser.add_argument("--profile", default="lite")
    parser.add_argument("--write", action="store_true", help="write into the shipped profile")
    arguments = parser.parse_args()
    profile = load_profile(arguments.profile)
    reports = read_reports(arguments.reports, Settings(arguments.profile))
    clips = labelled_clips(arguments.folder)
    cases = [(clip, reports[clip.path]) for clip in clips if clip.path in reports]
    fitted, notes = fit(cases, profile)
    results = cross_fitted(cases, profile)
    labels = [clip.label for clip, _, _ in results]
    scores = [score for _, score, _ in results]
    description = f"{len(results)} clips for tuning, each judged by a fit without its source"
    rates = error_rates(results, description)
    for config in fitted.detectors:
        print(config.name, config.calibration)
    print("fused", fitted.fusion.calibration, *notes, sep="\n")
    print(json.dumps(rates, indent=2))
    print("Brier", round(brier_score(scores, labels), 3))
    print("ECE", round(expected_calibration_error(scores, labels, bins=5), 3))
    if arguments.write:
        path = profiles_dir() / f"{profile.name}.json"
        raw = json.loads(path.read_text(encoding="utf-8"))
        for entry, config in zip(raw["detectors"], fitted.detectors, strict=True):
            if config.name in LOOKS_FOR:
                entry["calibration"] = config.calibration.model_dump()
                entry["weight"] = config.weight
        raw["fusion"]["calibration"] = fitted.fusion.calibration.model_dump()
        raw["error_rates"] = rates
        path.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    told(main)
