"""Importers on miniature trees that are laid out like the real data sets."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest

import media_factory as make
from aura.errors import InputError, InputNotFound, UsageError
from aura.training.data import importing
from aura.training.data.importing import LAYOUTS, import_data
from aura.training.data.listing import Options
from aura.training.data.manifest import Segment, read_manifest

PAIRS = {"train": [["000", "003"]], "val": [["035", "036"]], "test": [["071", "054"]]}


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def listed(kind, root, **options):
    listing = LAYOUTS[kind](root, Options(**options))
    return listing.rows, {(one.path, one.reason) for one in listing.dropped}


@pytest.fixture
def ffpp(tmp_path):
    """Originals and two methods in two compressions, with the masks that lie beside them."""
    for compression in ("c23", "c40"):
        for one, other in (("000", "003"), ("035", "036"), ("071", "054")):
            for a, b in ((one, other), (other, one)):
                touch(
                    tmp_path,
                    f"original_sequences/youtube/{compression}/videos/{a}.mp4",
                    f"manipulated_sequences/Deepfakes/{compression}/videos/{a}_{b}.mp4",
                    f"manipulated_sequences/NeuralTextures/{compression}/videos/{a}_{b}.mp4",
                )
    touch(
        tmp_path,
        "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
        "original_sequences/actors/c23/videos/01__kitchen_still.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_still__YVGY8LOK.mp4",
    )
    for split, pairs in PAIRS.items():
        write(tmp_path / "splits" / f"{split}.json", pairs)
    return tmp_path


def test_faceforensics_splits_by_identity(ffpp):
    rows, dropped = listed("ffpp", ffpp)
    assert len(rows) == 2 * 6 * 3 + 2
    assert not dropped
    fake = rows["manipulated_sequences/Deepfakes/c23/videos/036_035.mp4"]
    assert (fake.label, fake.visual_label, fake.audio_label) == ("fake", "fake", "")
    assert (fake.method, fake.split) == ("Deepfakes", "val")
    assert fake.identities == ("ffpp-036", "ffpp-035")
    real = rows["original_sequences/youtube/c40/videos/035.mp4"]
    assert (real.label, real.split, real.identities) == ("real", "val", ("ffpp-035",))
    assert real.group == fake.group == "ffpp-035-036"
    assert real.extra["compression"] == "c40"
    splits = {}
    for row in rows.values():
        for person in row.identities:
            splits.setdefault(person, set()).add(row.split)
    assert all(len(where) == 1 for where in splits.values())


def test_faceforensics_actors_share_a_group_with_their_swaps(ffpp):
    rows, _ = listed("ffpp", ffpp)
    real = rows["original_sequences/actors/c23/videos/01__kitchen_still.mp4"]
    fake = rows[
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_still__YVGY8LOK.mp4"
    ]
    assert real.group == fake.group == "dfd-01-kitchen_still"
    assert (real.identities, fake.identities) == (("dfd-01",), ("dfd-01", "dfd-02"))
    assert (real.label, fake.label, fake.split) == ("real", "fake", "")


def test_faceforensics_takes_one_compression_and_tells_what_is_missing_or_foreign(ffpp):
    fakes = "manipulated_sequences/Deepfakes/c40/videos"
    (ffpp / fakes / "054_071.mp4").unlink()
    touch(
        ffpp,
        f"{fakes}/999_998.mp4",
        f"{fakes}/000_035.mp4",
        "manipulated_sequences/MyOwn/c40/videos/000_003.mp4",
    )
    rows, dropped = listed("ffpp", ffpp, compression="c40")
    assert {row.extra["compression"] for row in rows.values()} == {"c40"}
    assert len(rows) == 6 * 3 - 1
    assert dropped == {
        (f"{fakes}/054_071.mp4", "listed but missing"),
        (f"{fakes}/999_998.mp4", "in the tree but not listed"),
        (f"{fakes}/000_035.mp4", "in the tree but not listed"),
        ("manipulated_sequences/MyOwn/c40/videos/000_003.mp4", "in the tree but not listed"),
    }


def test_faceforensics_without_its_splits_says_where_they_are(ffpp, tmp_path):
    (ffpp / "splits" / "val.json").unlink()
    with pytest.raises(InputNotFound, match=r"val\.json is missing.*--splits"):
        listed("ffpp", ffpp)
    write(tmp_path / "mine" / "train.json", [["000", "003"], ["003", "036"]])
    with pytest.raises(InputError, match="003 is in two pairs"):
        listed("ffpp", ffpp, splits=tmp_path / "mine")
    write(tmp_path / "mine" / "train.json", 7)
    with pytest.raises(InputError, match=r"train\.json is no list of pairs"):
        listed("ffpp", ffpp, splits=tmp_path / "mine")
    with pytest.raises(UsageError, match="--compression c99"):
        listed("ffpp", ffpp, compression="c99")


@pytest.fixture
def celeb(tmp_path):
    touch(
        tmp_path,
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id1_0003.mp4",
        "YouTube-real/00170.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id1_id0_0003.mp4",
    )
    write(
        tmp_path / "List_of_testing_videos.txt",
        "1 YouTube-real/00170.mp4\n1 Celeb-real/id1_0003.mp4\n"
        "0 Celeb-synthesis/id1_id0_0003.mp4\n\n",
    )
    return tmp_path


def test_celeb_df_reads_one_as_real_and_the_list_as_the_test_split(celeb):
    rows, dropped = listed("celeb-df", celeb)
    assert not dropped
    assert {path: (row.label, row.split) for path, row in rows.items()} == {
        "Celeb-real/id0_0000.mp4": ("real", "train"),
        "Celeb-real/id1_0003.mp4": ("real", "test"),
        "YouTube-real/00170.mp4": ("real", "test"),
        "Celeb-synthesis/id0_id1_0000.mp4": ("fake", "train"),
        "Celeb-synthesis/id1_id0_0003.mp4": ("fake", "test"),
    }
    fake = rows["Celeb-synthesis/id0_id1_0000.mp4"]
    assert fake.identities == ("celebdf-id0", "celebdf-id1")
    assert fake.group == rows["Celeb-real/id0_0000.mp4"].group


def test_celeb_df_drops_what_the_list_contradicts_or_lacks(celeb):
    with (celeb / "List_of_testing_videos.txt").open("a") as stream:
        stream.write("0 Celeb-real/id0_0000.mp4\n1 YouTube-real/99999.mp4\n")
    rows, dropped = listed("celeb-df", celeb)
    assert "Celeb-real/id0_0000.mp4" not in rows
    assert dropped == {
        ("Celeb-real/id0_0000.mp4", "list and folder disagree"),
        ("YouTube-real/99999.mp4", "listed but missing"),
    }
    write(celeb / "List_of_testing_videos.txt", "1 YouTube-real/00170.mp4\nreal b.mp4\n")
    with pytest.raises(InputError, match=r"List_of_testing_videos\.txt, line 2"):
        listed("celeb-df", celeb)
    (celeb / "List_of_testing_videos.txt").unlink()
    with pytest.raises(InputNotFound, match="it is the split"):
        listed("celeb-df", celeb)


def test_dfdc_groups_fakes_with_their_original(tmp_path):
    part = "dfdc_train_part_00/dfdc_train_part_0"
    touch(tmp_path, f"{part}/aaa.mp4", f"{part}/bbb.mp4", f"{part}/extra.mp4")
    write(
        tmp_path / part / "metadata.json",
        {
            "aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
            "bbb.mp4": {"label": "REAL", "split": "train"},
            "ccc.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
        },
    )
    rows, dropped = listed("dfdc", tmp_path)
    fake, real = rows[f"{part}/aaa.mp4"], rows[f"{part}/bbb.mp4"]
    assert (fake.label, fake.visual_label, fake.audio_label) == ("fake", "", "")
    assert (real.label, real.visual_label, real.audio_label) == ("real", "real", "real")
    assert fake.group == real.group == "dfdc-bbb"
    assert fake.split == "train"
    assert dropped == {
        (f"{part}/ccc.mp4", "listed but missing"),
        (f"{part}/extra.mp4", "in the tree but not listed"),
    }
    write(tmp_path / part / "metadata.json", {"aaa.mp4": {"split": "train"}})
    with pytest.raises(InputError, match="no field 'label'"):
        listed("dfdc", tmp_path)


def test_fakeavceleb_knows_its_four_types_and_rows_that_are_listed_twice(tmp_path):
    folder = "{}/African/men/id00076"
    names = {
        "RealVideo-RealAudio": ("A", "real", "00109.mp4", "-"),
        "RealVideo-FakeAudio": ("B", "rtvc", "00109_fake.mp4", "-"),
        "FakeVideo-RealAudio": ("C", "fsgan", "00109_2_id00476.mp4", "id00476"),
        "FakeVideo-FakeAudio": ("D", "wav2lip", "00109_10_id00476_wavtolip.mp4", "id00476"),
    }
    lines = ["source,target1,target2,method,category,type,race,gender,path,"]
    for kind, (category, method, name, target) in names.items():
        touch(tmp_path, f"{folder.format(kind)}/{name}")
        lines.append(
            f"id00076,{target},-,{method},{category},{kind},African,men,{name},"
            f"FakeAVCeleb/{folder.format(kind)}"
        )
    lines.append(lines[-1].replace(",wav2lip,", ",faceswap-wav2lip,"))
    write(tmp_path / "meta_data.csv", "\n".join(lines))
    rows, dropped = listed("fakeavceleb", tmp_path)
    found = {path.split("/")[0]: row for path, row in rows.items()}
    assert {
        kind: (row.label, row.visual_label, row.audio_label) for kind, row in found.items()
    } == {
        "RealVideo-RealAudio": ("real", "real", "real"),
        "RealVideo-FakeAudio": ("fake", "real", "fake"),
        "FakeVideo-RealAudio": ("fake", "fake", "real"),
        "FakeVideo-FakeAudio": ("fake", "fake", "fake"),
    }
    assert {row.group for row in rows.values()} == {"favc-id00076-00109"}
    assert found["FakeVideo-RealAudio"].identities == ("vox2-id00076", "vox2-id00476")
    assert found["RealVideo-FakeAudio"].identities == ("vox2-id00076",)
    assert found["RealVideo-RealAudio"].extra == {"race": "African", "gender": "men"}
    twice = f"{folder.format('FakeVideo-FakeAudio')}/{names['FakeVideo-FakeAudio'][2]}"
    assert dropped == {(twice, "listed twice")}
    assert rows[twice].method == "wav2lip"
    write(tmp_path / "meta_data.csv", "source,path\nid1,a.mp4\n")
    with pytest.raises(InputError, match="line 1: there is no column gender, method"):
        listed("fakeavceleb", tmp_path)


def lav_entry(file, **changes):
    entry = {
        "file": file,
        "n_fakes": 0,
        "fake_periods": [],
        "duration": 4.672,
        "original": None,
        "modify_video": False,
        "modify_audio": False,
        "split": file.split("/")[0],
        "video_frames": 115,
        "audio_channels": 1,
        "audio_frames": 72704,
    }
    return {**entry, **changes}


def test_lav_df_keeps_the_fake_stretches_by_modality(tmp_path):
    touch(tmp_path, "test/000000.mp4", "dev/000001.mp4", "train/000002.mp4", "train/x.mp4")
    write(
        tmp_path / "metadata.json",
        [
            lav_entry("test/000000.mp4"),
            lav_entry(
                "dev/000001.mp4",
                fake_periods=[[1.0, 1.5], [2.0, 2.0]],
                modify_audio=True,
                original="test/000000.mp4",
            ),
            lav_entry(
                "train/000002.mp4", fake_periods=[[0.5, 1]], modify_audio=True, modify_video=True
            ),
        ],
    )
    rows, dropped = listed("lav-df", tmp_path)
    assert dropped == {("train/x.mp4", "in the tree but not listed")}
    assert [rows[path].split for path in sorted(rows)] == ["val", "test", "train"]
    voice, both = rows["dev/000001.mp4"], rows["train/000002.mp4"]
    assert (voice.label, voice.visual_label, voice.audio_label) == ("fake", "real", "fake")
    assert voice.segments == (Segment("audio", 1.0, 1.5),)
    assert both.segments == (Segment("visual", 0.5, 1.0), Segment("audio", 0.5, 1.0))
    assert voice.group == rows["test/000000.mp4"].group
    assert rows["test/000000.mp4"].label == "real"
    write(tmp_path / "metadata.json", [lav_entry("../outside.mp4", split="test")])
    with pytest.raises(InputError, match=r"'\.\./outside\.mp4', which leads out"):
        listed("lav-df", tmp_path)


def avd_entry(kind, **changes):
    name = {
        "real": "real",
        "audio_modified": "real_video_fake_audio",
        "visual_modified": "fake_video_real_audio",
        "both_modified": "fake_video_fake_audio",
    }[kind]
    base = "id00012/21Uxsk56VDQ/00001"
    return {
        "file": f"{base}/{name}.mp4",
        "original": None if kind == "real" else f"{base}/real.mp4",
        "split": "train",
        "modify_type": kind,
        "audio_model": "yourtts",
        "fake_segments": [],
        "audio_fake_segments": [],
        "visual_fake_segments": [],
        "video_frames": 237,
        "audio_frames": 151_000,
        **changes,
    }


@pytest.mark.parametrize("whole", [True, False])
def test_av_deepfake1m_believes_modify_type_over_stray_stretches(tmp_path, whole):
    entries = [
        avd_entry("real"),
        avd_entry(
            "audio_modified",
            audio_fake_segments=[[3.28, 3.46]],
            visual_fake_segments=[[3.28, 3.46]],  # as in the published lists, and wrong
        ),
        avd_entry(
            "both_modified",
            audio_fake_segments=[[1.0, 1.25]],
            visual_fake_segments=[[1.0, 1.5]],
        ),
    ]
    touch(tmp_path, *(f"train/{one['file']}" for one in entries), "test/000001.mp4")
    if whole:
        write(tmp_path / "train_metadata.json", entries)
    else:
        for one in entries:
            write((tmp_path / "train_metadata" / one["file"]).with_suffix(".json"), one)
    rows, dropped = listed("av-deepfake1m", tmp_path)
    assert dropped == {("test/000001.mp4", "no label published")}
    base = "train/id00012/21Uxsk56VDQ/00001"
    voice = rows[f"{base}/real_video_fake_audio.mp4"]
    assert voice.segments == (Segment("audio", 3.28, 3.46),)
    assert (voice.visual_label, voice.audio_label) == ("real", "fake")
    both = rows[f"{base}/fake_video_fake_audio.mp4"]
    assert both.segments == (Segment("visual", 1.0, 1.5), Segment("audio", 1.0, 1.25))
    assert {row.identity for row in rows.values()} == {"vox2-id00012"}
    assert len({row.group for row in rows.values()}) == 1
    assert rows[f"{base}/real.mp4"].label == "real"


@pytest.mark.parametrize("kind", sorted(LAYOUTS.keys() - {"folders"}))
def test_a_folder_that_is_something_else_is_refused(tmp_path, kind):
    (tmp_path / "holiday").mkdir()
    with pytest.raises(InputNotFound):
        listed(kind, tmp_path)


@pytest.fixture
def mixed(tmp_path):
    """Two real clips, one fake, one broken file, one in no class."""
    root = tmp_path / "set"
    for name in ("real", "fake/roop"):
        (root / name).mkdir(parents=True)
    for seed, name in enumerate(("real/a.mp4", "real/b.mp4", "fake/roop/c.mp4")):
        frames = [make.texture(64, 48, seed)] * 10
        make.write_clip(root / name, frames, fps=10)
    write(root / "real" / "broken.mp4", "no video")
    write(root / "other.mp4", "not looked at")
    return root


def test_an_import_hashes_probes_and_says_what_it_dropped(mixed, tmp_path):
    out = tmp_path / "m.csv"
    told = []
    summary = import_data(
        "folders",
        mixed,
        out,
        Options(licence="mine"),
        hook=lambda stage, done, total: told.append((done, total)),
    )
    rows = {row.path: row for row in read_manifest(out)}
    assert sorted(rows) == ["set/fake/roop/c.mp4", "set/real/a.mp4", "set/real/b.mp4"]
    fake = rows["set/fake/roop/c.mp4"]
    assert (fake.label, fake.method, fake.source, fake.licence) == ("fake", "roop", "set", "mine")
    assert fake.duration == pytest.approx(1.0, abs=0.11)
    assert len({row.sha256 for row in rows.values()} - {""}) == 3
    with (tmp_path / "m.dropped.csv").open(newline="") as stream:
        dropped = {one["path"]: one for one in csv.DictReader(stream)}
    assert dropped["set/other.mp4"]["reason"] == "in the tree but not listed"
    assert dropped["set/real/broken.mp4"]["reason"] == "unreadable"
    assert "broken.mp4" in dropped["set/real/broken.mp4"]["detail"]
    assert summary.dropped == {"in the tree but not listed": 1, "unreadable": 1}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_second_import_reads_only_what_has_changed(mixed, tmp_path, monkeypatch):
    out = tmp_path / "m.csv"
    import_data("folders", mixed, out)
    first = out.read_bytes()
    with (tmp_path / "m.probed.jsonl").open("a") as stream:
        stream.write('{"path": "cut sho')  # a crash
    looked_at = []
    probe = importing.media.probe
    monkeypatch.setattr(importing.media, "probe", lambda p: looked_at.append(p.name) or probe(p))
    assert import_data("folders", mixed, out).reused == 4
    assert looked_at == []
    assert out.read_bytes() == first
    stat = (mixed / "real" / "b.mp4").stat()
    os.utime(mixed / "real" / "b.mp4", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert import_data("folders", mixed, out).reused == 3
    assert looked_at == ["b.mp4"]
    assert import_data("folders", mixed, out).reused == 4


def test_an_import_that_was_stopped_goes_on_from_its_journal(mixed, tmp_path, monkeypatch):
    out = tmp_path / "m.csv"
    probe = importing.media.probe

    def stop(path):
        if path.name == "broken.mp4":
            raise KeyboardInterrupt
        return probe(path)

    monkeypatch.setattr(importing.media, "probe", stop)
    with pytest.raises(KeyboardInterrupt):
        import_data("folders", mixed, out, workers=1)
    assert not out.exists()
    monkeypatch.setattr(importing.media, "probe", probe)
    assert import_data("folders", mixed, out).reused == 2  # real/a and real/b came before it
    assert len(read_manifest(out)) == 3


def test_a_failed_import_leaves_the_earlier_manifest_alone(mixed, tmp_path):
    out = tmp_path / "m.csv"
    import_data("folders", mixed, out)
    before = out.read_bytes()
    for path in mixed.rglob("*.mp4"):
        path.write_text("gone bad")
    with pytest.raises(InputError, match="no clip that could be imported"):
        import_data("folders", mixed, out)
    assert out.read_bytes() == before


def test_a_manifest_must_stand_above_its_files_or_beside_a_link_to_them(mixed, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UsageError, match="symbolic link"):
        import_data("folders", mixed, run / "m.csv")
    (run / "link").symlink_to(mixed)
    import_data("folders", run / "link", run / "m.csv")
    assert {row.path.split("/")[0] for row in read_manifest(run / "m.csv")} == {"link"}


def test_a_name_that_no_text_can_hold_is_left_out(mixed, tmp_path):
    try:
        shutil.copy(mixed / "real" / "a.mp4", os.fsencode(mixed / "real") + b"/caf\xe9.mp4")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    summary = import_data("folders", mixed, tmp_path / "m.csv")
    assert summary.dropped["name is no UTF-8"] == 1
    assert len(read_manifest(tmp_path / "m.csv")) == 3
    assert "caf\ufffd.mp4" in (tmp_path / "m.dropped.csv").read_text(encoding="utf-8")


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="ffpp, celeb-df"):
        import_data("imagenet", tmp_path, tmp_path / "m.csv")
    with pytest.raises(InputNotFound, match="is no folder"):
        import_data("folders", tmp_path / "nowhere", tmp_path / "m.csv")


def test_help_needs_neither_decoder_nor_pytorch():
    program = (
        "import sys; from aura import cli; code = cli.run(['data', '--help']); "
        "print(sorted({'av', 'cv2', 'numpy', 'torch', 'sklearn'} & set(sys.modules)), code)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "import" in done.stdout
    assert done.stdout.splitlines()[-1] == "[] 0"
