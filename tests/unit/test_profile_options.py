"""What a user may ask of a profile: a detector switched off, fewer false alarms."""

from __future__ import annotations

import pytest
from made_up import SEED, heard, person, profile

from aura.batch import Settings
from aura.errors import UsageError
from aura.fusion import decide
from aura.profiles import load_profile, share_of

LEVEL = {
    "level": 0.05,
    "threshold": 0.9,
    "clips": 25,
    "at_most": 0.11,
    "measured": {"value": 0.0, "low": 0.0, "high": 0.13, "cases": 25},
    "uncertain": {"value": 0.5, "low": 0.3, "high": 0.7, "cases": 37},
    "found": {"value": 0.3, "low": 0.1, "high": 0.6, "cases": 12},
    "guaranteed": True,
}


def test_a_detector_that_is_switched_off_leaves_its_weight_to_the_others_and_says_so():
    evidence = [heard("blend", 3.0), heard("generated", -1.0)]
    verdict = decide(evidence, [person()], profile().without(["blend"]), seed=SEED)
    assert verdict.score == decide(evidence[1:], [person()], profile(), seed=SEED).score
    off = next(one for one in verdict.evidence if one.detector == "blend")
    assert (off.status, off.score) == ("not_applicable", None)
    assert "--without" in off.reason


def test_switching_off_what_is_not_there_or_all_of_it_is_refused():
    with pytest.raises(UsageError, match="blend, generated"):
        profile().without(["nose"])
    with pytest.raises(UsageError, match="no detector that counts"):
        profile().without(["blend", "generated", "sync"])


def test_fewer_false_alarms_turn_fakes_into_uncertain_and_never_into_real():
    using = profile(false_alarms=[LEVEL])
    evidence = [heard("blend", 1.5), heard("generated", 1.5)]  # 0.82
    assert decide(evidence, [person()], using, seed=SEED).overall_class == "fake"
    strict = using.allowing(0.05)
    assert decide(evidence, [person()], strict, seed=SEED).overall_class == "uncertain"
    surely = [heard("blend", 4.0), heard("generated", 4.0)]
    assert decide(surely, [person()], strict, seed=SEED).overall_class == "fake"
    assert using.allowing(None) is using


def test_a_level_that_nobody_measured_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match="thresholds for 5%"):
        profile(false_alarms=[LEVEL]).allowing(0.02)
    with pytest.raises(UsageError, match="none"):
        profile().allowing(0.02)


@pytest.mark.parametrize("text", ["", "-1%", "100%", "five", "1.5", "nan"])
def test_nonsense_is_no_share(text):
    with pytest.raises(UsageError, match="5%"):
        share_of(text)


def test_results_of_other_options_are_not_taken_for_those_asked_for():
    plain = Settings("lite").config_sha256
    assert Settings("lite", without=("sync",)).config_sha256 != plain
    assert load_profile("lite").without(["sync"]).detector("sync").models == ()


def test_the_shipped_profile_has_levels_and_says_which_of_them_it_can_promise():
    lite = load_profile("lite")
    assert lite.allowing(0.05).fusion.fake_from >= lite.fusion.fake_from
    assert lite.allowing(0.01).fusion.fake_from >= lite.allowing(0.05).fusion.fake_from
    for one in lite.false_alarms:
        assert one.guaranteed == (one.clips >= 1 / one.level - 1)
        assert one.measured.low <= one.level <= one.measured.high
