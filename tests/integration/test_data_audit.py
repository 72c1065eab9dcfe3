"""`aura data audit` finds what was planted in a data set, and keeps quiet about a clean one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import av
import numpy as np
import pytest

import media_factory as make
from aura.training.data.audit import audit
from aura.training.data.duplicates import look_alikes
from aura.training.data.looks import HASH_BITS, look_at, picture_hash
from aura.training.data.manifest import Row, read_manifest, write_manifest

CLASS_SIZE = 14
TRAIN_SIZE = 9  # of a class; the rest is val
CHECKS = {"files", "classes", "identity", "content", "duplicates", "look-alikes", "shortcuts"}


def write(path, seed, *, crf=22, silence=None):
    """1.6 s of a drifting texture with a tone that sets in at once, or after `silence` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    picture = make.texture(96, 64, seed)
    frames = (np.roll(picture, step, axis=1) for step in range(16))
    start = rng.uniform(0, 0.05) if silence is None else silence
    samples = make.tone(1.6, frequency=rng.uniform(200, 400))
    samples[:, : round(start * 44_100)] = 0
    return make.write_clip(
        path, frames, fps=10, audio=make.Sound(samples), options={"crf": str(crf)}
    )


def build(root, **fakes):
    """A data set in two splits, every clip with its own person; `fakes` changes the fakes alone."""
    rows = []
    for label, first in (("real", 0), ("fake", 100)):
        for number in range(CLASS_SIZE):
            path = f"{label}/{number:02}.mp4"
            write(root / path, first + number, **(fakes if label == "fake" else {}))
            split = "train" if number < TRAIN_SIZE else "val"
            name = f"{label}-{number}"
            rows.append(Row(path, label, identity=name, group=name, split=split))
    write_manifest(root / "manifest.csv", rows)
    return root


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return build(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def clean(pristine, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(pristine, tmp_path / "set")


def change(root, **changes):
    """Rewrite rows: path=dict of new values; None removes the row."""
    rows = []
    for row in read_manifest(root / "manifest.csv"):
        wanted = changes.pop(row.path, {})
        if wanted is not None:
            rows.append(replace(row, **wanted))
    rows += changes.pop("more", [])
    assert not changes, "a row that is not there was to be changed"
    write_manifest(root / "manifest.csv", rows)


def bad(root):
    """The bad findings, by check; everything else must have been judged, too."""
    found = audit(root / "manifest.csv")
    assert {one.check for one in found.findings} == CHECKS
    return {one.check: one for one in found.findings if one.state == "bad"}


def recoded(source, target):
    """The same pictures at twice the size, another quality and another rate, without sound."""
    with av.open(str(source)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    larger = [np.kron(one, np.ones((2, 2, 1), np.uint8)) for one in pictures]
    return make.write_clip(target, larger, fps=10, options={"crf": "34"})


def test_a_clean_data_set_is_left_in_peace(pristine, run):
    found = audit(pristine / "manifest.csv")
    assert {one.check for one in found.findings} == CHECKS
    assert [one for one in found.findings if one.state != "ok"] == []
    assert found.clean
    assert not any(one.leaks for one in found.shortcuts)
    code, out, err = run("data", "audit", pristine / "manifest.csv")
    assert (code, err) == (0, "")
    assert "28 rows: nothing bad was found." in out


def test_a_person_in_two_splits_is_found(clean, run):
    change(clean, **{"fake/13.mp4": {"identity": "somebody;real-2"}})
    found = bad(clean)
    assert set(found) == {"identity"}
    assert found["identity"].examples == ("real-2 (train, val)",)
    code, out, _ = run("data", "audit", clean / "manifest.csv")
    assert code == 5
    assert "BAD   identity     1 person in more than one split" in out
    assert "- real-2 (train, val)" in out
    assert "1 bad finding" in out


def test_content_in_two_splits_is_found(clean):
    change(clean, **{"real/13.mp4": {"group": "real-0"}})
    found = bad(clean)
    assert set(found) == {"content"}
    assert found["content"].examples == ("real-0 (train, val)",)


def test_a_sentence_in_two_splits_is_found(clean):
    rows = {
        f"real/{number:02}.mp4": {"extra": {"sentence": f"s{number % 13}"}}
        for number in range(CLASS_SIZE)
    }
    change(clean, **rows)
    sentence = [one for one in audit(clean / "manifest.csv").findings if one.check == "sentence"]
    assert [(one.state, one.examples) for one in sentence] == [("bad", ("s0 (train, val)",))]


def test_the_same_bytes_in_two_splits_are_found(clean):
    shutil.copy(clean / "real" / "00.mp4", clean / "real" / "13.mp4")
    found = bad(clean)
    assert set(found) == {"duplicates"}
    assert found["duplicates"].examples == ("real/00.mp4 = real/13.mp4",)
    assert "in two splits" in found["duplicates"].text


def test_a_reencoded_copy_in_another_split_is_found(clean):
    recoded(clean / "real" / "00.mp4", clean / "real" / "copy.mp4")
    change(clean, more=[Row("real/copy.mp4", "real", identity="x", group="x", split="val")])
    found = bad(clean)
    assert set(found) == {"look-alikes"}
    assert found["look-alikes"].examples == ("real/00.mp4 = real/copy.mp4",)


def test_a_reencoded_copy_under_the_other_label_is_found_unless_its_group_is_known(clean):
    recoded(clean / "real" / "00.mp4", clean / "fake" / "copy.mp4")
    copy = Row("fake/copy.mp4", "fake", identity="real-0", split="train")
    change(clean, more=[copy])
    found = bad(clean)
    assert set(found) == {"look-alikes"}
    assert "once real, once fake" in found["look-alikes"].text
    change(clean, **{"fake/copy.mp4": {"group": "real-0"}})
    assert bad(clean) == {}


def test_a_bit_rate_shortcut_is_found(tmp_path):
    found = bad(build(tmp_path, crf=42))
    assert set(found) == {"shortcuts"}
    assert any(one.startswith("bit rate: AUC 1.00") for one in found["shortcuts"].examples)
    assert not any("silence" in one for one in found["shortcuts"].examples)


def test_leading_silence_is_found(tmp_path):
    found = bad(build(tmp_path, silence=0.4))
    assert set(found) == {"shortcuts"}
    assert any(one.startswith("leading silence: AUC 1.00") for one in found["shortcuts"].examples)


def test_a_set_of_real_clips_alone_is_no_fault(clean):
    gone = {f"fake/{number:02}.mp4": None for number in range(CLASS_SIZE)}
    change(clean, **gone)
    found = [one for one in audit(clean / "manifest.csv").findings if one.check == "classes"]
    assert {one.state for one in found} == {"note"}
    assert all("have to be made" in one.text for one in found)


def test_files_that_are_broken_missing_or_changed_are_found(clean):
    (clean / "real" / "00.mp4").write_bytes(b"no video at all")
    (clean / "fake" / "00.mp4").unlink()
    change(clean, **{"real/01.mp4": {"sha256": "0" * 64}})
    found = [one for one in audit(clean / "manifest.csv").findings if one.check == "files"]
    assert [(one.state, len(one.examples)) for one in found] == [("bad", 2), ("bad", 1)]
    assert found[0].examples[0].startswith("fake/00.mp4: ")
    assert found[0].examples[1].startswith("real/00.mp4: ")
    assert found[1].examples == ("real/01.mp4",)


def test_a_split_of_one_class_is_found(clean, run):
    gone = {f"fake/{number:02}.mp4": None for number in range(TRAIN_SIZE, CLASS_SIZE)}
    change(clean, **gone)
    code, out, _ = run("data", "audit", clean / "manifest.csv", "--json")
    found = json.loads(out)
    assert code == 5
    assert found["clean"] is False
    assert found["rows"] == 2 * CLASS_SIZE - len(gone)
    bad_ones = [one for one in found["findings"] if one["state"] == "bad"]
    assert [one["text"] for one in bad_ones] == ["val: 0 fake, 5 real; one class is missing"]
    too_few = next(one for one in found["findings"] if one["check"] == "shortcuts")
    assert too_few["state"] == "note"
    assert found["shortcuts"] == []


def test_json_has_every_figure(pristine, run):
    code, out, err = run("data", "audit", pristine / "manifest.csv", "--json")
    found = json.loads(out)
    assert (code, err, found["clean"]) == (0, "", True)
    together, *single = found["shortcuts"]
    assert together["name"] == "all together"
    assert together["interval"][0] <= together["auc"] <= together["interval"][1]
    assert {"bit rate", "length", "leading silence"} <= {one["name"] for one in single}
    assert all(0.5 <= one["auc"] <= 1 for one in single)


def test_manifests_that_can_not_be_audited_are_refused(tmp_path, run):
    empty = tmp_path / "empty.csv"
    empty.write_text("path,label\n")
    assert run("data", "audit", empty)[0] == 3
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("path,split\na.mp4,train\n")
    code, _, err = run("data", "audit", lacking)
    assert (code, "no column label" in err) == (3, True)
    outside = tmp_path / "outside.csv"
    outside.write_text("path,label\n../a.mp4,real\n")
    code, _, err = run("data", "audit", outside)
    assert (code, "line 2, column path" in err) == (3, True)
    assert run("data", "audit", tmp_path / "nowhere.csv")[0] == 3


def test_import_and_audit_are_one_command_each(pristine, tmp_path, run):
    shutil.copytree(pristine, tmp_path / "set", ignore=shutil.ignore_patterns("*.csv"))
    out = tmp_path / "mine.csv"
    code, printed, _ = run("data", "import", "folders", tmp_path / "set", "--out", out)
    assert code == 0
    assert "28 clips" in printed
    assert "fake        14" in printed
    assert run("data", "import", "folders", tmp_path / "set", "--out", out, "-q") == (0, "", "")
    assert (
        "known from an earlier run"
        in (run("data", "import", "folders", tmp_path / "set", "--out", out)[1])
    )
    assert run("data", "audit", out)[0] == 0
    assert run("data", "import", "imagenet", tmp_path / "set", "--out", out)[0] == 2


def test_the_silence_before_the_first_sound_is_measured(tmp_path):
    look = look_at(write(tmp_path / "a.mp4", 1, silence=0.7))
    assert look.leading_silence == pytest.approx(0.7, abs=0.05)
    mute = make.write_clip(tmp_path / "b.mp4", make.moving_texture(20), fps=10)
    assert look_at(mute).leading_silence == 0


def test_coarse_blocks_show(tmp_path):
    fine, coarse = (
        make.write_clip(
            tmp_path / f"{quality}.avi",
            [make.texture(320, 240)] * 5,
            codec="mjpeg",
            options={"qmin": quality, "qmax": quality},
        )
        for quality in ("2", "31")
    )
    assert look_at(coarse).blockiness > look_at(fine).blockiness + 0.1


@pytest.mark.data
def test_real_clips_look_alike_exactly_where_they_share_a_take(data_dir):
    rows = [
        row for row in read_manifest(data_dir / "manifest.csv") if row.path.startswith("clips/")
    ]
    assert len(rows) > 30
    found = look_alikes([look_at(data_dir / row.path).hashes for row in rows])
    known = {(i, j) for j in range(len(rows)) for i in range(j) if rows[i].group == rows[j].group}
    assert known
    assert set(found) == known


def test_hashes_of_other_pictures_differ_and_flat_ones_have_none():
    one, other = (make.texture(320, 240, seed)[..., 1] for seed in (1, 2))
    first, second = picture_hash(one), picture_hash(other)
    assert first.shape == (HASH_BITS,)
    assert set(first.tolist()) == {-1, 1}
    assert (first != second).sum() > HASH_BITS / 4
    brighter = np.clip(one.astype(int) + 10, 0, 255).astype(np.uint8)
    assert (first != picture_hash(brighter)).sum() < HASH_BITS / 20
    assert picture_hash(make.flat(16)[..., 0]) is None
