"""The lip-sync recipe on real clips, people held out, and the shipped detector on all of them."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aura.detectors.base import Evidence

DEFAULT_DATA = Path(__file__).parents[3] / "shared" / "data"
DATA = Path(os.environ.get("AURA_DATA") or DEFAULT_DATA)
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "manifest.csv").is_file(),
        reason=f"no data folder at {DATA}: set AURA_DATA to the folder with manifest.csv",
    ),
]


def analysed(name: str) -> list[Evidence]:
    from aura import media
    from aura.detectors.sync import SyncDetector
    from aura.faces import FaceDetector
    from aura.speech import SpeechDetector
    from aura.subjects import SubjectTracker

    tracker = SubjectTracker(FaceDetector(device="cpu"), SpeechDetector(device="cpu"))
    detector = SyncDetector(device="cpu")
    info = media.probe(DATA / "clips" / "dev" / f"{name}.mp4")
    with closing(media.decode(info)) as decoded:
        for chunk in tracker.follow(decoded):
            detector.observe(chunk)
    return detector.conclude()


def test_real_speakers_of_people_not_fitted_on_are_told_from_shifted_and_foreign_sound() -> None:
    pytest.importorskip("sklearn")
    from aura.faces import FaceDetector
    from aura.training.sync import evaluate, features
    from aura.training.sync.__main__ import CONFIG

    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    config["alignment_rounds"] = 1  # the floors hold with fewer rounds, and it is faster
    faces = FaceDetector(device="cpu")
    rows = [
        row
        for row in features.manifest(DATA)
        if row["label"] == "real" or row["method"] in config["extra_methods"]
    ]
    clips = [features.hear(features.read_clip(DATA, row, faces)) for row in rows]
    real, extra = evaluate.chosen(clips, config)
    assert len(real) >= 10
    found = evaluate.cases(real, [*real, *extra], config)
    measured = evaluate.areas(evaluate.fitting(found, found, config))
    clip, windows = measured["whole clip"], measured["windows of 2 s"]
    assert clip["shift 0.4 s"]["auc"] >= 0.95
    assert clip["shift 0.6 s"]["auc"] >= 0.98
    assert clip[evaluate.SWAP]["auc"] >= 0.95
    assert windows["shift 0.4 s"]["auc"] >= 0.93
    assert windows["shift 0.6 s"]["auc"] >= 0.97
    assert windows[evaluate.SWAP]["auc"] >= 0.93


def test_real_speaker_raises_no_alarm_and_a_lip_sync_fake_is_not_called_authentic() -> None:
    for name in ("clip_031", "clip_036"):  # a real clip, and Wav2Lip on the same person
        (found,) = analysed(name)
        assert found.status == "ok"
        assert found.weight == 0.0, name


def test_laughter_beside_little_speech_is_not_judged() -> None:
    (found,) = analysed("clip_026")
    assert found.status == "not_applicable"
    assert "Too little speech" in (found.reason or "")
