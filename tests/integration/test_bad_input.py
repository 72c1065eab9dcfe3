"""Strange files at the real command line: an answer or one clear line, and never a guess."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest

import media_factory as make

NOBODY = 65534  # the user without rights


# --- what can't be analysed


def moov_cut_off(path, talk):
    path.write_bytes(talk.read_bytes()[: talk.stat().st_size * 2 // 3])


def empty(path, talk):
    path.touch()


def text(path, talk):
    path.write_text("Dear editor, please find the video attached.\n" * 50)


@pytest.mark.parametrize(
    ("name", "build", "words"),
    [
        ("missing.mp4", None, "does not exist; check the path"),
        ("empty.mp4", empty, "is empty; was the download or copy interrupted?"),
        ("index at the end.mp4", moov_cut_off, "it may be cut off"),
        ("letter.mp4", text, "is not a video that can be read"),
        ("Интервью №1 – 東京 .mp4", text, "is not a video that can be read"),
    ],
)
def test_what_can_not_be_analysed_ends_with_3_and_a_line_with_file_and_remedy(  # noqa: PLR0917
    run, talk, tmp_path, name, build, words
):
    path = tmp_path / name
    if build:
        build(path, talk)
    code, out, err = run("analyze", path)
    assert (code, out) == (3, "")
    assert err.startswith(f"aura: {path} ")
    assert words in err
    assert err.count("\n") == 1


def test_a_file_that_may_not_be_read_ends_with_3_and_says_so(run, talk, tmp_path):
    import aura.pipeline  # noqa: F401 - its files may not be readable for `NOBODY` either

    path = tmp_path / "secret.mp4"
    path.write_bytes(talk.read_bytes())
    path.chmod(0)
    with unprivileged():
        code, out, err = run("analyze", path)
    assert (code, out) == (3, "")
    assert err == f"aura: {path} may not be read; change its permissions\n"


@contextlib.contextmanager
def unprivileged():
    """Root may read everything, so tests that run as root step down for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_an_empty_folder_ends_with_3(run, tmp_path):
    (tmp_path / "clips").mkdir()
    code, out, err = run("analyze", tmp_path / "clips")
    assert (code, out) == (3, "")
    assert f"{tmp_path / 'clips'} holds no video file" in err


@pytest.mark.parametrize("fps", ["0", "-1", "nan", "1e9"])
def test_an_impossible_sampling_rate_is_a_usage_error(run, talk, fps):
    code, out, err = run("analyze", talk, "--fps", fps)
    assert (code, out) == (2, "")
    assert "--fps" in err


# --- what is damaged and still holds pictures


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_file_cut_in_the_middle_is_judged_by_what_is_left(report_of, portrait, tmp_path, suffix):
    whole = make.write_clip(
        tmp_path / f"whole.{suffix}",
        make.head(portrait, 100),
        audio=make.Sound(make.tone(4.0)),
        container_options={"movflags": "faststart"} if suffix == "mp4" else {},
    )
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    report = report_of(cut)
    assert 8 <= report.metadata.frames_analyzed < 20
    assert report.prediction.manipulation_confidence is not None
    assert report.subjects[0].last_seen < 3.5
    if suffix != "ts":  # a transport stream does not say how long it should be
        assert any("breaks off early" in line for line in report.limits.not_judged)


def test_broken_timestamps_are_put_in_order_and_reported(report_of, portrait, tmp_path):
    times = list(np.arange(50) / 25)
    times[20], times[30], times[31] = 4000.0, 0.1, times[30]
    path = make.write_raw_times(tmp_path / "odd.mkv", make.head(portrait, 50), times)
    report = report_of(path)
    assert report.metadata.frames_analyzed == 10
    assert report.provenance.decoding.repaired_timestamps >= 2
    assert max(frame.timestamp for frame in report.prediction.frame_scores) < 2.0
    assert any("times" in line for line in report.limits.not_judged)


# --- odd, and whole


def three_pictures(path, portrait):
    make.write_clip(path, make.head(portrait, 3))


def four_tenths(path, portrait):
    make.write_clip(path, make.head(portrait, 10), audio=make.Sound(make.tone(0.4)))


def huge(path, portrait):
    large = cv2.resize(portrait[:288, 100:388], (8000, 8000), interpolation=cv2.INTER_LINEAR)
    make.write_clip(path, [large, large], fps=5, codec="mjpeg")


def one_a_second(path, portrait):
    make.write_clip(path, make.head(portrait, 8), fps=1, audio=make.Sound(make.tone(8.0)))


def high_speed(path, portrait):
    make.write_clip(path, make.head(portrait, 300, 320, 240), fps=240)


