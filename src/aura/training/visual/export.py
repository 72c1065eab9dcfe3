"""From checkpoint to ONNX: 8-bit pointwise convolutions, held against the network; and the card."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from aura.errors import WeightsError
from aura.faces import CROP_SIDE
from aura.runtime import CARD_FORMAT, open_session, sha256_file
from aura.training.visual.crops import load
from aura.training.visual.loop import predict
from aura.training.visual.network import HEADS, FaceNetwork
from aura.training.visual.pairs import calibration_pictures, heldout_blends
from aura.training.visual.quantise import quantise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.training.visual.crops import Crops

NAME = "visual-lite"
FILE = f"{NAME}.onnx"
CARD = Path(__file__).with_name("card.json")  # what no program can know about the weights
MAX_LOGIT_ERROR = 0.02  # between the trained network and its graph in float32, on real pictures
MAX_ROUNDING = 0.25  # root mean square of what 8 bits add; logits of faces spread by 2
RANGED = 192  # pairs of training people that show what range the network's values have
TRAINING_FIELDS = ("command", "data", "data_note", "selection", "run_note")


def read_network(run: Path) -> FaceNetwork:
    """The averaged network of a run, in evaluation mode.

    Raises:
        WeightsError: nothing was saved yet.
    """
    network = FaceNetwork()
    network.load_state_dict(_saved(run)["weights"])
    return network.eval()


def converted(run: Path) -> Path:
    """The file that `convert` wrote.

    Raises:
        WeightsError: it did not yet.
    """
    path = run / FILE
    if not path.is_file():
        raise WeightsError(f"{path} is missing; run the step `convert` first")
    return path


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


def convert(run: Path, folder: Path) -> Path:
    """Write a trained network as ONNX with 8-bit pointwise convolutions, into its run's folder.

    Args:
        run: a network's folder that the loop wrote. folder: what `crops.prepare` wrote; people of
            its training split show what range the network's values have.

    Raises:
        WeightsError: the file answers differently from the network.
    """
    network = read_network(run)
    path = run / FILE
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, CROP_SIDE, CROP_SIDE),),
        str(path),
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    crops = load(folder)
    error = rounding(network, path, crops)["largest_logits"]
    if error <= MAX_LOGIT_ERROR:  # the graph is right; now for the bits
        onnx.save(quantise(onnx.load(str(path)), calibration_pictures(crops, RANGED)), str(path))
        error = rounding(network, path, crops)["rms_logits"]
        if error <= MAX_ROUNDING:
            return path
    path.unlink()
    raise WeightsError(f"{path} differs from the network by {error:.3f} logits; not usable")


def rounding(network: FaceNetwork, path: Path, crops: Crops) -> dict[str, float]:
    """How far a file's logits are from the network's, on faces of people never trained on."""
    images = heldout_blends(crops, 32, seed=3)
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    got = open_session(path, "cpu").run({"images": pixels})["logits"]
    error = np.abs(predict(network, images) - got)
    return {
        "rms_logits": round(float(np.sqrt((error**2).mean())), 4),
        "largest_logits": round(float(error.max()), 4),
    }


def export(run: Path, folder: Path, weights: Path, metrics: Path) -> Path:
    """Write `visual-lite.onnx` and its card.

    Args:
        run: a network's folder with the file that `convert` wrote. folder: what `crops.prepare`
            wrote, to compare the two. weights: the folder to write to. metrics: JSON that
            `evaluate` wrote.
    """
    network, fresh, path = read_network(run), converted(run), weights / FILE
    error = rounding(network, fresh, load(folder))
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
            **{f"rounding_{name}": value for name, value in error.items()},
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
    # File and card change together: an old card would refuse the new file.
    shutil.copyfile(fresh, path)
    target.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return target
