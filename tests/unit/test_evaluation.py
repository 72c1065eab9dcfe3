"""Labels, rows and decisions of `aura evaluate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from aura.errors import InputNotFound
from aura.evaluation import LabelledClip, labelled_clips
from aura.evaluation.profile_run import prediction_of
from aura.evaluation.table import Decisions, Outcome, decisions, markdown, outcome_of, rows


def clip(name, label, method="none", group=None):
    return LabelledClip(Path(name), label, method, group or name, "source")


def outcome(name, label, score, overall="uncertain", method="none", **detectors):
    return Outcome(clip(name, label, method), score, overall, detectors)


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_labels_come_from_the_nearest_manifest_above_and_only_for_clips_below(tmp_path):
    for name in ("clips/a.mp4", "clips/b.mov", "other/c.mp4", "clips/notes.txt"):
        write(tmp_path / name)
    write(
        tmp_path / "manifest.csv",
        "path,label,method,group,source_repo\n"
        "clips/a.mp4,real,none,g1,s1\nclips/b.mov,fake,GHOST face swap,g2,s2\n"
        "other/c.mp4,fake,x,g3,s3\nclips/notes.txt,fake,x,g4,s4\nclips/gone.mp4,fake,x,g5,s5\n"
        "../outside.mp4,real,none,g6,s6\n",
    )
    found = labelled_clips(tmp_path / "clips")
    assert [(one.path.name, one.label, one.group, one.source) for one in found] == [
        ("a.mp4", 0, "g1", "s1"),
        ("b.mov", 1, "g2", "s2"),
    ]


def test_without_a_manifest_folders_name_labels_and_methods(tmp_path):
    for name in ("real/a.mp4", "fake/b.mp4", "fake/roop/c.mp4"):
        write(tmp_path / name)
    found = {one.path.name: (one.label, one.method) for one in labelled_clips(tmp_path)}
    assert found == {"a.mp4": (0, "real"), "b.mp4": (1, "fake"), "c.mp4": (1, "roop")}


def test_a_folder_without_labels_says_what_to_do(tmp_path):
    with pytest.raises(InputNotFound, match=r"manifest\.csv"):
        labelled_clips(tmp_path)
    with pytest.raises(InputNotFound, match="not a folder"):
        labelled_clips(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("method", "family"),
    [
        ("GHOST (sber-swap) face swap", "face swap"),
        ("FF++-like FaceSwap", "face swap"),
        ("DFDC (metadata.json: FAKE)", "face swap"),
        ("Deepfakes", "face swap"),
        ("AniTalker (audio-driven still portrait)", "driven or generated portrait"),
        ("StyleHEAT (StyleGAN edit)", "driven or generated portrait"),
        ("NeuralTextures", "driven or generated portrait"),
        ("Wav2Lip + GFPGAN lip-sync", "lip sync"),
        ("something new", "other"),
    ],
)
def test_methods_are_sorted_into_families(method, family):
    assert clip("x.mp4", 1, method).family == family
    assert clip("x.mp4", 0, method).family == "real"


def test_rows_compare_each_kind_of_fake_with_all_real_clips():
    outcomes = [
        outcome("r1", 0, 0.1, visual_blend=-2.0),
        outcome("r2", 0, 0.3, visual_blend=-1.0),
        outcome("r3", 0, 0.2),
        outcome("s1", 1, 0.9, method="face swap", visual_blend=3.0),
        outcome("l1", 1, 0.2, method="Wav2Lip", visual_blend=-1.5),
        Outcome(clip("broken", 1), None, None, error="unreadable"),
    ]
    table = {row.name: row for row in rows(outcomes)}
    assert table["verdict: all fakes"].fakes == 2
    assert table["verdict: face swap"].auc.value == 1.0
    assert table["verdict: lip sync"].auc.value == pytest.approx(0.5)
    assert table["verdict: method Wav2Lip"].auc.value == pytest.approx(0.5)
    # A detector is measured on the clips on which it ran.
    assert table["visual_blend: face swap"].reals == 2
    assert table["visual_blend: lip sync"].auc.value == pytest.approx(0.5)


def test_decisions_count_both_kinds_of_errors_and_name_what_has_no_score():
    outcomes = [
        outcome("r1", 0, 0.9, "fake"),
        outcome("r2", 0, 0.1, "real"),
        outcome("f1", 1, 0.1, "real"),
        outcome("f2", 1, None, "uncertain"),
        Outcome(clip("f3.mp4", 1), None, None, error="f3.mp4 is broken"),
    ]
    found = decisions(outcomes)
    assert found.false_alarms.value == 0.5
    assert found.missed.value == 0.5
    assert found.uncertain.value == 0.25
    assert len(found.unscored) == 2
    text = markdown(rows(outcomes), found)
    assert "f3.mp4 is broken" in text
    assert isinstance(found, Decisions)


def test_detector_scores_are_those_of_the_person_who_decided():
    def entry(name, subject, logit, status="ok"):
        return {"name": name, "subject": subject, "logit": logit, "status": status}

    report = {
        "prediction": {
            "decisive_subject": 2,
            "manipulation_confidence": 0.8,
            "overall_class": "fake",
            "frame_scores": [],
            "segments": [],
            "confidence_interval": None,
        },
        "provenance": {"input": {"sha256": "0" * 64}},
        "detectors": [
            entry("visual_blend", 1, -3.0),
            entry("visual_blend", 2, 2.0),
            entry("sync", 2, None, "not_applicable"),
            entry("audio", None, 1.0),
        ],
    }
    one = clip("x", 1)
    found = outcome_of(one, prediction_of(one, one.path.parent, report, None))
    assert found.detectors == {"visual_blend": 2.0, "audio": 1.0}
    assert (found.score, found.overall_class) == (0.8, "fake")