def held_sideways(path, portrait):
    upright = make.head(portrait, 40, 360, 640)
    coded = (cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE) for picture in upright)
    make.write_clip(path, coded, rotation=90)


def variable_rate(path, portrait):
    steps = np.where(np.arange(60) % 30 < 15, 1 / 30, 1 / 10)
    make.write_clip(path, make.head(portrait, 60), pts=list(np.cumsum(steps)))


@pytest.mark.parametrize(
    ("build", "frames", "judged"),
    [
        (three_pictures, 1, False),
        (four_tenths, 2, False),
        (huge, 2, False),
        (one_a_second, 8, True),
        (high_speed, 7, True),  # 1.25 s, from 0 in steps of 0.2
        (held_sideways, 8, True),
        (variable_rate, 20, True),  # 4 s
    ],
)
def test_odd_rates_sizes_and_lengths_are_judged_from_enough_faces_only(  # noqa: PLR0917
    report_of, portrait, tmp_path, build, frames, judged
):
    path = tmp_path / f"{build.__name__}.mp4"
    build(path, portrait)
    report = report_of(path)
    assert report.metadata.frames_analyzed == frames
    (person,) = report.subjects
    assert person.faces_sampled == frames
    if judged:
        assert report.prediction.manipulation_confidence is not None
        assert len(report.prediction.frame_scores) == frames
    else:
        assert report.prediction.manipulation_confidence is None
        assert "are needed for a verdict" in report.prediction.reason
    if build is held_sideways:
        assert report.provenance.video.rotation == 90
        assert (report.provenance.video.width, report.provenance.video.height) == (360, 640)


def test_a_video_without_sound_is_judged_by_the_face_and_says_what_it_lacks(
    run, report_of, portrait, tmp_path
):
    path = make.write_clip(tmp_path / "mute.mp4", make.head(portrait, 40))
    report = report_of(path)
    assert report.prediction.manipulation_confidence is not None
    assert reasons(report)["sync"] == "The file has no audio track."
    assert report.detector_scores.lip_sync_error is None
    assert report.provenance.audio is None
    _, out, _ = run("analyze", path)
    assert "The file has no audio track." in out


def test_silence_and_tones_are_no_speech(report_of, talk, portrait, tmp_path):
    path = tmp_path / "silent.mp4"
    silence = make.Sound(np.zeros((2, 44_100 * 2), np.float32))
    make.write_clip(path, make.head(portrait, 50), audio=silence)
    assert "silent" in reasons(report_of(path))["sync"]
    assert "Too little speech" in reasons(report_of(talk))["sync"]


def test_a_clip_without_a_face_has_no_score_and_says_why(run, report_of, nobody):
    report = report_of(nobody)
    assert report.prediction.manipulation_confidence is None
    assert report.prediction.reason.startswith("No face was found")
    assert report.subjects == ()
    assert report.metadata.frames_analyzed == 10
    assert reasons(report)["visual_blend"] == reasons(report)["sync"] == "No face was found."
    code, out, _ = run("analyze", nobody)
    assert code == 0
    assert "Uncertain" in out
    assert "Score" not in out


def test_two_people_are_both_named_and_the_worst_one_decides(run, report_of, two_people):
    report = report_of(two_people)
    assert [one.id for one in report.subjects] == [1, 2]
    assert all(one.score is not None for one in report.subjects)
    assert report.prediction.manipulation_confidence == max(one.score for one in report.subjects)
    assert [one.decisive for one in report.subjects].count(True) == 1
    _, out, _ = run("analyze", two_people)
    assert "Person 1" in out
    assert "Person 2" in out


def test_single_skips_pictures_with_two_people_and_does_not_deny_the_faces(
    report_of, portrait, two_people, tmp_path
):
    report = report_of(two_people, "--faces", "single")
    assert report.prediction.manipulation_confidence is None
    assert "--faces all" in report.prediction.reason
    assert "No face" not in " ".join([report.prediction.reason, *reasons(report).values()])
    alone = make.scene(portrait, [(40, 70)])
    both = make.scene(portrait, [(40, 70), (380, 70)])
    path = make.write_clip(tmp_path / "visit.mp4", [alone] * 30 + [both] * 10)
    report = report_of(path, "--faces", "single")
    (person,) = report.subjects
    assert person.faces_sampled == 6
    assert any("2 of 8 sampled pictures" in line for line in report.limits.not_judged)


def reasons(report):
    return {one.name: one.reason for one in report.detectors}


# --- many files, some of them broken


