"""Manifests of `aura bulk`, and what is said before any work is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog

from aura.cli import run
from aura.errors import AuraError
from aura.service.command import open_service
from aura.service.logs import get_logger
from aura.service.manifest import digest_of, read_manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_csv_parquet_and_lines_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("\ufeffpath,url,label\na.mp4,,real\n,https://h/b.mp4,fake\n")
    (tmp_path / "m.txt").write_text("# clips\na.mp4\n\nhttps://h/b.mp4\n")
    table = pa.table({"path": ["a.mp4", None], "url": [None, "https://h/b.mp4"]})
    pq.write_table(table, tmp_path / "m.parquet")
    for name in ("m.csv", "m.txt", "m.parquet"):
        first, second = read_manifest(tmp_path / name)
        assert (first.path, first.url, first.name) == (tmp_path / "a.mp4", None, "a.mp4")
        assert (second.path, second.url) == (None, "https://h/b.mp4")
    first, second = read_manifest(tmp_path / "m.csv")
    assert (first.columns, second.columns) == ({"label": "real"}, {"label": "fake"})


def test_a_commands_own_words_are_not_covered_by_its_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = structlog.get_config()
    try:
        open_service(tmp_path).close()
        get_logger("api").info("submitted")
        get_logger("api").warning("store away")
    finally:
        structlog.configure(**before)
    out, err = capfd.readouterr()
    assert out == ""
    assert "store away" in err
    assert "submitted" not in err


def test_a_run_is_the_same_until_a_file_or_an_option_changes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"1")
    (tmp_path / "m.txt").write_text("a.mp4\n")
    rows = read_manifest(tmp_path / "m.txt")
    before = digest_of(rows, "lite")
    assert digest_of(rows, "lite") == before != digest_of(rows, "other")
    (tmp_path / "a.mp4").write_bytes(b"22")
    assert digest_of(rows, "lite") != before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"file\na.mp4\n", "row 1: give a `path` or a `url`; the columns are file"),
        ("m.csv", b"path\n", "names no video"),
        ("m.csv", b"\xff\xfe\x00", "no CSV in UTF-8"),
        ("m.parquet", b"PAR1 not", "no Parquet file"),
        ("none.csv", None, "can't be read"),
    ],
)
def test_what_is_no_manifest_is_told(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AuraError, match=message):
        read_manifest(tmp_path / name)


def test_a_folder_that_is_not_there_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURA_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "m.txt").write_text("a.mp4\n")
    arguments: list[Any] = ["bulk", str(tmp_path / "m.txt"), "--out", str(tmp_path / "no" / "r")]
    assert run(arguments) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert run([*arguments[:3], str(tmp_path / "r.parquet"), "--profile", "none"]) != 0
    assert "profile: choose one of" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_row_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURA_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "m.txt").write_text("gone.mp4\nhttp://10.0.0.1/private.mp4\n")
    out = tmp_path / "r.parquet"
    assert run(["bulk", str(tmp_path / "m.txt"), "--out", str(out)]) == 3
    gone, private = pq.read_table(out).to_pylist()
    assert gone["error_kind"] == "input_not_found"
    assert "gone.mp4 can't be read (No such file" in gone["error_message"]
    assert private["error_kind"] == "address_refused"
    assert "0 of 2 videos have a report" in capsys.readouterr().out
