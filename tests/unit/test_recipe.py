"""What a step of a recipe says when it can't go on."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'train'")
pytest.importorskip("onnx", reason="onnx is in the extra 'train'")

from aura.training.audio import __main__ as audio
from aura.training.lite import __main__ as lite
from aura.training.recipe import told


@pytest.mark.parametrize(
    ("main", "arguments", "named"),
    [
        (audio.main, ["train", "--data", "nowhere"], "manifest.csv"),
        (audio.main, ["export"], "figures.json"),
        (lite.main, ["judge", "--data", "nowhere"], "nowhere"),
    ],
)
def test_a_line_names_what_is_missing(main, arguments, named, *, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe", *arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        told(main)
    assert ended.value.code in {2, 3}
    said = capsys.readouterr().err
    assert said.startswith("aura: ")
    assert named in said
    assert said.count("\n") == 1
