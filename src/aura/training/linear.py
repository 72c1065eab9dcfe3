"""What the voice and the motion model share: network, weight file with card, and command line.

What they look at, how they are fitted and what their cards tell is in `audio/` and `temporal/`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aura.runtime import CARD_FORMAT, sha256_file, weights_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Sized
    from typing import Self

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Json = dict[str, Any]

OPSET = 17


@dataclass(frozen=True)
class Network:
    """logit = clip((values - middle) / spread, -limit, limit) @ weights + bias.

    `middle`, `spread` (above 0), `weights` (d,). Where a model has values that can be unknown, its
    own class sets `nan_is_middle`; elsewhere NaN stays NaN.
    """

    nan_is_middle: ClassVar[bool] = False

    middle: Floats
    spread: Floats
    limit: float
    weights: Floats
    bias: float

    def __call__(self, values: Floats) -> Floats:
        """(n, d) -> (n,)."""
        return np.asarray(self.levelled(values) @ self.weights + self.bias)

    def levelled(self, values: Floats) -> Floats:
        """Values in units of what is usual among real ones; none may outvote the others."""
        if self.nan_is_middle:
            values = np.where(np.isnan(values), self.middle, values)
        return np.clip((values - self.middle) / self.spread, -self.limit, self.limit)

    def save(self, path: Path) -> Path:
        """Keep it as .npz."""
        np.savez(path, **asdict(self))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `save` kept."""
        with np.load(path) as kept:
            limit, bias = float(kept["limit"]), float(kept["bias"])
            return cls(kept["middle"], kept["spread"], limit, kept["weights"], bias)


def build(network: Network, name: str, values: str) -> onnx.ModelProto:
    """The network as ONNX of that name, in float32: (n, d) `values` -> (n,) `logit`."""
    arrays: dict[str, NDArray[Any]] = {
        "middle": np.asarray(network.middle, np.float32),
        "spread": np.asarray(network.spread, np.float32),
        "low": np.array(-network.limit, np.float32),
        "high": np.array(network.limit, np.float32),
        "weights": np.asarray(network.weights, np.float32)[:, None],
        "bias": np.array([network.bias], np.float32),
        "axis": np.array([1], np.int64),
    }
    nodes, known = [], values
    if network.nan_is_middle:
        known = "known"
        nodes = [
            helper.make_node("IsNaN", [values], ["unknown"]),
            helper.make_node("Where", ["unknown", "middle", values], [known]),
        ]
    nodes += [
        helper.make_node("Sub", [known, "middle"], ["moved"]),
        helper.make_node("Div", ["moved", "spread"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["levelled"]),
        helper.make_node("MatMul", ["levelled", "weights"], ["weighed"]),
        helper.make_node("Add", ["weighed", "bias"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["logit"]),
    ]
    width = len(network.weights)
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(values, TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def publish(network: Network, card: Json, folder: Path) -> Path:
    """Write `NAME.onnx` and its card, `NAME.json`; returns the card's path.

    Args:
        card: what the model's own code tells of it, with `name`, one entry in `inputs` (the
            network's input is called as it is there) and `training`. What only the written file
            and the clock can tell is added.
    """
    name, (values,) = card["name"], card["inputs"]
    path = folder / f"{name}.onnx"
    onnx.save(build(network, name, values), str(path))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    head = {"format": CARD_FORMAT, "name": name, "file": path.name, "sha256": sha256_file(path)}
    full = {**head, **card, "training": {"date": today, **card["training"]}}
    target = folder / f"{name}.json"
    target.write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
    return target


def parser(package: str, description: str | None, config: Path) -> argparse.ArgumentParser:
    """The options that every model's steps have; `config` is the committed one."""
    made = argparse.ArgumentParser(prog=f"python -m {package}", description=description)
    made.add_argument("step", choices=["prepare", "evaluate", "train", "export"])
    made.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    made.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    made.add_argument("--config", type=Path, default=config)
    return made


def run(
    options: argparse.ArgumentParser,
    *,
    prepare: Callable[[argparse.Namespace], Sized],
    evaluate: Callable[[Path, Path, Json], Json],
    train: Callable[[Path, Path, Json], Path],
    export: Callable[[Path, Json, Json, Path], Path],
) -> str:
    """Run the step that the command line names; returns what to print.

    Args:
        prepare: options -> files. evaluate: data, out, config -> figures. train: data, out, config
            -> the kept network. export: out, figures, config, folder of weights -> the card.
    """
    given = options.parse_args()
    config = json.loads(given.config.read_text(encoding="utf-8"))
    figures = given.out / "figures.json"
    if given.step == "export":
        found = json.loads(figures.read_text(encoding="utf-8"))
        return f"wrote {export(given.out, found, config, weights_dir())}"
    if given.data is None:
        options.error(f"{given.step} needs --data or AURA_DATA")
    given.out.mkdir(parents=True, exist_ok=True)
    if given.step == "prepare":
        return f"{len(prepare(given))} files in {given.out}"
    if given.step == "train":
        return f"wrote {train(given.data, given.out, config)}"
    text = json.dumps(evaluate(given.data, given.out, config), indent=2)
    figures.write_text(text + "\n", encoding="utf-8")
    return text
