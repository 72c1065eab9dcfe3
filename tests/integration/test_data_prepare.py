"""`aura data prepare`: from videos and a manifest to clips that training reads."""

from __future__ import annotations

import csv
import os
import shutil

import numpy as np
import pytest
from preparing_films import FPS, counted, hashes

import media_factory as make
from aura.errors import InputError, UsageError
from aura.training.data.manifest import Row, Segment, write_manifest
from aura.training.data.prepare import Options, prepare
from aura.training.data.prepared import open_prepared


@pytest.fixture
def films_copy(films, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(films, tmp_path / "films")


@pytest.fixture(scope="session")
def ready(films, tmp_path_factory):
    """The films, prepared."""
    out = tmp_path_factory.mktemp("ready") / "prepared"
    prepare(films / "manifest.csv", out, Options(FPS), workers=1)
    return out


def dropped(out):
    with (out / "dropped.csv").open(newline="", encoding="utf-8") as stream:
        return {row["path"]: row["reason"] for row in csv.DictReader(stream)}


def test_a_clip_holds_what_was_seen_and_heard(ready):
    prepared = open_prepared(ready)
    assert [row.path for row in prepared.rows] == ["fake.mp4", "real.mp4"]
    clip = prepared.load(1)
    assert clip.row == Row("real.mp4", "real", identity="a", split="train", extra={"mood": "calm"})
    assert clip.fps == prepared.fps_of(1) == FPS
    assert clip.span == prepared.span_of(1) == pytest.approx((0.0, 2.4), abs=0.05)
    assert len(clip.faces.times) == 12
    assert np.allclose(np.diff(clip.faces.times), 1 / FPS, atol=0.02)
    assert list(clip.frame_ids) == list(range(0, 60, 5))
    assert clip.faces.crops.shape == (12, 224, 224, 3)
    # Aligned: eyes, nose and mouth lie where the template puts them, to a few pixels.
    expected = [[85, 106], [138, 106], [112, 136], [90, 166], [134, 166]]
    assert np.abs(clip.landmarks - expected).max() < 12
    assert (clip.faces.motion[0] == 0).all()
    assert (clip.faces.motion[1:, 0] > 0).all()
    assert len(clip.voice.samples) == pytest.approx(2.4 * 16_000, abs=1600)
    assert np.abs(clip.voice.samples).max() == pytest.approx(0.5, abs=0.05)
    spectrum = np.abs(np.fft.rfft(clip.voice.samples[4000:20_000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)  # one second: bins are Hz
    assert len(clip.voice.speech) == -(-len(clip.voice.samples) // 512)
    assert not prepared.load(0).has_sound


def test_the_crop_is_the_one_that_analysis_sees(films, ready):
    from aura import media
    from aura.faces import FaceDetector
    from aura.subjects import SubjectTracker

    tracker = SubjectTracker(FaceDetector(), None, "single")
    chunks = list(tracker.follow(media.decode(media.probe(films / "fake.mp4"), fps=FPS)))
    seen = np.concatenate([track.crops for chunk in chunks for track in chunk.tracks])
    assert np.array_equal(open_prepared(ready).load(0).faces.crops, seen)


def test_whatever_is_left_out_is_listed_with_its_reason(ready):
    assert dropped(ready) == {
        "short.mp4": "too short",
        "nobody.mp4": "no face",
        "crowd.mp4": "several people throughout",
        "glimpse.mp4": "too few faces",
        "voice.m4a": "not a video",
        "only sound.mp4": "not a video",
        "broken.mp4": "unreadable",
        "gone.mp4": "unreadable",
    }


def test_a_stretch_of_a_clip_is_the_same_as_in_the_whole(ready):
    prepared = open_prepared(ready)
    whole, part = prepared.load(1), prepared.load(1, (0.6, 1.6))
    inside = (whole.faces.times >= 0.6) & (whole.faces.times < 1.6)
    assert inside.sum() == 5
    for name in ("times", "crops", "motion"):
        assert np.array_equal(getattr(part.faces, name), getattr(whole.faces, name)[inside])
    assert np.array_equal(part.landmarks, whole.landmarks[inside])
    offset = round((part.voice.start - whole.voice.start) * 16_000)
    assert offset % 512 == 0
    assert part.voice.start <= 0.6
    assert part.voice.start + len(part.voice.samples) / 16_000 >= 1.6
    assert np.array_equal(
        part.voice.samples, whole.voice.samples[offset : offset + len(part.voice.samples)]
    )
    assert np.array_equal(
        part.voice.speech, whole.voice.speech[offset // 512 :][: len(part.voice.speech)]
    )


def test_two_runs_write_the_same_bytes_however_many_processes_work(films, ready, tmp_path):
    prepare(films / "manifest.csv", tmp_path / "again", Options(FPS), workers=2)
    assert hashes(tmp_path / "again") == hashes(ready)
    assert len(hashes(ready)) == 2
    for table in ("clips.csv", "dropped.csv", "prepared.json"):
        again = (tmp_path / "again" / table).read_bytes()
        assert again == (ready / table).read_bytes()
    assert open_prepared(tmp_path / "again").data_hash == open_prepared(ready).data_hash


def test_a_second_run_decodes_only_what_is_new_or_changed(films_copy, tmp_path, monkeypatch):
    manifest, out = films_copy / "manifest.csv", tmp_path / "out"
    seen = counted(monkeypatch)
    prepare(manifest, out, Options(FPS), workers=1)
    assert sorted(seen) == sorted(
        ["real.mp4", "fake.mp4", "short.mp4", "nobody.mp4", "crowd.mp4", "glimpse.mp4"]
    )
    before = hashes(out)
    seen.clear()
    summary = prepare(manifest, out, Options(FPS), workers=1)
    assert seen == []
    assert summary.reused == 8  # all but the missing file and the sound file
    os.utime(films_copy / "real.mp4", (1, 1))  # the same bytes at another time
    shutil.copyfile(films_copy / "real.mp4", films_copy / "short.mp4")  # other bytes
    (films_copy / "fake.mp4").write_bytes((films_copy / "crowd.mp4").read_bytes())
    prepare(manifest, out, Options(FPS), workers=1)
    assert seen == ["fake.mp4"]
    assert [row.path for row in open_prepared(out).rows] == ["real.mp4", "short.mp4"]
    assert dropped(out)["fake.mp4"] == "several people throughout"
    assert before.items() <= hashes(out).items()


def test_labels_and_splits_follow_the_manifest_without_decoding(films_copy, tmp_path, monkeypatch):
    manifest, out = films_copy / "manifest.csv", tmp_path / "out"
    prepare(manifest, out, Options(FPS), workers=1)
    first = open_prepared(out).data_hash
    seen = counted(monkeypatch)
    write_manifest(manifest, [Row("real.mp4", "fake", audio_label="fake", split="val")])
    prepare(manifest, out, Options(FPS), workers=1)
    after = open_prepared(out)
    assert seen == []
    assert [row.split for row in after.rows] == ["val"]
    assert after.load(0).truth.label == 1
    assert after.data_hash != first


def test_other_settings_are_refused_and_leave_the_set_as_it_is(films, ready, tmp_path):
    out = shutil.copytree(ready, tmp_path / "out")
    with pytest.raises(UsageError, match=r"fps was 5\.0, is 10\.0.*another folder"):
        prepare(films / "manifest.csv", out, Options(10.0), workers=1)
    assert open_prepared(out).fps_of(0) == FPS


def test_a_file_that_is_not_the_one_imported_is_left_out(two_films, tmp_path):
    manifest = two_films / "manifest.csv"
    write_manifest(manifest, [Row("real.mp4", "real"), Row("fake.mp4", "fake", sha256="0" * 64)])
    prepare(manifest, tmp_path / "out", Options(FPS), workers=1)
    assert dropped(tmp_path / "out") == {"fake.mp4": "not the file of the manifest"}


def test_only_the_beginning_is_kept_and_fakes_that_come_later_are_left_out(two_films, tmp_path):
    manifest, out = two_films / "manifest.csv", tmp_path / "out"
    cut = (Segment("visual", 1.0, 2.0),)
    late = (Segment("visual", 1.5, 2.0),)
    shutil.copy(two_films / "fake.mp4", two_films / "late.mp4")
    write_manifest(
        manifest,
        [
            Row("real.mp4", "real"),
            Row("fake.mp4", "fake", segments=cut),
            Row("late.mp4", "fake", segments=late),
        ],
    )
    prepare(manifest, out, Options(FPS, max_seconds=1.2), workers=1)
    prepared = open_prepared(out)
    assert dropped(out) == {"late.mp4": "manipulated only later"}
    assert prepared.span_of(0) == pytest.approx((0.0, 1.2))
    clip = prepared.load(0)
    assert len(clip.faces.times) == 6
    assert [(s.start, s.end) for s in clip.truth.spans] == [(1.0, pytest.approx(1.2))] * 2
    assert clip.truth.within("visual", 0.0, 1.0) == 0
    assert clip.truth.within("visual", 0.5, 1.2) == 1
    assert len(prepared.load(1).voice.samples) == pytest.approx(1.2 * 16_000, abs=512)


def test_of_several_people_in_turn_the_one_seen_most_is_kept(tmp_path, portrait):
    guest = make.scene(portrait, [(40, 70)], seed=1)
    host = make.texture(640, 360, 2)
    host[70:290, 380:600] = make.scene(portrait, [(0, 0), (380, 70)], seed=2)[70:290, 380:600]
    pictures = [guest] * 25 + [host] * 50
    make.write_clip(tmp_path / "interview.mp4", pictures)
    write_manifest(tmp_path / "manifest.csv", [Row("interview.mp4", "real")])
    summary = prepare(tmp_path / "manifest.csv", tmp_path / "out", Options(FPS), workers=1)
    assert any("1 clips show several people in turn" in one for one in summary.warnings)
    prepared = open_prepared(tmp_path / "out")
    assert prepared.places[0].people == 2
    times = prepared.load(0).faces.times
    assert len(times) == 10
    assert times.min() >= 1.0  # the guest's second is not in it


def test_a_manifest_without_a_usable_video_says_why(films, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    shutil.copy(films / "nobody.mp4", root)
    write_manifest(root / "manifest.csv", [Row("nobody.mp4", "real"), Row("gone.mp4", "fake")])
    with pytest.raises(InputError, match=r"no video that can be trained on.*1 no face"):
        prepare(root / "manifest.csv", tmp_path / "out", workers=1)
    assert dropped(tmp_path / "out") == {"nobody.mp4": "no face", "gone.mp4": "unreadable"}
    with pytest.raises(InputError, match="not prepared to the end"):
        open_prepared(tmp_path / "out")


def test_a_set_of_one_class_is_warned_about(run, two_films, tmp_path):
    write_manifest(two_films / "manifest.csv", [Row("real.mp4", "real", split="train")])
    code, out, err = run("data", "prepare", two_films / "manifest.csv", "--out", tmp_path / "out")
    assert code == 0
    assert "split train has real clips only" in err
    assert "1 clips, 2 s, 12 faces" in out


def test_an_empty_manifest_is_refused_before_anything_is_made(run, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,label\n")
    code, _, err = run("data", "prepare", tmp_path / "manifest.csv", "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (3, 1)
    assert "holds no row" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [("--fps", "0"), ("--fps", "nan"), ("--max-seconds", "0.5")], ids=lambda o: o[1]
)
def test_options_that_make_no_sense_are_refused(run, films, tmp_path, options):
    manifest = films / "manifest.csv"
    code, _, err = run("data", "prepare", manifest, "--out", tmp_path / "out", *options)
    assert code == 2
    assert options[0] in err
    assert not (tmp_path / "out").exists()


def test_a_shard_that_went_missing_is_named_and_restored(two_films, tmp_path):
    out = tmp_path / "out"
    prepare(two_films / "manifest.csv", out, Options(FPS), workers=1)
    before = hashes(out)
    gone = next((out / "shards").glob("*/*"))
    gone.unlink()
    with pytest.raises(InputError, match=rf"{gone.name}.*missing.*aura data prepare"):
        open_prepared(out)
    prepare(two_films / "manifest.csv", out, Options(FPS), workers=1)
    assert hashes(out) == before


def test_a_column_that_the_prepared_set_needs_itself_is_refused(two_films, tmp_path):
    rows = [Row("real.mp4", "real", extra={"shard": "mine"})]
    write_manifest(two_films / "manifest.csv", rows)
    with pytest.raises(UsageError, match="column shard"):
        prepare(two_films / "manifest.csv", tmp_path / "out", workers=1)
