"""Steps of the voice and the motion model, as their command lines run them."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("sklearn")

import onnx

from aura.runtime import read_card, verify_card, weights_dir
from aura.training import linear

if TYPE_CHECKING:
    from pathlib import Path

MODELS = {"audio": "audio-lite", "temporal": "temporal-lite"}


@pytest.mark.parametrize("package", MODELS)
def test_export_makes_the_shipped_files_of_the_shipped_numbers(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = MODELS[package]
    shipped = onnx.load(weights_dir() / f"{name}.onnx")
    there = {one.name: onnx.numpy_helper.to_array(one) for one in shipped.graph.initializer}
    fit, export, command = (
        importlib.import_module(f"aura.training.{package}.{module}")
        for module in ("fit", "export", "__main__")
    )
    limit, bias = float(there["high"]), float(there["bias"][0])
    network = fit.Network(there["middle"], there["spread"], limit, there["weights"][:, 0], bias)
    network.save(tmp_path / export.KEPT)
    card = json.loads((weights_dir() / f"{name}.json").read_text(encoding="utf-8"))
    figures = {key: card[key] for key in ("parameters", "metrics")}
    figures["data"] = card["training"]["data"]
    (tmp_path / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    monkeypatch.setattr(linear, "weights_dir", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["", "export", "--out", str(tmp_path)])
    command.main()

    assert verify_card(read_card(tmp_path / f"{name}.json"), tmp_path) is None
    assert onnx.load(tmp_path / f"{name}.onnx") == shipped
    made = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    for one in (made, card):  # another version of ONNX may order the same model's bytes otherwise
        del one["training"]["date"], one["sha256"]
    assert list(made) == list(card)
    assert made == card


@pytest.mark.parametrize("package", MODELS)
def test_a_step_that_needs_data_says_so(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = importlib.import_module(f"aura.training.{package}.__main__")
    monkeypatch.delenv("AURA_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["", "train", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        command.main()
    assert "train needs --data or AURA_DATA" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_only_a_network_of_values_that_can_be_unknown_takes_nan_for_the_middle() -> None:
    class Forgiving(linear.Network):
        nan_is_middle = True

    numbers = (np.ones(2), np.full(2, 0.5), 3.0, np.array([1.0, -2.0]), 0.25)
    values = np.array([[np.nan, 2.0], [1.0, 2.0]])
    assert Forgiving(*numbers)(values).tolist() == [-3.75, -3.75]
    assert np.isnan(linear.Network(*numbers)(values)).tolist() == [True, False]
