"""From checkpoint to ONNX: float16 weights, float32 arithmetic, parity checked, card written."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from aura.errors import WeightsError
from aura.faces import CROP_SIDE
from aura.runtime import CARD_FORMAT, open_session, sha256_file
from aura.training.visual.crops import load
from aura.training.visual.loop import predict
from aura.training.visual.network import HEADS, FaceNetwork
from aura.training.visual.pairs import heldout_blends

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "visual-lite"
CARD = Path(__file__).with_name("card.json")  # what no program can know about the weights
MAX_LOGIT_ERROR = 0.02  # between the trained network and the exported file, on real pictures
TRAINING_FIELDS = ("command", "data", "data_note", "selection", "run_note")
# Values; smaller tensors stay float32: the depthwise kernels, with the norms folded in, are few and
# make nearly all of the error (0.04 logits with them, 0.005 without).
SMALLEST_HALVED = 33_000


def read_network(run: Path) -> FaceNetwork:
    """The averaged network of a run, in evaluation mode.

    Raises:
        WeightsError: nothing was saved yet.
    """
    network = FaceNetwork()
    network.load_state_dict(_saved(run)["weights"])
    return network.eval()


def _saved(run: Path) -> dict[str, Any]:
    path = run / "average.pt"
    if not path.is_file():
        raise WeightsError(f"{path} is missing; train the network first")
    saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return saved


def mean_weights(files: Sequence[Path], run: Path, heads: Sequence[str] = HEADS) -> Path:
    """The mean of networks of which one went on from the other, as a run of its own.

    Weights that were trained further and those before, averaged, keep most of what each does best
    (Wortsman et al., CVPR 2022, arXiv:2109.01903).

    Args:
        files: `average.pt` each; the last one's config is kept. run: folder to write to.
        heads: whose tails to average; the rest is the first file's.
    """
    states = [torch.load(file, weights_only=True, map_location="cpu") for file in files]
    weights: dict[str, torch.Tensor] = dict(states[0]["weights"])
    for name, like in weights.items():
        if name.startswith(tuple(f"tails.{head}." for head in heads)):
            parts = torch.stack([state["weights"][name].float() for state in states])
            weights[name] = parts.mean(0).to(like.dtype)
    told = {"mean_of": [file.name for file in files], "mean_heads": list(heads)}
    config = json.loads(states[-1].get("config", "{}")) | told
    run.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": weights, "config": json.dumps(config)}, run / "average.pt")
    return run / "average.pt"


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


def export(run: Path, folder: Path, weights: Path, metrics: Path) -> Path:
    """Write `visual-lite.onnx` and its card.

    Args:
        run: a network's folder that the loop wrote. folder: what `crops.prepare` wrote, for the
            parity check. weights: the folder to write to. metrics: JSON that `evaluate` wrote.

    Raises:
        WeightsError: the exported file answers differently from the network.
    """
    network = read_network(run)
    path = weights / f"{NAME}.onnx"
    fresh = weights / f"{NAME}.part.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, CROP_SIDE, CROP_SIDE),),
        str(fresh),
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    onnx.save(halve_weights(onnx.load(str(fresh))), str(fresh))
    images = heldout_blends(load(folder), 32, seed=3)
    wanted = predict(network, images)
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    got = open_session(fresh, "cpu").run({"images": pixels})["logits"]
    error = float(np.abs(wanted - got).max())
    if error > MAX_LOGIT_ERROR:
        fresh.unlink()
        raise WeightsError(f"{path} differs from the network by {error:.3f} logits; not usable")
    text = json.loads(CARD.read_text(encoding="utf-8"))
    card = {
        "format": CARD_FORMAT,
        **{field: text[field] for field in ("name", "version", "architecture", "licence")},
        "file": path.name,
        "sha256": sha256_file(fresh),
        "inputs": text["inputs"],
        "outputs": text["outputs"],
        "parameters": {
            "count": sum(parameter.numel() for parameter in network.parameters()),
            "parity_max_logit_error": round(error, 4),
        },
        "training": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "config": json.loads(_saved(run)["config"]),
            **{field: text[field] for field in TRAINING_FIELDS},
        },
        "metrics": json.loads(metrics.read_text(encoding="utf-8")) | text["metrics"],
        "limits": text["limits"],
    }
    target = weights / f"{NAME}.json"
    fresh.replace(path)  # file and card change together: an old card would refuse the new file
    target.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return target
