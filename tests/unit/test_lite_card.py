"""The card's machinery: what n clips can promise, what a detector is worth, where a fake lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn")

from aura.evaluation import LabelledClip
from aura.explain.cam import CamNetwork
from aura.faces import FaceDetector, align
from aura.profiles import load_profile
from aura.training.lite import card, cues, localise, refit, worth
from aura.training.lite.certainty import levels, threshold
from aura.training.lite.fits import Fits
from aura.training.lite.partial import FacePaster, overdubbed
from aura.windows import SlidingWindows

LITE = load_profile("lite")


def case(index, label, blend, generated, *, source="s", segments=None, hot=None, seconds=10.0):
    """A clip of one person; `hot` (start, end) is where the blend detector's windows are high."""
    method = "face swap" if label else "none"
    clip = LabelledClip(
        Path(f"{source}-{index}.mp4"), label, method, f"g{index}", source, segments=segments
    )
    windows = []
    if hot is not None:
        for start, end in SlidingWindows().spans(0.0, seconds):
            share = max(0.0, min(end, hot[1]) - max(start, hot[0])) / (end - start)
            windows.append({"start": start, "end": end, "score": 0.05 + 0.93 * share})
    entries = [
        {
            "name": name,
            "modality": modality,
            "subject": 1,
            "reason": None,
            "weight": 1.0,
            "status": "ok" if logit is not None else "not_applicable",
            "logit": logit,
            "windows": windows if name.startswith("visual") else [],
            "details": {},
        }
        for name, modality, logit in (
            ("visual_blend", "visual", blend),
            ("visual_generated", "visual", generated),
            ("sync", "sync", None),
        )
    ]
    face = {
        "id": 1,
        "first_seen": 0.0,
        "last_seen": seconds,
        "faces_sampled": 50,
        "face_quality": 0.9,
        "face_size": 150.0,
    }
    return clip, {"prediction": {"decisive_subject": 1}, "detectors": entries, "subjects": [face]}


@dataclass
class Kept:
    """Stands where reports lie."""

    sets: dict
    profile = LITE

    def cases(self, name):
        return self.sets.get(name, [])


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(worth, "DRAWS", 100)


@pytest.fixture(scope="module")
def cases():
    """Blend tells fakes from genuine clips; generated is noise."""
    random = np.random.default_rng(2)
    return [
        case(
            i,
            i % 2,
            random.normal(-4 + 3 * (i % 2), 1.0),
            random.normal(2 + 0.5 * (i % 2), 1.0),
            source=f"source{i % 6 // 2}",
        )
        for i in range(48)
    ]


@pytest.mark.parametrize(("level", "promised"), [(0.05, True), (0.01, False)])
def test_25_clips_promise_5_percent_and_not_1(level, promised):
    random = np.random.default_rng(0)
    alarms = []
    for _ in range(1500):
        scores = random.random(26)
        edge, kept, bound = threshold(scores[:25].tolist(), level)
        assert kept is promised
        assert bound == pytest.approx(1 - 0.05 ** (1 / 25))
        alarms.append(scores[25] > edge)
    if promised:
        assert np.mean(alarms) <= level + 0.01
    else:
        assert np.mean(alarms) > level


def test_levels_count_alarms_on_sources_that_took_no_part(cases):
    found, material = levels(Fits(cases, LITE), [])
    assert [one.level for one in found] == [0.01, 0.05]
    assert found[0].threshold >= found[1].threshold > 0.5
    assert found[0].clips == material["genuine clips"] == 24
    assert not found[0].guaranteed
    assert found[1].guaranteed
    assert found[1].measured.value <= 0.15
    more = [case(i, 0, 1.0, 3.0, source="photos") for i in range(100, 180)]
    stricter, material = levels(Fits(cases, LITE), more)
    assert material["filmed photographs"] == 80
    assert not stricter[0].guaranteed  # photographs promise nothing about videos
    assert stricter[0].clips == 24
    assert stricter[0].threshold > found[0].threshold


def test_a_detector_that_tells_the_label_is_worth_something_and_noise_is_not(cases):
    figures = worth.ablation(cases, Fits(cases, LITE))
    assert figures["visual_generated"]["clips"] == 48
    assert figures["visual_blend"].get("adds", [1, 1])[1] > 0
    assert figures["visual_generated"]["adds"][2] < 0.15
    assert figures["visual_blend"]["alone"][0] > 0.9
    fused = worth.fusions(cases, Fits(cases, LITE))
    assert fused["learned"][0] > 0.85
    trust = worth.trust(worth.fixed(cases, Fits(cases, LITE)))
    assert sum(n for n, _, _ in trust["bins"]) == trust["clips"] == 48


