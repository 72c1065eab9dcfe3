"""The verdict: weights, renormalisation, reject option, people, interval, profiles."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from made_up import SEED, heard, person, profile, silent

from aura.errors import UsageError, WeightsError
from aura.fusion import calibrate, decide
from aura.interval import WeightedWindows, resampled_logits
from aura.profiles import load_profile, profile_names, profiles_dir, read_profile


def p_of(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def decide_for_one(*evidence, using=None, faces=50, quality=0.7):
    subject = person(faces=faces, quality=quality)
    return decide(evidence, [subject], using or profile(), seed=SEED)


def test_score_is_the_weighted_mean_of_logits():
    verdict = decide_for_one(
        heard("blend", 2.0), heard("generated", -1.0), heard("sync", 3.0, modality="sync")
    )
    assert verdict.score == pytest.approx(p_of(0.5 * 2 - 0.3 * 1 + 0.2 * 3))
    assert verdict.overall_class == "fake"
    assert verdict.decisive.confidence == pytest.approx(verdict.score)


def test_detectors_that_did_not_run_leave_their_weight_to_the_others():
    verdict = decide_for_one(
        heard("blend", 2.0),
        heard("generated", -1.0),
        silent("sync", "sync", "Too little speech."),
    )
    assert verdict.score == pytest.approx(p_of((0.5 * 2 - 0.3 * 1) / 0.8))
    assert verdict.decisive.shares == pytest.approx({"blend": 0.625, "generated": 0.375})


def test_evidence_of_weight_zero_is_shown_and_not_fused():
    with_sync = decide_for_one(
        heard("blend", 1.5),
        heard("generated", 1.5),
        heard("sync", -5.0, modality="sync", weight=0.0),
    )
    assert with_sync.score == pytest.approx(p_of(1.5))
    assert "sync" not in with_sync.decisive.shares
    assert [e.score for e in with_sync.decisive.evidence if e.detector == "sync"] == [
        pytest.approx(p_of(-5.0))
    ]
    assert with_sync.decisive.agreement is None
    assert "Lips could not be judged" not in with_sync.decisive.interval.widened_for


def test_profile_calibrates_each_detector_and_the_fused_logit():
    using = profile(
        detectors=[
            {
                "name": "blend",
                "label": "Blend",
                "modality": "visual",
                "weight": 1.0,
                "calibration": {"temperature": 2.0, "bias": -0.5},
            }
        ],
        fusion={"calibration": {"temperature": 0.5, "bias": 0.25}},
    )
    verdict = decide_for_one(heard("blend", 3.0), using=using)
    assert verdict.score == pytest.approx(p_of((3.0 / 2 - 0.5) / 0.5 + 0.25))
    item = verdict.decisive.evidence[0]
    assert item.score == pytest.approx(p_of(1.0))
    assert item.logit == 3.0  # the raw number stays on record
    assert item.windows[0].score == pytest.approx(p_of(1.0))
    assert item.frames[0].score == pytest.approx(p_of(1.0))
    assert verdict.decisive.frames[0].score == pytest.approx(verdict.score)


@pytest.mark.parametrize(
    ("logit", "expected"),
    [
        (0.42, "fake"),
        (0.39, "uncertain"),
        (0.0, "uncertain"),
        (-0.39, "uncertain"),
        (-0.42, "real"),
    ],
)
def test_confidence_below_sixty_percent_is_uncertain(logit, expected):
    assert decide_for_one(heard("blend", logit)).overall_class == expected


def test_a_higher_threshold_turns_weak_fakes_into_uncertain_and_never_into_real():
    strict = profile(fusion={"threshold": 0.8})
    assert decide_for_one(heard("blend", 1.0), using=strict).overall_class == "uncertain"
    assert decide_for_one(heard("blend", 2.0), using=strict).overall_class == "fake"
    assert decide_for_one(heard("blend", -0.5), using=strict).overall_class == "real"


def test_nothing_to_judge_gives_no_score_and_a_reason():
    verdict = decide([], [], profile(), seed=SEED)
    assert verdict.overall_class == "uncertain"
    assert verdict.score is None
    assert verdict.decisive.confidence is None
    assert verdict.decisive.interval is None
    assert "No face" in verdict.decisive.reason
    assert {e.detector: e.reason for e in verdict.evidence} == {
        "blend": "No face was found.",
        "generated": "No face was found.",
        "sync": "No face was found.",
        "audio": "No model yet.",
    }


def test_detectors_that_all_abstain_give_no_score():
    verdict = decide_for_one(
        silent("blend", "visual", "Face too small."),
        silent("generated", "visual", "Face too small."),
        heard("sync", -3.0, modality="sync", weight=0.0),
    )
    assert verdict.score is None
    assert verdict.overall_class == "uncertain"


@pytest.mark.parametrize(
    ("faces", "quality", "words"),
    [(4, 0.7, "4 sampled pictures; 5"), (1, 0.7, "1 sampled picture;"), (50, 0.1, "too small")],
)
def test_too_few_or_too_poor_faces_give_no_verdict(faces, quality, words):
    verdict = decide_for_one(heard("blend", 4.0), faces=faces, quality=quality)
    assert verdict.score is None
    assert words in verdict.decisive.reason
    assert verdict.decisive.evidence[0].score == pytest.approx(p_of(4.0))


def test_clip_takes_the_worst_person_with_enough_evidence_and_lists_all():
    people = [person(0), person(1), person(2, faces=2)]
    evidence = [
        heard("blend", -3.0, subject=0),
        heard("blend", 1.0, subject=1),
        heard("blend", 5.0, subject=2),
    ]
    verdict = decide(evidence, people, profile(), seed=SEED)
    assert verdict.decisive.subject.id == 1
    assert verdict.score == pytest.approx(p_of(1.0))
    assert [(v.subject.id, v.overall_class) for v in verdict.subjects] == [
        (0, "real"),
        (1, "fake"),
        (2, "uncertain"),
    ]


def test_evidence_without_a_person_counts_for_everybody():
    using = profile(
        detectors=[
            {"name": "blend", "label": "Blend", "modality": "visual", "weight": 0.5},
            {"name": "audio", "label": "Voice", "modality": "audio", "weight": 0.5},
        ]
    )
    voice = heard("audio", 2.0, modality="audio", subject=None, frames=False)
    verdict = decide(
        [heard("blend", -1.0, subject=0), heard("blend", 1.0, subject=1), voice],
        [person(0), person(1)],
        using,
        seed=SEED,
    )
    assert [v.score for v in verdict.subjects] == [
        pytest.approx(p_of(0.5)),
        pytest.approx(p_of(1.5)),
    ]
    unseen = decide([voice], [], using, seed=SEED)
    assert unseen.score == pytest.approx(p_of(2.0))
    assert unseen.decisive.subject is None
    hardly_seen = decide([voice], [person(0, faces=1)], using, seed=SEED)
    assert hardly_seen.score == pytest.approx(p_of(2.0))


def test_contribution_is_each_modality_s_signed_share_of_the_fused_logit():
    verdict = decide_for_one(
        heard("blend", 2.0), heard("generated", 1.0), heard("sync", -4.0, modality="sync")
    )
    visual, sync = 0.5 * 2 + 0.3 * 1, -0.2 * 4
    total = abs(visual) + abs(sync)
    assert verdict.decisive.contribution == pytest.approx(
        {"visual": visual / total, "sync": sync / total}
    )


def test_agreement_is_high_when_modalities_say_the_same_and_low_when_they_differ():
    def agreement(visual, sync):
        return decide_for_one(
            heard("blend", visual), heard("sync", sync, modality="sync")
        ).decisive.agreement

    assert agreement(2.0, 2.0) == pytest.approx(1.0)
    # Weights .5 and .2: 1.5 towards fake, 0.6 against it; 0.9 of 2.1 is left.
    assert agreement(3.0, -3.0) == pytest.approx(0.9 / 2.1)
    assert agreement(2.0, -5.0) == pytest.approx(0.0)
    assert decide_for_one(heard("blend", 1.0), heard("generated", -1.0)).decisive.agreement is None


def test_agreement_of_three_modalities_is_no_hair_above_one():
    kinds = ("visual", "temporal", "sync")
    three = profile(
        detectors=[
            {"name": kind, "label": kind, "modality": kind, "weight": weight}
            for kind, weight in zip(kinds, (0.35, 0.35, 0.3), strict=True)
        ]
    )
    found = []
    for drawn in np.random.default_rng(1).uniform(0.1, 3.0, (100, 3)).tolist():
        evidence = [heard(kind, one, modality=kind) for kind, one in zip(kinds, drawn, strict=True)]
        found.append(decide_for_one(*evidence, using=three).decisive.agreement)
    assert max(found) == 1.0


def test_one_overconfident_detector_is_limited():
    verdict = decide_for_one(heard("blend", 400.0), heard("generated", -4.0))
    assert verdict.score == pytest.approx(p_of((0.5 * 6 - 0.3 * 4) / 0.8))


def test_an_unknown_detector_is_refused():
    with pytest.raises(KeyError, match="novel"):
        calibrate([heard("novel", 0.0)], profile())


def noisy(level, spread, seed=3):
    rng = np.random.default_rng(seed)
    return lambda times: level + spread * rng.standard_normal(times.shape)


def full_evidence(course, seconds=30.0):
    return [
        heard("blend", course, seconds=seconds),
        heard("generated", course, seconds=seconds),
        heard("sync", 0.0, modality="sync", weight=0.0, seconds=seconds),
    ]


def interval_of(evidence, seed=SEED):
    return decide(evidence, [person()], profile(), seed=seed).decisive.interval


def test_interval_holds_the_score_and_is_the_same_in_every_run():
    evidence = full_evidence(noisy(1.0, 1.0))
    first, second = interval_of(evidence), interval_of(evidence)
    assert first == second
    assert first.low < decide_for_one(*evidence).score < first.high
    assert interval_of(evidence, seed="cd" * 32) != first


def test_steady_evidence_gives_a_narrower_interval_than_a_changing_one():
    steady = interval_of(full_evidence(noisy(0.5, 0.2)))
    changing = interval_of(full_evidence(lambda t: 0.5 + 3.0 * np.sign(np.sin(t / 2))))
    assert changing.high - changing.low > 3 * (steady.high - steady.low)


def test_longer_clips_give_narrower_intervals():
    short = interval_of(full_evidence(noisy(0.5, 1.0), seconds=10.0))
    long = interval_of(full_evidence(noisy(0.5, 1.0), seconds=160.0))
    assert long.high - long.low < 0.6 * (short.high - short.low)


def test_bootstrap_spread_matches_theory_for_independent_cells():
    # Windows that each fill one cell, independent: sd of the mean = sd / sqrt(n).
    from aura.calibration import sigmoid
    from aura.windows import Window

    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 400)
    windows = tuple(Window(i * 0.5, i * 0.5 + 0.5, float(s)) for i, s in enumerate(sigmoid(values)))
    resampled = resampled_logits([WeightedWindows(windows, 1.0)], float(values.mean()), SEED)
    assert resampled.mean() == pytest.approx(values.mean(), abs=0.01)
    assert resampled.std() == pytest.approx(values.std() / 20, rel=0.2)


def test_detectors_are_resampled_in_step():
    """Two detectors that mirror each other cancel in every resample, so nothing can spread."""
    evidence = [
        heard("blend", lambda t: 2.0 * np.sin(t), seconds=30.0),
        heard("generated", lambda t: -2.0 * (0.5 / 0.3) * np.sin(t), seconds=30.0),
        heard("sync", 0.0, modality="sync", weight=0.0, seconds=30.0),
    ]
    together = interval_of(evidence)
    alone = interval_of([evidence[0], *full_evidence(0.0)[1:]])
    assert together.high - together.low < 0.25 * (alone.high - alone.low)


def test_interval_widens_when_a_detector_of_the_profile_did_not_run():
    ran = interval_of(full_evidence(noisy(1.0, 0.5)))
    missing = interval_of(
        [*full_evidence(noisy(1.0, 0.5))[:2], silent("sync", "sync", "No sound track.")]
    )
    assert missing.low < ran.low
    assert missing.high >= ran.high
    assert missing.widened_for == ("Lips could not be judged",)
    assert ran.widened_for == ()


def test_interval_of_a_very_short_clip_is_wide_and_says_why():
    short = interval_of([heard("blend", 3.0, seconds=0.8), *full_evidence(3.0, seconds=0.8)[1:]])
    assert short.low < 0.4
    assert short.high > 0.95
    assert any("only 0.8 s" in reason for reason in short.widened_for)


def test_shipped_profiles_are_valid_and_lite_is_one_of_them():
    assert "lite" in profile_names()
    for name in profile_names():
        assert load_profile(name).name == name
    lite = load_profile("lite")
    assert {d.name for d in lite.detectors} == {
        "visual_blend",
        "visual_generated",
        "sync",
        "temporal",
        "audio",
    }


def test_experimental_detectors_run_only_in_the_profile_that_extends_lite():
    lite, more = load_profile("lite"), load_profile("lite-experimental")
    off = lite.detector("temporal")
    assert off.models == ()
    assert "experimental" in off.unavailable
    assert more.detector("temporal").models == ("temporal-lite",)
    assert more.detector("temporal").unavailable is None
    assert more.fusion == lite.fusion
    assert set(more.models) == {*lite.models, "temporal-lite"}


def test_unknown_profile_is_a_usage_error_that_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"choose one of .*lite"):
        load_profile("../../etc/passwd")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "upgrade"),
        ({"fusion": {"threshold": 2}}, r"fusion\.threshold"),
        ({"detectors": []}, "detectors"),
        ({"colour": "blue"}, "colour"),
        (
            {
                "detectors": [
                    {
                        "name": "a",
                        "label": "A",
                        "modality": "audio",
                        "weight": 1,
                        "unavailable": "x",
                    }
                ]
            },
            "unavailable but has a weight",
        ),
        (
            {
                "detectors": [
                    {
                        "name": "a",
                        "label": "A",
                        "modality": "audio",
                        "weight": 1,
                        "experimental": True,
                    }
                ]
            },
            "experimental but has a weight",
        ),
        ({"extends": "nothing"}, "no profile at .*nothing.json"),
    ],
)
def test_a_broken_profile_is_refused_with_the_place(tmp_path, change, complaint):
    raw = json.loads((profiles_dir() / "lite.json").read_text())
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({**raw, **change}))
    with pytest.raises(WeightsError, match=complaint):
        read_profile(path)


def test_config_hash_follows_numbers_and_ignores_words_and_layout(tmp_path):
    raw = json.loads((profiles_dir() / "lite.json").read_text())

    def digest(changed):
        path = tmp_path / "p.json"
        path.write_text(json.dumps(changed, indent=7))
        return read_profile(path).config_sha256

    original = load_profile("lite").config_sha256
    assert digest(dict(reversed(raw.items()))) == original
    assert digest({**raw, "limits": ["other words"]}) == original
    changed = json.loads(json.dumps(raw))
    changed["detectors"][0]["calibration"]["temperature"] += 0.001
    assert digest(changed) != original
