"""Worn faces: how wear is measured, what it takes from a verdict, and what it is fitted on."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up import SEED, heard, person, profile, report
from rich.console import Console

from aura.evaluation import LabelledClip
from aura.examiner import wording
from aura.faces import FaceDetector, align, face_quality
from aura.fusion import WORN, decide
from aura.panel import print_report
from aura.profiles import WearConfig
from aura.wear import Wear, blockiness
from aura.web import texts, verdict_view

EDGE = float(np.log(0.6 / 0.4))
SHARP, TIRED = Wear(4.5, 0.0), Wear(2.5, 0.2)


def using(**changes):
    """Genuine faces as worn as TIRED reach logit 2, sharp ones stay at 0."""
    plain = profile(**changes)
    rule = WearConfig(share=0.95, offset=2.25, detail=-0.5, blocks=5.0)
    evidence = plain.evidence.model_copy(update={"wear": rule})
    return plain.model_copy(update={"evidence": evidence})


def verdict_on(wear, *evidence, rules=None):
    subject = replace(person(), wear=wear)
    return decide(evidence, [subject], rules or using(), seed=SEED)


def test_compression_takes_detail_and_leaves_blocks_and_scaling_hides_them(portrait):
    (face,) = FaceDetector(device="cpu").detect(portrait)

    def measured(picture):
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        detail = face_quality(face, align(picture, face.landmarks)).detail
        return detail, blockiness(luma, face.box)

    _, coded = cv2.imencode(".jpg", portrait[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 8])
    worn = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    soft = cv2.resize(cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA), (512, 512))
    (detail, blocks), (detail_worn, blocks_worn) = measured(portrait), measured(worn)
    assert abs(blocks) < 0.05
    assert blocks_worn > 0.2
    assert measured(np.roll(worn, (3, 3), (0, 1)))[1] < 0.1  # cut anew: the grid is elsewhere
    assert measured(soft)[0] < detail_worn
    assert measured(soft)[0] < detail - 1
    assert blockiness(np.zeros((480, 640), np.uint8), face.box) == 0.0
    assert blockiness(np.zeros((480, 640), np.uint8), np.array([-5.0, -5.0, 9.0, 9.0])) == 0.0


def test_suspicion_that_wear_explains_does_not_accuse():
    high = (heard("blend", 1.5), heard("generated", 1.5))
    assert verdict_on(SHARP, *high).overall_class == "fake"
    assert verdict_on(None, *high).overall_class == "fake"
    worn = verdict_on(TIRED, *high)
    assert worn.overall_class == "uncertain"
    assert worn.decisive.reason == WORN
    assert worn.decisive.trust == pytest.approx(EDGE / 2)
    assert worn.score == pytest.approx(1 / (1 + np.exp(-1.5 * EDGE / 2)))
    assert all(window.score < 0.6 for window in worn.decisive.windows["visual"])
    # Beyond what wear explains it is called so; below one half nothing changes.
    assert verdict_on(TIRED, heard("blend", 2.5), heard("generated", 2.5)).overall_class == "fake"
    low = (heard("blend", -1.5), heard("generated", -1.5))
    assert verdict_on(TIRED, *low).score == verdict_on(SHARP, *low).score


def test_a_face_that_only_its_wear_excuses_is_not_called_genuine():
    torn = (heard("blend", 5.5), heard("generated", -3.5))
    assert verdict_on(SHARP, *torn).overall_class == "fake"
    worn = verdict_on(TIRED, *torn)
    assert worn.score < 0.4  # which would be "real"
    assert worn.overall_class == "uncertain"
    assert worn.decisive.reason == WORN
    calm = (heard("blend", 1.0), heard("generated", -3.5))
    assert verdict_on(TIRED, *calm).overall_class == "real"  # it would be so without wear


def test_a_voice_out_of_step_counts_in_full_beside_a_worn_face():
    voice = heard("sync", 3.0, modality="sync")
    worn, sharp = (verdict_on(wear, voice) for wear in (TIRED, SHARP))
    assert worn.score == sharp.score
    assert worn.overall_class == "fake"


def test_asking_for_fewer_false_alarms_does_not_give_wear_its_word_back():
    rules = using()
    fewer = rules.model_copy(update={"fusion": rules.fusion.model_copy(update={"threshold": 0.95})})
    assert fewer.trust_in(TIRED) == rules.trust_in(TIRED)


def test_report_terminal_paper_and_page_say_what_wear_took(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    made = report(
        clip,
        (heard("blend", 1.5), heard("generated", 1.5)),
        subjects=[replace(person(), wear=TIRED)],
        using=using(),
    )
    assert made.subjects[0].face_trust == pytest.approx(EDGE / 2, abs=1e-3)
    assert made.subjects[0].face_blocks == pytest.approx(0.2)
    assert made.prediction.reason == WORN
    assert any("worn by compression" in line for line in made.limits.not_judged)
    console = Console(width=100, record=True, file=io.StringIO())
    print_report(made, console)
    assert WORN in " ".join(console.export_text().replace("│", " ").split())
    assert any(WORN in line for line in wording.meaning(made))
    shown = made.model_dump(mode="json")
    assert verdict_view.verdict_of(shown, texts.load("en")).reason == WORN
    assert any(
        "worn" in line for line in verdict_view.limits_of(shown, texts.load("en")).not_judged
    )


def test_what_wear_explains_is_fitted_on_genuine_clips_and_holds_on_others():
    pytest.importorskip("sklearn")
    from aura.training.lite.worn import fit_wear

    def case(random):
        wear = float(random.uniform(0, 1))
        face = {
            "id": 1,
            "first_seen": 0.0,
            "last_seen": 9.0,
            "faces_sampled": 50,
            "face_quality": 0.9,
            "face_size": 150.0,
            "face_detail": 4.5 - 2 * wear + random.normal(0, 0.1),
            "face_blocks": 0.0,
        }
        entries = [
            {
                "name": name,
                "modality": "visual",
                "subject": 1,
                "status": "ok",
                "reason": None,
                "logit": 4 * wear - 2 + random.normal(0, 0.3),
                "weight": 1.0,
                "details": {},
            }
            for name in ("blend", "generated")
        ]
        return LabelledClip(Path("x.mp4"), 0, "none", "g", "s"), {
            "prediction": {"decisive_subject": 1},
            "subjects": [face],
            "detectors": entries,
        }

    from aura.training.evidence import verdict_of

    random = np.random.default_rng(3)
    fitted = fit_wear([case(random) for _ in range(150)], profile())
    others = [case(random) for _ in range(400)]
    called = [
        np.mean([verdict_of(told, one).overall_class == "fake" for _, told in others])
        for one in (profile(), fitted)
    ]
    assert called[0] > 0.3
    assert called[1] <= 0.13
    assert fitted.evidence.wear.detail < 0
    # Detail that says nothing is no excuse, nor is one that counts the wrong way round.
    for _, one in others:
        for entry in one["detectors"]:
            entry["logit"] = float(one["subjects"][0]["face_detail"])
    assert fit_wear(others, profile()).evidence.wear is None
