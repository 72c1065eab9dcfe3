"""Eight bits where they pay: the pointwise convolutions, which are nine tenths of the work.

Written as QuantizeLinear and DequantizeLinear around ordinary operators, which every engine reads:
one with integer kernels multiplies in 8 bits and adds in 32, another does so in floats, which now
and then rounds to the next step.
Depthwise kernels, the stem, sums and the linear heads stay float32: they cost little and lose most.

Processors without VNNI add two products of an unsigned and a signed byte in 16 bits, which clips.
So each output channel's scale is chosen such that no two neighbouring weights can exceed that: the
same numbers come out on every processor, where a plain scale gave logits that were off by up to 3.
Ranges and rounding as in Jacob et al., CVPR 2018 (arXiv:1712.05877).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import checker, helper, numpy_helper

from aura.runtime import load_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Weights = NDArray[np.float32]
    Range = tuple[float, float]

LEVELS = 255  # steps of an activation, unsigned
LARGEST = 127  # of a weight, signed and without -128, so that its scale is symmetric
# Two products have to fit into 16 bits, signed: LEVELS * (|a| + |b|) <= 32,767.
LARGEST_PAIR = 128
BATCH = 8


def quantise(model: Any, pictures: NDArray[np.uint8]) -> Any:
    """Quantise a network of single pictures in place, and return it.

    Args:
        model: ONNX, float32, norms folded in; its input is (batch, 3, H, W) float32.
        pictures: (N, H, W, 3) uint8, of the kind that it will see: activations get the range that
            they have on these. What a Clip bounds has that range.
    """
    graph = model.graph
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    _name_directly(graph, weights)
    chosen = [node for node in graph.node if _is_pointwise(node, weights)]
    ranges = _ranges(model, [node.input[0] for node in chosen], weights, pictures)
    first: dict[str, Any] = {}
    after: dict[str, list[Any]] = {}
    for node in chosen:
        name, kernel = node.input[:2]
        if name not in after:
            after[name] = _quantised_activation(graph, name, ranges[name])
        if kernel not in first:
            first[kernel] = _quantised_weight(graph, kernel, weights[kernel])
        node.input[0], node.input[1] = f"{name}_near", f"{kernel}_near"
    nodes = list(first.values())
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            nodes += after.pop(name, [])
    _replace(graph.node, nodes)
    used = {name for node in nodes for name in node.input}
    _replace(graph.initializer, [one for one in graph.initializer if one.name in used])
    checker.check_model(model)
    return model


def channel_scales(weight: Weights) -> NDArray[np.float32]:
    """What one step of each output channel's weights is worth, (O,) float32.

    Args:
        weight: (O, I, 1, 1).

    >>> one = np.array([[127.0, 127.0, 10.0]], np.float32).reshape(1, 3, 1, 1)
    >>> channel_scales(one).round(3).tolist()  # two large neighbours: half the steps each
    [2.0]
    """
    size = np.abs(weight.reshape(len(weight), -1))
    size = np.pad(size, ((0, 0), (0, size.shape[1] % 2)))
    pairs = size[:, 0::2] + size[:, 1::2]
    # Rounding may lift each of the two by half a step.
    scale = np.maximum(size.max(axis=1) / LARGEST, pairs.max(axis=1) / (LARGEST_PAIR - 1))
    return np.where(scale > 0, scale, 1).astype(np.float32)


def _name_directly(graph: Any, weights: Mapping[str, Weights]) -> None:
    """Name shared weights themselves where PyTorch's export goes through an Identity."""
    other = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in weights
    }
    for node in graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
    _replace(graph.node, [node for node in graph.node if node.output[0] not in other])


def _is_pointwise(node: Any, weights: Mapping[str, Weights]) -> bool:
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return groups == 1 and weights[node.input[1]].shape[2:] == (1, 1)


def _quantised_weight(graph: Any, name: str, weight: Weights) -> Any:
    """Store a convolution's weight as signed bytes; the node that makes floats of them again."""
    scale = channel_scales(weight)
    steps = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
    _store(graph, f"{name}_steps", steps)
    _store(graph, f"{name}_scale", scale)
    _store(graph, f"{name}_zero", np.zeros(len(scale), np.int8))
    parts = [f"{name}_{part}" for part in ("steps", "scale", "zero")]
    return helper.make_node("DequantizeLinear", parts, [f"{name}_near"], axis=0)


def _quantised_activation(graph: Any, name: str, span: Range) -> list[Any]:
    """The two nodes that round an activation to `LEVELS` steps of its range."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = max(high - low, 1e-6) / LEVELS
    _store(graph, f"{name}_scale", np.array(scale, np.float32))
    _store(graph, f"{name}_zero", np.array(round(-low / scale), np.uint8))
    scaled = [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *scaled], [f"{name}_steps"]),
        helper.make_node("DequantizeLinear", [f"{name}_steps", *scaled], [f"{name}_near"]),
    ]


def _ranges(
    model: Any,
    names: Sequence[str],
    constants: Mapping[str, Weights],
    pictures: NDArray[np.uint8],
) -> dict[str, Range]:
    """Lowest and highest value of each activation: a Clip's bounds, or what was measured."""
    maker = {name: node for node in model.graph.node for name in node.output}
    ranges: dict[str, Range] = {}
    for name in names:
        node = maker.get(name)
        if node is not None and node.op_type == "Clip":
            low, high = (_constant(maker, constants, one) for one in node.input[1:3])
            ranges[name] = (low, high)
    return ranges | _measured(model, sorted(set(names) - set(ranges)), pictures)


def _constant(maker: Mapping[str, Any], constants: Mapping[str, Weights], name: str) -> float:
    if name in constants:
        return float(constants[name])
    return float(numpy_helper.to_array(maker[name].attribute[0].t))


def _measured(model: Any, names: Sequence[str], pictures: NDArray[np.uint8]) -> dict[str, Range]:
    seen = type(model)()
    seen.CopyFrom(model)
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = load_onnxruntime().InferenceSession(
        seen.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    entry = session.get_inputs()[0].name
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH].transpose(0, 3, 1, 2).astype(np.float32)
        values = session.run(list(names), {entry: part})
        low = np.minimum(low, [one.min() for one in values])
        high = np.maximum(high, [one.max() for one in values])
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return dict(zip(names, pairs, strict=True))


def _store(graph: Any, name: str, values: NDArray[Any]) -> None:
    graph.initializer.append(numpy_helper.from_array(values, name))


def _replace(field: Any, values: Sequence[Any]) -> None:
    kept = list(values)  # protobuf clears what it still points to
    del field[:]
    field.extend(kept)
