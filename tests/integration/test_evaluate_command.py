"""`aura evaluate CLIPS --out DIR` with the real networks on clips that the test makes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import media_factory as make

pytest.importorskip("matplotlib", reason="matplotlib is in the extra 'evaluate'")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, portrait):
    """Two faces under each label, one clip without a face, one that is no video."""
    folder = tmp_path_factory.mktemp("labelled")
    for number, label in enumerate(("real", "fake", "real", "fake")):
        (folder / label).mkdir(exist_ok=True)
        face = np.clip(portrait.astype(int) + 12 * number, 0, 255).astype(np.uint8)
        make.write_clip(folder / label / f"{number}.mp4", make.head(face, 60))
    make.write_clip(folder / "fake" / "empty.mp4", make.moving_texture(10, 160, 120))
    (folder / "real" / "broken.mp4").write_bytes(b"no video at all")
    return folder


def test_clips_become_a_folder_with_damage_and_a_second_run_judges_nothing(
    run, labelled, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    words = ("evaluate", labelled, "--out", out, "--robustness", "blur", "--levels", "5")
    code, table, _ = run(*words)
    assert code == 0
    assert "verdict: all fakes | 2 / 2" in table
    assert "broken.mp4" in table
    found = json.loads((out / "metrics.json").read_text())
    assert found["clips"]["total"] == 6
    assert {one["path"] for one in found["clips"]["without_score"]} == {
        "fake/empty.mp4",
        "real/broken.mp4",
    }
    assert {(one["name"], one["level"]) for one in found["variants"]} == {
        ("blur", 5.0),
        ("control", None),
    }
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    damaged = (out / "variants" / "robustness" / "blur-5.jsonl").read_text().splitlines()
    scores = {one["path"]: one["score"] for one in lines[1:]}
    blurred = {one["path"]: one["score"] for one in map(json.loads, damaged[1:])}
    assert scores["real/0.mp4"] != blurred["real/0.mp4"]

    def never(*_arguments, **_options):
        raise AssertionError("judged again")

    monkeypatch.setattr("aura.evaluation.profile_run.analyze", never)
    before = {path: path.read_bytes() for path in out.rglob("*.jsonl")}
    assert run(*words)[0] == 0
    assert {path: path.read_bytes() for path in out.rglob("*.jsonl")} == before


def test_two_evaluations_are_compared(run, labelled, tmp_path):
    for name in ("one", "two"):
        assert run("evaluate", labelled, "--out", tmp_path / name, "--quiet")[0] == 0
    code, table, _ = run("compare", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "both")
    assert code == 0
    assert "4 clips that all scored" in table
    assert (tmp_path / "both" / "comparison.html").exists()
    assert run("compare", tmp_path / "one", tmp_path)[0] == 3
    assert run("compare", tmp_path / "one", tmp_path / "one")[0] == 2


def test_one_class_is_refused_before_anything_is_analysed(run, labelled, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "real").symlink_to(labelled / "real")
    code, _, told = run("evaluate", tmp_path / "clips", "--out", tmp_path / "out")
    assert code == 2
    assert "no fake clip" in told
    assert not (tmp_path / "out").exists()
