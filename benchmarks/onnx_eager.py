"""Runs an ONNX file in eager PyTorch, one operator after the other.

It stands for the model code that others would write: same network, same weights, each layer a call
into PyTorch. Knows the operators that our RetinaFace file uses, and refuses any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class EagerOnnx:
    """A network read from an ONNX file."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path)).graph
        self._nodes = [
            (n.op_type, list(n.input), list(n.output), _attributes(n)) for n in graph.node
        ]
        self._outputs = [output.name for output in graph.output]
        self._constants = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
        }

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch."""
        values = {**self._constants, **inputs}
        for kind, names, outputs, attributes in self._nodes:
            arguments = [values[name] if name else None for name in names]
            values[outputs[0]] = _apply(kind, arguments, attributes)
        return {name: values[name] for name in self._outputs}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        values["value"] = torch.from_numpy(numpy_helper.to_array(values["value"]).copy())
    return values


def _apply(kind: str, x: list[Any], attributes: dict[str, Any]) -> Tensor:  # noqa: PLR0911, PLR0912
    match kind:
        case "Conv":
            return _convolve(x, attributes)
        case "Relu":
            return F.relu(x[0])
        case "LeakyRelu":
            return F.leaky_relu(x[0], attributes.get("alpha", 0.01))
        case "Add":
            return torch.add(x[0], x[1])
        case "Concat":
            return torch.cat(x, dim=attributes["axis"])
        case "Softmax":
            return torch.softmax(x[0], dim=attributes["axis"])
        case "Transpose":
            return torch.permute(x[0], attributes["perm"])
        case "Reshape":
            return torch.reshape(x[0], x[1].tolist())
        case "Resize":
            return F.interpolate(x[0], size=x[3][2:].tolist(), mode="nearest")
        case "Constant":
            value: Tensor = attributes["value"]
            return value
        case "Identity":
            same: Tensor = x[0]
            return same
        case "Shape":
            return torch.tensor(x[0].shape)
        case "Gather":
            return torch.index_select(x[0], attributes["axis"], x[1].reshape(-1)).reshape(
                x[1].shape
            )
        case "Unsqueeze":
            axes = attributes["axes"] if "axes" in attributes else x[1].tolist()
            return torch.unsqueeze(x[0], axes[0])
        case "Slice":
            return x[0][int(x[1]) : int(x[2])]  # type: ignore[no-any-return]
        case "Cast":
            return x[0].to(torch.int64)  # type: ignore[no-any-return]
    raise NotImplementedError(f"operator {kind} is not among those of RetinaFace")


def _convolve(x: list[Any], attributes: dict[str, Any]) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise NotImplementedError(f"uneven padding {pads}")
    return F.conv2d(
        x[0],
        x[1],
        x[2] if len(x) > 2 else None,
        attributes.get("strides", [1, 1]),
        pads[:2],
        attributes.get("dilations", [1, 1]),
        attributes.get("group", 1),
    )