def test_a_folder_with_broken_files_goes_on_and_is_taken_up_again(run, talk, nobody, tmp_path):
    folder, results = tmp_path / "clips", tmp_path / "results.jsonl"
    (folder / "deeper é").mkdir(parents=True)
    (folder / "a.mp4").write_bytes(talk.read_bytes())
    (folder / "b.mp4").write_text("no video")
    (folder / "deeper é" / "c c.mp4").write_bytes(nobody.read_bytes())
    (folder / "notes.txt").write_text("not looked at")
    code, out, err = run("analyze", folder, "--jsonl", results)
    assert code == 3
    assert [line[39:] for line in out.splitlines()] == [  # whole, however long they are
        str(folder / "a.mp4"),
        str(folder / "deeper é" / "c c.mp4"),
    ]
    assert f"aura: {folder / 'b.mp4'} is not a video" in err
    assert "3 files: " in err
    assert "1 uncertain, 1 failed" in err
    first = results.read_bytes()
    assert first.count(b"\n") == 3
    code, out, err = run("analyze", folder, "--jsonl", results)
    assert (code, out) == (3, "")
    assert "3 done in an earlier run (1 failed)" in err
    assert results.read_bytes() == first


# --- Ctrl-C


@pytest.fixture(scope="module")
def long_clip(clips, portrait):
    """Two minutes, which no machine is through with before it is interrupted."""
    pictures = list(make.head(portrait, 20)) * 60
    return make.write_clip(clips / "long.mp4", pictures, fps=10, audio=make.Sound(make.tone(120.0)))


def interrupt(start, clip, at, wait, *options):
    """Press Ctrl-C `wait` seconds after a module was imported: (exit code, stdout, stderr)."""
    child = start("analyze", clip, *options, program=("-X", "importtime", "-m", "aura"))
    guard = threading.Timer(60, child.kill)
    guard.start()
    said = []
    for line in child.stderr:
        if not line.startswith("import time:"):
            said.append(line)
        elif line.split("|")[-1].strip() == at:
            time.sleep(wait)
            child.send_signal(signal.SIGINT)
            at = None
    out = child.stdout.read()
    child.wait()
    guard.cancel()
    assert at is None, f"{at} was never imported"
    return child.returncode, out, "".join(said)


@pytest.mark.parametrize(
    ("at", "wait"),
    [
        ("aura.interrupts", 0.0),  # the first import of the entry point
        ("typer.main", 0.0),
        ("numpy", 0.0),
        ("av", 0.0),
        ("openvino.opset1", 0.0),
        ("aura.pipeline", 0.3),  # networks being opened
        ("aura.pipeline", 2.0),  # pictures being looked at
    ],
)
def test_ctrl_c_ends_with_130_and_one_line_and_leaves_nothing(start, long_clip, at, wait):
    code, out, err = interrupt(start, long_clip, at, wait, "--json")
    assert (code, out, err) == (130, "", "aura: stopped; nothing was kept\n")
    assert list(start.scratch.iterdir()) == []


# Ctrl-C while a network is opened, in a callback where Python prints KeyboardInterrupt and goes on.
PRESS_THAT_IS_DROPPED = """
import signal, sys, weakref
from aura import pipeline
from aura.__main__ import main

def load_model(*arguments, load=pipeline.load_model):
    pipeline.load_model = load
    thing = type("Thing", (), {})()
    guard = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    print("went on", flush=True)
    return load(*arguments)

pipeline.load_model = load_model
main()
"""
# Every one is dropped.
DEAF = """
import contextlib, time
from aura import pipeline
from aura.__main__ import main

def load_model(*_):
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            print("at work", flush=True)
            time.sleep(60)

pipeline.load_model = load_model
main()
"""


def test_ctrl_c_that_a_callback_dropped_takes_effect_at_the_next_step(start, talk):
    child = start("analyze", talk, "--json", program=("-c", PRESS_THAT_IS_DROPPED))
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "went on\n")
    assert err == "aura: stopped; nothing was kept\n"
    assert list(start.scratch.iterdir()) == []


def test_a_second_ctrl_c_ends_what_hears_none(start, talk):
    child = start("analyze", talk, program=("-c", DEAF))
    for _ in range(2):
        assert child.stdout.readline() == "at work\n"
        child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=5)
    assert (child.returncode, err) == (130, "aura: stopped at once, without clearing up\n")


def test_ctrl_c_among_many_files_keeps_what_is_done(start, talk, long_clip, tmp_path):
    results = tmp_path / "r.jsonl"
    child = start("analyze", talk, long_clip, "--jsonl", results, "--out", tmp_path / "out")
    assert "talk.mp4" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err == "aura: stopped after 1 of 2 files; run the same command again to go on\n"
    assert results.read_bytes().count(b"\n") == 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["talk.report.json"]
    assert list(start.scratch.iterdir()) == []
