"""The file of predictions: gone on with line by line, refused when it can't be believed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aura.errors import InputError, InputNotFound, UsageError
from aura.evaluation.predictions import (
    FoundSegment,
    Frame,
    Header,
    Prediction,
    PredictionsFile,
    TrueSegment,
    Window,
    read_predictions,
    to_line,
    visual_label_within,
)

HEADER = Header("profile x", "ab" * 32, "clips", trained_on=("ffpp",), options={"level": 3})
CLIP = Prediction(
    path="a/é.mp4",
    label=1,
    visual=0,
    audio=1,
    method="tts",
    group="g",
    subgroups={"language": "de"},
    score=0.75,
    logit=1.1,
    interval=(0.5, 0.9),
    decision="fake",
    windows=(Window(0.0, 1.0, 0.75, 1), Window(0.5, 1.5, 0.25, None)),
    frames=(Frame(0.2, 0.5, 0),),
    segments_true=(TrueSegment("audio", 0.0, 1.0),),
    segments_found=(FoundSegment("audio", 0.0, 0.5, 0.8),),
    detectors={"sync": -2.0},
    stamp=(10, 20),
)


def written(folder, *clips, header=HEADER):
    path = folder / "predictions.jsonl"
    with PredictionsFile(path, header) as file:
        for clip in clips:
            file.add(clip)
    return path


def test_everything_comes_back_as_it_was_written(tmp_path):
    written(tmp_path, CLIP, Prediction("b.mp4", 0, error="broken"))
    header, clips = read_predictions(tmp_path)
    assert header == HEADER
    assert clips == [CLIP, Prediction("b.mp4", 0, error="broken")]


def test_a_run_goes_on_where_it_was_cut_short(tmp_path):
    path = written(tmp_path, CLIP)
    whole = path.read_bytes()
    path.write_bytes(whole + to_line(replace(CLIP, path="c.mp4")).encode()[:40])
    with pytest.raises(InputError, match="cut short"):
        read_predictions(path)
    with PredictionsFile(path, HEADER) as file:
        assert list(file.done) == ["a/é.mp4"]
        file.add(replace(CLIP, path="c.mp4"))
    assert [one.path for one in read_predictions(path)[1]] == ["a/é.mp4", "c.mp4"]
    assert path.read_bytes().startswith(whole)


def test_a_header_that_was_cut_short_is_written_again(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b'{"aura_predictions": 1, "mod')
    written(tmp_path, CLIP)
    assert read_predictions(path) == (HEADER, [CLIP])


def test_the_last_of_several_lines_about_a_clip_counts(tmp_path):
    written(tmp_path, CLIP, replace(CLIP, score=0.125))
    assert [one.score for one in read_predictions(tmp_path)[1]] == [0.125]


@pytest.mark.parametrize(
    "other",
    [
        replace(HEADER, model_sha256="cd" * 32),
        replace(HEADER, options={"level": 4}),
        replace(HEADER, split="test"),
        replace(HEADER, data_sha256="ef" * 32),
    ],
)
def test_predictions_of_another_run_are_neither_mixed_nor_lost(tmp_path, other):
    path = written(tmp_path, CLIP)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="name another folder"):
        PredictionsFile(path, other)
    assert path.read_bytes() == before


def test_another_day_and_command_are_the_same_run(tmp_path):
    written(tmp_path, CLIP)
    later = replace(HEADER, created="2030-01-01T00:00:00+00:00", command="aura evaluate again")
    with PredictionsFile(tmp_path / "predictions.jsonl", later) as file:
        assert len(file.done) == 1


def test_somebody_elses_file_is_left_alone(tmp_path):
    path = tmp_path / "predictions.jsonl"
    for text in ("dear diary", '{"other": 1}\n'):
        path.write_text(text)
        with pytest.raises(InputError, match="no file of predictions"):
            PredictionsFile(path, HEADER)
        assert path.read_text() == text


def test_two_runs_at_once_are_refused(tmp_path):
    path = written(tmp_path, CLIP)
    with (
        PredictionsFile(path, HEADER),
        pytest.raises(UsageError, match="by another run"),
    ):
        PredictionsFile(path, HEADER)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": float("nan")}, "is no number"),
        ({"score": 1.5}, "is no number"),
        ({"label": 2}, "neither 0"),
        ({"windows": [[0, 1, float("inf"), 1]]}, "is no number"),
        ({"frames": [[0, None, 1]]}, "is no number"),
        ({"logit": float("nan")}, "logit"),
        ({"windows": [[0, 1]]}, "no prediction"),
        ({"unheard_of": 1}, "no prediction"),
    ],
)
def test_scores_that_are_no_numbers_are_refused_with_file_and_line(tmp_path, change, words):
    path = written(tmp_path, CLIP)
    raw = {**json.loads(path.read_text().splitlines()[1]), **change}
    path.write_text(path.read_text().splitlines()[0] + "\n" + json.dumps(raw) + "\n")
    with pytest.raises(InputError, match=words) as caught:
        read_predictions(path)
    assert "line 2" in str(caught.value)


def test_a_model_that_gives_nan_is_stopped_before_it_is_written(tmp_path):
    with (
        PredictionsFile(tmp_path / "predictions.jsonl", HEADER) as file,
        pytest.raises(InputError, match="broken"),
    ):
        file.add(replace(CLIP, score=float("nan")))
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 1


def test_what_is_no_evaluation_is_named(tmp_path):
    with pytest.raises(InputNotFound, match="is no evaluation"):
        read_predictions(tmp_path)
    path = written(tmp_path)
    with pytest.raises(InputError, match="no predictions"):
        read_predictions(path)
    newer = path.read_text().replace('"aura_predictions": 1', '"aura_predictions": 99')
    path.write_text(newer)
    with pytest.raises(InputError, match="upgrade"):
        read_predictions(path)


def test_pictures_are_fake_only_where_the_picture_is():
    partly = replace(CLIP, visual=1, segments_true=(TrueSegment("visual", 1.0, 2.0),))
    assert visual_label_within(partly, 0.0, 0.5) == 0
    assert visual_label_within(partly, 1.5, 1.6) == 1
    assert visual_label_within(CLIP, 0.0, 1.0) == 0  # only its sound is fake
    assert visual_label_within(replace(CLIP, visual=None, segments_true=None), 0, 1) == 1
