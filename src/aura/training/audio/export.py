"""Write the voice network as ONNX, with its card."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aura.detectors.audio import MODEL
from aura.runtime import CARD_FORMAT, sha256_file
from aura.training.audio.fit import fit, load
from aura.training.audio.prepare import CLEAN, WORN
from aura.training.audio.sounds import recordings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.audio.fit import Network

OPSET = 17
LIMITS = (
    "Voices of modern GAN vocoders (HiFi-GAN, BigVGAN, Vocos) are found little better than by "
    "chance when none like them was trained on, and text-to-speech of today was not there at all.",
    "Absence of traces proves nothing: a low score is never counted towards a real voice.",
    "Behind a telephone band, heavy coding or noise most traces are gone.",
    "Trained and measured on demonstration pages of research, mostly read speech in English and "
    "Korean; other languages, shouting, singing and whispering were not looked at.",
    "Cut-and-paste of real recordings, and real voices beside a manipulated picture, leave "
    "nothing that it looks for.",
)


def train(data: Path, out: Path, config: dict[str, Any]) -> Path:
    """Fit on everything that may be learned from; writes `voice.npz`."""
    sounds = load(out, recordings(data), (CLEAN, WORN))
    network = fit(sounds, sounds.to_learn(), config)
    path = out / "voice.npz"
    np.savez(path, **asdict(network))
    return path


def build(network: Network) -> onnx.ModelProto:
    """(n, d) `voice` -> (n,) `logit`."""
    width = len(network.weights)
    arrays: dict[str, NDArray[Any]] = {
        "middle": np.asarray(network.middle, np.float32),
        "spread": np.asarray(network.spread, np.float32),
        "low": np.array(-network.limit, np.float32),
        "high": np.array(network.limit, np.float32),
        "weights": np.asarray(network.weights, np.float32)[:, None],
        "bias": np.array([network.bias], np.float32),
        "axis": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["voice", "middle"], ["moved"]),
            helper.make_node("Div", ["moved", "spread"], ["scaled"]),
            helper.make_node("Clip", ["scaled", "low", "high"], ["levelled"]),
            helper.make_node("MatMul", ["levelled", "weights"], ["weighed"]),
            helper.make_node("Add", ["weighed", "bias"], ["column"]),
            helper.make_node("Squeeze", ["column", "axis"], ["logit"]),
        ],
        MODEL,
        [helper.make_tensor_value_info("voice", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def export(network: Network, figures: Path, config: dict[str, Any], folder: Path) -> Path:
    """Write `audio-lite.onnx` and its card from a fit and the figures of `evaluate`."""
    path = folder / f"{MODEL}.onnx"
    onnx.save(build(network), str(path))
    found = json.loads(figures.read_text(encoding="utf-8"))
    card = {
        "format": CARD_FORMAT,
        "name": MODEL,
        "file": path.name,
        "sha256": sha256_file(path),
        "version": "1.0.0",
        "architecture": "Logistic regression on 2030 values of a second of speech: spectrum, "
        "fine structure, envelope and phase agreement (439); how they differ from the same second "
        "with its phases guessed anew (439); mean, spread and step of Whisper features (1152)",
        "licence": "Apache-2.0",
        "inputs": {
            "voice": "(n, 2030) float32: aura.detectors.voice.measure beside "
            "aura.detectors.audio.hearing_of, one row a second of speech"
        },
        "outputs": {"logit": "(n,) above 0 towards synthetic, before `parameters`"},
        "parameters": found["parameters"],
        "training": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": "python -m aura.training.audio prepare, evaluate, train, then export",
            "seed": "drawn from file and group names; the fit itself draws nothing",
            "config": config,
            "data": found["data"],
            "data_note": "Research use only; check the corpora's terms before any other use of "
            "the weights. Corpora without fakes got one remade twin a recording.",
        },
        "metrics": found["metrics"],
        "limits": list(LIMITS),
    }
    target = folder / f"{MODEL}.json"
    target.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return target
