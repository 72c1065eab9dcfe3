"""The manifest: what it takes, what it refuses and where it says the fault is."""

from __future__ import annotations

import pickle
import sys

import pytest

from aura.errors import InputError, InputNotFound, MissingExtra, UsageError
from aura.evaluation import labelled_clips
from aura.training.data.manifest import COLUMNS, Row, Segment, read_manifest, write_manifest

DIGEST = "0123456789abcdef" * 4
FULL = Row(
    path="fake/a, b.mp4",
    label="fake",
    visual_label="real",
    audio_label="fake",
    method='a "new" voice',
    identity="id1;id2",
    source="Möbius",
    split="val",
    licence="CC BY-NC 4.0",
    sha256=DIGEST,
    duration=4.25,
    segments=(Segment("audio", 0.5, 1.75),),
    group="take-1",
    extra={"gender": "women"},
)
PLAIN = Row(path="real/c.mp4", label="real")


def manifest(tmp_path, text):
    path = tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_what_is_written_is_read_again(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[parquet]'")
    path = tmp_path / name
    write_manifest(path, [PLAIN, FULL])
    first, second = read_manifest(path)
    assert first == FULL
    assert first.identities == ("id1", "id2")
    assert (first.target, second.target) == (1, 0)
    assert second.extra == {"gender": ""}
    assert (second.duration, second.segments, second.split) == (None, (), "")
    assert list(tmp_path.iterdir()) == [path], "nothing temporary is left behind"
    assert pickle.loads(pickle.dumps(first)) == first, "loaders hand rows to other processes"


def test_the_header_is_the_documented_one_and_rows_are_sorted(tmp_path):
    path = tmp_path / "m.csv"
    write_manifest(path, [PLAIN, FULL])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join([*COLUMNS, "gender"])
    assert lines[1].startswith('"fake/a, b.mp4",fake,real,fake,')
    assert lines[2].startswith("real/c.mp4,real,")


def test_names_of_the_projects_other_manifests_and_dev_are_understood(tmp_path):
    path = manifest(
        tmp_path,
        "path,label,identity_or_speaker,source_repo,duration_s,split,kind\n"
        "a.mp4,real,anna,place,1.5,dev,video\n",
    )
    (row,) = read_manifest(path)
    assert (row.identity, row.source, row.duration, row.split) == ("anna", "place", 1.5, "val")
    assert row.extra == {"kind": "video"}


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("a.mp4,Fake,,,", "label"),
        (",fake,,,", "path"),
        ("/etc/a.mp4,fake,,,", "path"),
        ("../a.mp4,fake,,,", "path"),
        ("x/../../a.mp4,fake,,,", "path"),
        (".,fake,,,", "path"),
        ("C:/a.mp4,fake,,,", "path"),
        ("ok.mp4,fake,,,", "path"),  # there twice
        ("a.mp4,fake,holdout,,", "split"),
        ("a.mp4,fake,,ABC,", "sha256"),
        ("a.mp4,fake,,,[[1]]", "segments"),
        ('a.mp4,fake,,,"[[""smell"", 0, 1]]"', "segments"),
        ('a.mp4,fake,,,"[[""audio"", 2, 1]]"', "segments"),
        ('a.mp4,real,,,"[[""audio"", 1, 2]]"', "segments"),
    ],
)
def test_a_bad_value_is_refused_with_line_and_column(tmp_path, line, column):
    path = manifest(tmp_path, f"path,label,split,sha256,segments\nok.mp4,real,,,\n{line}\n")
    with pytest.raises(InputError, match=rf"manifest\.csv, line 3, column {column}: "):
        read_manifest(path)


@pytest.mark.parametrize("value", ["long", "-1", "nan", "inf"])
def test_a_length_must_be_a_number_of_seconds(tmp_path, value):
    path = manifest(tmp_path, f"path,label,duration\na.mp4,real,{value}\n")
    with pytest.raises(InputError, match="line 2, column duration"):
        read_manifest(path)


def test_a_real_clip_has_no_fake_part(tmp_path):
    path = manifest(tmp_path, "path,label,audio_label\na.mp4,real,fake\n")
    with pytest.raises(InputError, match="line 2, column audio_label: is fake although"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path and no column label"),
        ("path,split\na.mp4,train\n", "line 1: there is no column label"),
        ("path,label\n", "holds no row"),
        ("path,label,path\na,real,b\n", "column path is there twice"),
        ("path,label\na.mp4\n", "line 2: the header names 2 columns"),
        ("path,label\na.mp4,real,x\n", "line 2: the header names 2 columns"),
        ("path,source,source_repo,label\na,b,c,real\n", "column source is there twice"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_manifest(manifest(tmp_path, text))


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    path = tmp_path / "manifest.csv"
    with pytest.raises(InputNotFound, match="is no file"):
        read_manifest(path)
    path.write_bytes(b"path,label\n\xff\xfe,real\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_manifest(path)


def test_a_folder_that_is_not_there_leaves_no_half_manifest(tmp_path):
    with pytest.raises(UsageError, match="can't be written"):
        write_manifest(tmp_path / "nowhere" / "m.csv", [PLAIN])


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"aura-veracity\[parquet\]"):
        write_manifest(tmp_path / "m.parquet", [PLAIN])


def test_bytes_that_are_no_parquet_are_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[parquet]'")
    path = tmp_path / "m.parquet"
    path.write_bytes(b"path,label\n")
    with pytest.raises(InputError, match="no Parquet file"):
        read_manifest(path)


def test_evaluation_reads_this_manifest_also_over_a_link_to_read_only_data(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "elsewhere" / name).touch()
    run = tmp_path / "run"
    run.mkdir()
    (run / "data").symlink_to(tmp_path / "elsewhere")
    write_manifest(
        run / "manifest.csv",
        [
            Row("data/a.mp4", "real", identity="anna", source="set"),
            Row("data/b.mp4", "fake", method="swap", identity="anna;bert", group="take 1"),
        ],
    )
    found = labelled_clips(run / "data")
    assert [(one.path.name, one.label, one.method, one.group, one.source) for one in found] == [
        ("a.mp4", 0, "real", "anna", "set"),
        ("b.mp4", 1, "swap", "take 1", "take 1"),
    ]
    assert labelled_clips(run) == found
