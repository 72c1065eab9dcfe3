"""The report: its schema, its digest, its bounded lists, and that nothing in it is invented."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from made_up import heard, person, profile, report, silent
from pydantic import ValidationError

from aura.calibration import logit, sigmoid
from aura.detectors.base import FrameScore
from aura.findings import MAX_FRAME_POINTS, thin, worst_moments
from aura.report import FramePoint, Report, pretty_json, report_schema
from aura.runtime import list_cards

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"made-up bytes")
    return path


def bump(center, height=6.0, width=0.6, base=-3.0):
    return lambda t: base + height * np.exp(-(((t - center) / width) ** 2))


def usual(course=0.0):
    return [
        heard("blend", course),
        heard("generated", -2.0),
        silent("sync", "sync", "Too little speech."),
    ]


def test_published_schema_is_current():
    assert json.loads(SCHEMA.read_text()) == report_schema(), (
        "run: aura schema > docs/report.schema.json"
    )


def test_report_survives_json_and_keeps_every_number(clip):
    made = report(clip, usual(bump(4.0)))
    assert Report.model_validate_json(made.to_json()) == made
    assert Report.model_validate_json(made.to_line()) == made
    assert "\n" not in made.to_line()


def test_report_holds_every_field_that_the_contract_names(clip):
    raw = json.loads(report(clip, usual(1.0)).to_json())
    assert {"job_id", "status", "prediction", "detector_scores", "subjects"} <= raw.keys()
    assert {"detectors", "provenance", "metadata", "limits", "schema_version"} <= raw.keys()
    assert set(raw["detector_scores"]) == {
        "face_quality",
        "visual_artifacts",
        "temporal_consistency",
        "audio_synthesis",
        "lip_sync_error",
        "final_weighted_score",
    }
    assert {
        "overall_class",
        "overall_confidence",
        "manipulation_confidence",
        "modality_agreement",
        "modality_contribution",
        "confidence_interval",
        "anomalous_frames",
        "audio_anomalies",
        "segments",
        "frame_scores",
    } <= raw["prediction"].keys()


def test_what_was_not_judged_is_null_and_never_a_number(clip):
    made = report(clip, usual(1.0))
    assert made.detector_scores.audio_synthesis is None
    assert made.detector_scores.temporal_consistency is None
    assert made.detector_scores.lip_sync_error is None
    assert made.prediction.modality_agreement is None
    assert made.prediction.modality_contribution["audio"] is None
    assert made.provenance.c2pa.status == "not_examined"
    assert made.limits.error_rates is None
    voice = next(d for d in made.detectors if d.name == "audio")
    assert (voice.status, voice.score, voice.reason) == ("not_applicable", None, "No model yet.")
    assert "Voice: No model yet." in made.limits.not_judged
    assert "Lips: Too little speech." in made.limits.not_judged


def test_a_clip_without_faces_has_no_score_anywhere(clip):
    made = report(clip, [], subjects=[])
    assert made.prediction.overall_class == "uncertain"
    assert made.prediction.manipulation_confidence is None
    assert made.prediction.overall_confidence is None
    assert made.prediction.confidence_interval is None
    assert made.detector_scores.final_weighted_score is None
    assert made.prediction.frame_scores == ()
    assert "No face" in made.prediction.reason


def test_two_runs_share_the_digest_and_another_number_changes_it(clip, tmp_path):
    first = report(clip, usual(1.0))
    moved = tmp_path / "elsewhere.mp4"
    shutil.copy(clip, moved)
    second = report(moved, usual(1.0), started=datetime(2027, 1, 1, tzinfo=UTC))
    assert first.deterministic_digest == second.deterministic_digest == first.digest()
    assert first != second
    assert report(clip, usual(1.001)).deterministic_digest != first.deterministic_digest
    moved.write_bytes(b"other bytes")
    assert report(moved, usual(1.0)).deterministic_digest != first.deterministic_digest


def test_worst_moments_point_at_the_planted_bump(clip):
    made = report(clip, usual(bump(4.0, height=9.0)))
    moments = made.prediction.anomalous_frames
    assert moments
    assert abs(moments[0].timestamp - 4.0) <= 0.2
    assert moments[0].frame_id == round(moments[0].timestamp * 25)
    assert all(abs(moment.timestamp - 4.0) < 1.5 for moment in moments)


def test_worst_moments_keep_their_distance_and_people_do_not_hide_each_other():
    points = [
        FramePoint(frame_id=i, timestamp=i * 0.1, subject=s, score=0.9 - 0.001 * i)
        for i in range(100)
        for s in (0, 1)
    ]
    moments = worst_moments(points, 0.5)
    assert len(moments) == 10
    for subject in (0, 1):
        times = sorted(m.timestamp for m in moments if m.subject == subject)
        assert len(times) == 5
        assert min(np.diff(times)) >= 0.5
    assert worst_moments(points, 0.95) == ()


def test_suspicious_windows_merge_into_one_stretch_around_the_bump(clip):
    made = report(clip, usual(bump(4.0, height=8.0)))
    (segment,) = made.prediction.segments
    assert (segment.modality, segment.subject) == ("visual", 0)
    assert segment.detectors == ("blend", "generated")
    assert segment.start < 4.0 < segment.end
    assert segment.end - segment.start < 3.0
    blend = max(w.score for d in made.detectors if d.name == "blend" for w in d.windows)
    assert segment.score == pytest.approx(
        sigmoid((0.5 * logit(blend) + 0.3 * -2.0) / 0.8), abs=1e-5
    )


def test_a_detector_that_the_others_outweigh_makes_no_segment(clip):
    made = report(clip, [heard("blend", -3.0), heard("generated", bump(5.0, height=5.0))])
    assert max(w.score for w in made.detectors[1].windows) > 0.7
    assert made.prediction.segments == ()


def test_a_stretch_is_told_also_where_its_evidence_counts_nothing_for_the_whole_clip(clip):
    evidence = [
        heard("blend", -3.0),
        heard("generated", -3.0),
        heard("sync", bump(5.0, height=9.0), modality="sync", weight=0.0),
    ]
    made = report(clip, evidence)
    (segment,) = made.prediction.segments
    assert (segment.modality, segment.detectors) == ("sync", ("sync",))
    assert segment.start < 5.0 < segment.end
    lips = next(d for d in made.detectors if d.name == "sync")
    assert lips.share == 0.0
    assert made.prediction.overall_class == "real"
    off = report(clip, evidence, using=profile().without(["sync"]))
    assert off.prediction.segments == ()


def test_long_series_are_thinned_without_losing_the_peak(clip):
    long = heard("blend", -2.0, seconds=3600.0, fps=10.0)
    frames = list(long.frames)
    frames[12_345] = FrameScore(frames[12_345].frame_id, frames[12_345].time, 0.97)
    made = report(clip, [replace(long, frames=tuple(frames))])
    series = made.prediction.frame_scores
    assert made.prediction.frame_scores_total == 36_000
    assert len(series) == MAX_FRAME_POINTS
    peak = max(series, key=lambda point: point.score)
    assert peak.score == pytest.approx(0.97)
    assert peak.timestamp == pytest.approx(1234.5)
    assert len(made.detectors[0].windows) == 1000
    assert made.detectors[0].windows_total == 7199
    assert len(made.to_line()) < 600_000


def test_thinning_leaves_short_series_alone():
    points = [FramePoint(frame_id=i, timestamp=i, subject=0, score=0.1) for i in range(7)]
    assert thin(points, 7) == tuple(points)
    assert len(thin(points, 3)) == 3


def test_several_people_are_all_listed_and_the_decisive_one_is_marked(clip):
    made = report(
        clip,
        [heard("blend", -3.0, subject=0), heard("blend", 3.0, subject=1)],
        subjects=[person(0), person(1), person(2, faces=1)],
    )
    assert [(s.id, s.overall_class, s.decisive) for s in made.subjects] == [
        (0, "real", False),
        (1, "fake", True),
        (2, "uncertain", False),
    ]
    assert made.prediction.decisive_subject == 1
    assert any("several people" in line for line in made.limits.known)
    assert {p.subject for p in made.prediction.frame_scores} == {0, 1}


def test_damage_is_reported_as_not_judged(clip):
    made = report(clip, usual(1.0), truncated=True, undecodable_packets=3)
    assert any("breaks off" in line for line in made.limits.not_judged)
    assert any("(3 in all)" in line for line in made.limits.not_judged)


def test_numbers_that_json_cannot_hold_become_null_in_details(clip):
    lips = heard("sync", -1.0, modality="sync", weight=0.0)
    odd = replace(lips, details={"offset": float("nan"), "of": (1.23456789, 2)})
    made = report(clip, [heard("blend", 1.0), odd])
    details = next(d for d in made.detectors if d.name == "sync").details
    assert details == {"offset": None, "of": [1.234568, 2]}


def test_a_score_outside_its_range_is_refused(clip):
    raw = json.loads(report(clip, usual(1.0)).to_json())
    raw["prediction"]["manipulation_confidence"] = 1.2
    with pytest.raises(ValidationError):
        Report.model_validate(raw)


def test_weights_hash_covers_each_model_and_not_their_order(clip):
    cards = list_cards()[:2]

    def weights_hash(models):
        return report(clip, usual(1.0), models=models).metadata.weights_sha256

    assert weights_hash(cards) == weights_hash(cards[::-1])
    assert weights_hash(cards) != weights_hash(cards[:1])
    retrained = replace(cards[0], sha256="0" * 64)
    assert weights_hash(cards) != weights_hash([retrained, cards[1]])


def test_pretty_json_is_json_and_keeps_points_on_one_line(clip):
    made = report(clip, usual(bump(4.0)))
    text = made.to_json()
    assert json.loads(text) == made.model_dump(mode="json")
    assert '{"frame_id": 5, "timestamp": 0.2, "subject": 0, "score": ' in text
    assert pretty_json({"a": []}) == '{"a": []}'
