"""The real command line over real media, networks and weights; clips that several tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import media_factory as make
from aura import cli, sample
from aura.errors import MissingExtra
from aura.report import Report
from aura.training.data.manifest import Row, read_manifest, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(monkeypatch, capsysbinary):
    """One command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv(cli.DEBUG_VARIABLE, raising=False)

    def go(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        assert b"Traceback" not in out + err
        return code, out.decode(), err.decode()

    return go


@pytest.fixture
def report_of(run):
    """The report on a file that must be analysable, checked for what every report must hold."""

    def go(path, *options):
        code, out, err = run("analyze", path, "--json", *options)
        assert (code, err) == (0, "")
        return checked(Report.model_validate_json(out))

    return go


def checked(report):
    """A report whose times lie in the clip, whose reasons are given and whose scores are real."""
    prediction = report.prediction
    end = report.metadata.video_duration_sec
    end = np.inf if end is None else end + 0.5  # windows are as long as a picture is shown
    for frame in (*prediction.frame_scores, *prediction.anomalous_frames):
        assert 0 <= frame.timestamp <= end
    for stretch in prediction.segments:
        assert 0 <= stretch.start < stretch.end <= end
    for one in report.subjects:
        assert 0 <= one.first_seen <= one.last_seen <= end
        assert one.faces_sampled <= report.metadata.frames_analyzed
    for one in report.detectors:
        assert (one.status == "ok") == (one.score is not None)
        assert one.score != 0.5  # what a program says that did not look
        if one.status == "not_applicable":
            assert one.reason[0].isupper()
            assert one.reason.endswith(".")
            assert one.windows == ()
        assert all(0 <= window.start <= window.end <= end + 1 for window in one.windows)
    if prediction.manipulation_confidence is None:
        assert prediction.overall_class == "uncertain"
        assert prediction.reason
        assert prediction.overall_confidence is prediction.confidence_interval is None
    else:
        assert prediction.manipulation_confidence != 0.5
        interval = prediction.confidence_interval
        assert interval.low <= prediction.manipulation_confidence <= interval.high
    if len(prediction.frame_scores) > 5:
        assert len({frame.score for frame in prediction.frame_scores}) > 1
    assert {one.name for one in report.detectors} == {
        "visual_blend",
        "visual_generated",
        "sync",
        "temporal",
        "audio",
    }
    assert report.provenance.frame_checksums.count == report.metadata.frames_analyzed
    assert report.deterministic_digest == report.digest()
    return report


@pytest.fixture
def start(tmp_path):
    """`aura` as a process of its own, with an empty home and an empty folder for scratch files."""
    for name in ("home", "scratch"):
        (tmp_path / name).mkdir()

    def go(*arguments, program=("-m", "aura"), **options):
        keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "LANG"}}
        return subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**keep, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "scratch")},
            **options,
        )

    go.home, go.scratch = tmp_path / "home", tmp_path / "scratch"
    return go


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Folder of the clips that several tests share."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def talk(clips, portrait) -> Path:
    """2.4 seconds of a face in front of a swaying camera, with a tone: 12 sampled pictures."""
    return make.write_clip(
        clips / "talk.mp4", make.head(portrait, 60), audio=make.Sound(make.tone(2.4))
    )


@pytest.fixture(scope="session")
def two_people(clips, portrait) -> Path:
    """1.6 seconds of two faces beside each other, who move a little."""
    places = [[(40 + step, 70), (380 - step, 70)] for step in range(8) for _ in range(5)]
    pictures = (make.scene(portrait, place) for place in places)
    return make.write_clip(clips / "two people.mp4", pictures, audio=make.Sound(make.tone(1.6)))


@pytest.fixture(scope="session")
def nobody(clips) -> Path:
    """Two seconds without a face, with a tone."""
    return make.write_clip(
        clips / "nobody.mp4", make.moving_texture(50, 640, 360), audio=make.Sound(make.tone(2.0))
    )


@pytest.fixture(scope="session")
def speaking(clips) -> Path:
    """The sample that `make analyze` shows: a portrait that speaks for eight seconds."""
    try:
        return sample.render_sample(clips / "speaking.mp4")
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def films(tmp_path_factory, portrait):
    """A small data set to prepare: one row for every fate that a file can meet."""
    root = tmp_path_factory.mktemp("films")
    make.write_clip(root / "real.mp4", make.head(portrait, 60), audio=make.Sound(make.tone(2.4)))
    make.write_clip(root / "fake.mp4", make.head(portrait[:, ::-1], 75))
    make.write_clip(root / "short.mp4", make.head(portrait, 12))
    make.write_clip(root / "nobody.mp4", make.moving_texture(50, 640, 360))
    crowd = (make.scene(portrait, [(40 + step // 8, 70), (380, 70)]) for step in range(40))
    make.write_clip(root / "crowd.mp4", crowd)
    glimpse = [*list(make.head(portrait, 12)), *list(make.moving_texture(40, 640, 360))]
    make.write_clip(root / "glimpse.mp4", glimpse)
    make.write_sound(root / "voice.m4a", make.Sound(make.tone(1.0)))
    make.write_sound(root / "only sound.mp4", make.Sound(make.tone(2.0)))
    (root / "broken.mp4").write_bytes(b"no video at all" * 100)
    rows = [
        Row("real.mp4", "real", identity="a", split="train", extra={"mood": "calm"}),
        Row("fake.mp4", "fake", visual_label="fake", identity="b", split="train"),
        *(Row(name, "real") for name in ("short.mp4", "nobody.mp4", "crowd.mp4", "glimpse.mp4")),
        *(Row(name, "real") for name in ("voice.m4a", "only sound.mp4", "broken.mp4", "gone.mp4")),
    ]
    write_manifest(root / "manifest.csv", rows)
    return root


@pytest.fixture
def two_films(films, tmp_path):
    """Only what can be used, in a folder of its own."""
    root = tmp_path / "two films"
    root.mkdir()
    for name in ("real.mp4", "fake.mp4"):
        shutil.copy2(films / name, root / name)
    rows = [row for row in read_manifest(films / "manifest.csv") if row.split == "train"]
    write_manifest(root / "manifest.csv", rows)
    return root
