"""First weights of encoders from the networks that ship with the package, so from no network.

An ONNX file keeps the numbers but not all the names: constants that a layer was folded into are
called after a node. The order of the nodes is that of the layers, and shapes are checked.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from aura.errors import WeightsError
from aura.runtime import read_card, verify_card, weights_dir
from aura.training.visual.network import SameConv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aura.training.sync.stem import Block

FACE, STEM = "visual-lite", "whisper-tiny-stem"
HALF = "_half"  # suffix of constants that are stored as float16

Arrays = NDArray[np.float32]


@lru_cache(maxsize=2)
def _graph(name: str) -> Any:
    """The graph of a shipped network, once its hash is found to be the card's.

    Raises:
        WeightsError: missing or altered.
    """
    folder = weights_dir()
    card = read_card(folder / f"{name}.json")
    wrong = verify_card(card, folder)
    if wrong:
        raise WeightsError(f"{wrong}; reinstall aura-veracity")
    return onnx.load(str(folder / card.file)).graph


def _constants(graph: Any) -> dict[str, Arrays]:
    """All initializers by name, as float32; the suffix of halved ones is taken off.

    Kernels that are kept in 8 bits stand under the name by which convolutions know them.
    """
    found = {
        one.name.removesuffix(HALF): numpy_helper.to_array(one).astype(np.float32)
        for one in graph.initializer
    }
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in found:
            steps, scale = (found[name] for name in node.input[:2])
            found[node.output[0]] = steps * scale.reshape(-1, *[1] * (steps.ndim - 1))
    return found


def _copy(target: Tensor, values: Arrays, what: str) -> None:
    if tuple(target.shape) != values.shape:
        raise WeightsError(
            f"{what}: the shipped network holds {values.shape}, the encoder wants "
            f"{tuple(target.shape)}; they are of different versions"
        )
    with torch.no_grad():
        target.copy_(torch.from_numpy(values.copy()))


def start_from_shipped_face(front: nn.Module, tail: nn.Module) -> None:
    """Give lite2 the weights of the shipped face detector up to its blend head.

    Batch norms were folded into the convolutions: each gets its bias and is otherwise neutral.

    Raises:
        WeightsError: the shipped network is missing, altered or of another architecture.
    """
    graph = _graph(FACE)
    constants = _constants(graph)
    layers = [
        (constants[node.input[1]], constants[node.input[2]])
        for node in graph.node
        if node.op_type == "Conv"
    ]
    pairs = [*_convolutions(front), *_convolutions(tail)]
    # One front, then two tails of equal size; the first is the blend head's.
    if len(layers) != 2 * len(pairs) - len(list(_convolutions(front))):
        raise WeightsError(f"{FACE} has {len(layers)} convolutions, which are not lite2's")
    for (conv, norm), (weight, bias) in zip(pairs, layers, strict=False):
        _copy(conv.weight, weight, FACE)
        with torch.no_grad():
            norm.running_mean.zero_()  # type: ignore[union-attr]
            norm.running_var.fill_(1.0 - norm.eps)  # type: ignore[union-attr]
            norm.weight.fill_(1.0)
        _copy(norm.bias, bias, FACE)


def _convolutions(module: nn.Module) -> Iterator[tuple[SameConv, nn.BatchNorm2d]]:
    """Convolutions with the batch norms behind them, in the order in which they run."""
    conv: SameConv | None = None
    for part in _in_running_order(module):
        if isinstance(part, SameConv):
            conv = part
        elif isinstance(part, nn.BatchNorm2d) and conv is not None:
            yield conv, part
            conv = None


def _in_running_order(module: nn.Module) -> Iterator[nn.Module]:
    """Leaves as they run: a block's parts are registered in that order, and so are the blocks."""
    yield from (part for part in module.modules() if not list(part.children()))


def whisper_constants(blocks: nn.ModuleList, *convolutions: nn.Conv1d) -> None:
    """Give two convolutions and up to two transformer blocks Whisper tiny's weights.

    Raises:
        WeightsError: the shipped network is missing, altered or of another architecture.
    """
    graph = _graph(STEM)
    constants = _constants(graph)
    weights = [
        constants[node.input[1]]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    ]
    try:
        for number, conv in enumerate(convolutions, start=1):
            _copy(conv.weight, constants[f"conv{number}.weight"], STEM)
            _copy(_bias(conv), constants[f"conv{number}.bias"], STEM)
        for number, block in enumerate(blocks):
            _fill_block(block, number, constants, weights[4 * number : 4 * number + 4])  # type: ignore[arg-type]
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{STEM} is laid out differently ({error})") from None


def _bias(layer: nn.Conv1d | nn.Linear) -> Tensor:
    if layer.bias is None:
        raise WeightsError(f"{STEM}: a layer has no bias")
    return layer.bias


def _fill_block(
    block: Block, number: int, constants: dict[str, Arrays], weights: list[Arrays]
) -> None:
    for norm in ("norm1", "norm2"):
        for part in ("weight", "bias"):
            values = constants[f"blocks.{number}.{norm}.{part}"]
            _copy(getattr(getattr(block, norm), part), values, STEM)
    layers = (block.qkv, block.out, block.up, block.down)
    for name, layer, weight in zip(("qkv", "out", "up", "down"), layers, weights, strict=True):
        _copy(layer.weight, weight.T, STEM)
        _copy(_bias(layer), constants[f"blocks.{number}.{name}.bias"], STEM)