def test_a_replaced_stretch_is_found_by_a_rule_tuned_on_other_sources():
    fakes, real = [], []
    for i in range(6):
        start = 1.0 + i % 5
        true = (("visual", start, start + 3.0),)
        fakes.append(
            case(i, 1, 0.0, 0.0, source=f"s{i % 3}", segments=true, hot=(start, start + 3.0))
        )
        real.append(case(100 + i, 0, -3.0, 0.0, source=f"s{i % 3}", hot=(0.0, 0.0)))
    figures, rule = localise.measure(Kept({"face_part": fakes, "dev": real}), "face_part", LITE)
    assert figures["ap"][0] > 0.9
    assert figures["real clips with a stretch"][0] == 0.0
    assert rule.stay <= rule.enter
    elsewhere = [
        case(i, 1, 0.0, 0.0, source=f"s{i % 3}", segments=(("visual", 6.0, 9.0),), hot=(0.0, 2.0))
        for i in range(6)
    ]
    wrong, _ = localise.measure(Kept({"face_part": elsewhere, "dev": real}), "face_part", LITE)
    assert wrong["ap"][0] < 0.1


def test_a_face_is_replaced_inside_the_stretch_and_nowhere_else(portrait):
    paster = FacePaster(
        FaceDetector(device="cpu"),
        5.0,
        np.random.default_rng(1),
        (0.4, 0.8),
        [portrait[::-1][:256, :256]],
    )
    shown = [paster(portrait) for _ in range(6)]
    changed = [float(np.abs(one.astype(int) - portrait).mean()) for one in shown]
    assert [round(c, 3) > 0 for c in changed] == [False, False, True, True, False, False]
    border = np.abs(shown[2].astype(int) - portrait)[:20]
    assert border.max() <= 1


def test_cues_see_a_mouth_without_detail_and_one_that_flickers(portrait):
    (face,) = FaceDetector(device="cpu").detect(portrait)
    still = np.repeat(align(portrait, face.landmarks)[None], 30, axis=0)
    random = np.random.default_rng(0)
    still = np.clip(still + random.normal(0, 1, still.shape), 0, 255).astype(np.uint8)
    top, bottom, left, right = (round(share * 224) for share in cues.MOUTH)
    soft, restless = still.copy(), still.copy()
    for one in soft:
        one[top:bottom, left:right] = cv2.GaussianBlur(one[top:bottom, left:right], (0, 0), 3)
    restless[::2, top:bottom, left:right] //= 2
    network = CamNetwork()
    plain, blurred, flickers = (cues.cues_of(one, network) for one in (still, soft, restless))
    assert plain.shape == (len(cues.CUES),)
    assert blurred[1] < plain[1] - 0.5
    assert flickers[2] > plain[2] + 0.5
    assert flickers[3] > 2 * plain[3]


def test_another_voice_is_as_loud_and_only_in_its_stretch():
    time = np.arange(4 * 16_000) / 16_000
    own = (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    made = overdubbed(own, 0.01 * own[::-1].copy(), (1.0, 2.0))
    assert np.array_equal(made[:15_000], own[:15_000])
    assert np.array_equal(made[33_000:], own[33_000:])
    assert not np.allclose(made[20_000:28_000], own[20_000:28_000], atol=1e-3)


def test_the_card_tells_what_was_measured_and_what_was_not(cases, monkeypatch):
    kept = Kept(
        {
            "dev": cases[:24],
            "face_part": [
                case(
                    i,
                    1,
                    0.0,
                    0.0,
                    source=f"source{i % 3}",
                    segments=(("visual", 2.0, 5.0),),
                    hot=(2.0, 5.0),
                )
                for i in range(6)
            ],
        }
    )
    monkeypatch.setattr(localise, "RULES", localise.RULES[::9])
    profile, figures = refit.refit(kept)
    assert profile.false_alarms[0].level == 0.01
    assert profile.segments["visual"].enter >= profile.segments["visual"].stay
    assert profile.detector("visual_blend").weight > 0
    tried = {"a cue": {"some clips": {"auc": [0.5, 0.4, 0.6], "clips": [3, 3]}}}
    page = card.written(figures, {}, {}, tried)
    assert "None is above chance" in page
    assert "takes no account of" in page
    for heading in ("Whole clips", "False alarms", "Where and when", "How sure", "worth", "misses"):
        assert heading in page
    assert "nan" not in page.lower()
    assert f"{figures['clips']['real']} genuine" in page
    assert "Not measured this time: " in page
    found = figures["localisation"]["face_part"]["stretches found"]
    assert "{} of {}".format(*found) in page
