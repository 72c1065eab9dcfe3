"""Fitting a profile: detectors against what they look for, figures from left-out sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aura.evaluation import LabelledClip
from aura.profiles import load_profile
from aura.training.calibrate import cross_fitted, error_rates, fit, verdict_score

METHODS = {0: "none", 1: "face swap", 2: "driven portrait"}


def case(index, kind, blend, generated, source):
    label = int(kind > 0)
    clip = LabelledClip(Path(f"{index}.mp4"), label, METHODS[kind], str(index), source)

    def entry(name, modality, logit):
        return {
            "name": name,
            "modality": modality,
            "subject": 1,
            "status": "ok" if logit is not None else "not_applicable",
            "reason": None if logit is not None else "Too little speech.",
            "logit": logit,
            "weight": 1.0,
            "details": {},
        }

    report = {
        "prediction": {"decisive_subject": 1},
        "detectors": [
            entry("visual_blend", "visual", blend),
            entry("visual_generated", "visual", generated),
            entry("sync", "sync", None),
        ],
        "subjects": [
            {
                "id": 1,
                "first_seen": 0.0,
                "last_seen": 9.0,
                "faces_sampled": 45,
                "face_quality": 0.9,
                "face_size": 150.0,
            }
        ],
    }
    return clip, report


@pytest.fixture(scope="module")
def cases():
    """Blend rises for swaps, generated for both; each carries an offset of its own."""
    random = np.random.default_rng(4)
    made = []
    for index in range(90):
        kind = index % 3
        made.append(
            case(
                index,
                kind,
                random.normal(-4.0 + 3.0 * (kind == 1), 1.0),
                random.normal(2.0 + 3.0 * (kind > 0), 1.0),
                f"source{index % 5}",
            )
        )
    return made


def test_fitting_brings_both_detectors_to_even_odds_between_the_classes(cases):
    fitted, notes = fit(cases, load_profile("lite"))
    assert notes == []
    blend = fitted.detector("visual_blend").calibration.build()
    generated = fitted.detector("visual_generated").calibration.build()
    # Half way between the means of the two classes each is for, the odds are even.
    assert float(blend.probability(-2.5)) == pytest.approx(0.5, abs=0.1)
    assert float(generated.probability(3.5)) == pytest.approx(0.5, abs=0.1)


def test_fitted_scores_separate_swaps_whatever_portraits_do(cases):
    fitted, _ = fit(cases, load_profile("lite"))
    without, _ = fit([one for i, one in enumerate(cases) if i % 3 < 2], load_profile("lite"))
    assert fitted.detector("visual_blend") == without.detector("visual_blend")
    scores = {kind: [] for kind in METHODS}
    for index, one in enumerate(cases):
        scores[index % 3].append(verdict_score(one, fitted))
    assert np.mean(scores[0]) < 0.4
    assert np.mean(scores[1]) > 0.6
    assert np.mean(scores[0]) < np.mean(scores[2]) < np.mean(scores[1])


def test_a_detector_that_runs_backwards_is_told_and_loses_its_say(cases):
    turned = [
        (clip, {**report, "detectors": [dict(entry) for entry in report["detectors"]]})
        for clip, report in cases
    ]
    for _, report in turned:
        report["detectors"][0]["logit"] *= -1
    fitted, notes = fit(turned, load_profile("lite"))
    assert any("visual_blend" in note and "direction" in note for note in notes)
    assert fitted.detector("visual_blend").weight == 0.0
    assert fitted.detector("visual_generated").weight > 0.0


def test_cross_fitting_never_sees_the_source_that_it_scores(cases):
    results = cross_fitted(cases, load_profile("lite"))
    assert len(results) == len(cases)
    by_path = {clip.path: score for clip, score, _ in results}
    held = [one for one in cases if one[0].source == "source3"]
    fitted, _ = fit([one for one in cases if one[0].source != "source3"], load_profile("lite"))
    for one in held:
        assert by_path[one[0].path] == pytest.approx(verdict_score(one, fitted))


def test_error_rates_count_what_was_said(cases):
    clips = [clip for clip, _ in cases[:4]]
    results = [
        (clips[0], 0.9, "fake"),  # real
        (clips[1], 0.9, "fake"),
        (clips[2], 0.1, "real"),
        (clips[3], 0.5, "uncertain"),  # real
    ]
    rates = error_rates(results, "four clips")
    assert rates["real_called_manipulated"]["value"] == 0.5
    assert rates["manipulated_called_real"]["value"] == 0.5
    assert rates["uncertain"]["value"] == 0.25
