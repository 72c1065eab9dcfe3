"""EfficientNet (Tan and Le, ICML 2019) in the names and the numbers of a timm checkpoint.

Widths, depths and kernels are read off the tensors, so B0 to B7 all fit; strides are the family's.
What tensors can't tell is how convolutions are padded and the epsilon of batch norm: weights that
came from TensorFlow (`tf_efficientnet_*`) pad unevenly and use 1e-3, others evenly and 1e-5.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aura.training.public.archive import Checkpoint

STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the seven stages
HEADS = ("fc", "classifier", "head", "last_linear")
UNUSED = re.compile(r"num_batches_tracked$")
EPSILON = re.compile(r"torch\.batch_norm\([^)]*?,\s*([0-9.e+-]+),\s*(?:True|False)\)")


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: evenly sized output, the odd pixel at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / s), ceil(W / s))."""
        kernel, stride = int(self.kernel_size[0]), int(self.stride[0])
        pads = []
        for size in (int(x.shape[3]), int(x.shape[2])):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class _Excite(nn.Module):
    def __init__(self, width: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(width, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.conv_expand(F.silu(self.conv_reduce(pooled))))


class _Block(nn.Module):
    """Expand (but in the first stage), convolve each channel, excite, project."""

    def __init__(self, shapes: Mapping[str, torch.Size], stride: int, same: bool, eps: float):
        super().__init__()
        self.expands = "conv_pwl.weight" in shapes
        depth = shapes["conv_dw.weight"]
        width, kernel = int(depth[0]), int(depth[-1])
        project = shapes["conv_pwl.weight" if self.expands else "conv_pw.weight"]
        entry = shapes["conv_pw.weight"][1] if self.expands else width
        if self.expands:
            self.conv_pw = nn.Conv2d(int(entry), width, 1, bias=False)
        self.conv_dw = _conv(width, width, kernel, stride, same, groups=width)
        self.se = _Excite(width, int(shapes["se.conv_reduce.weight"][0]))
        last = nn.Conv2d(width, int(project[0]), 1, bias=False)
        if self.expands:
            self.conv_pwl = last
            self.bn3 = nn.BatchNorm2d(int(project[0]), eps=eps)
        else:
            self.conv_pw = last
        self.bn1 = nn.BatchNorm2d(width, eps=eps)
        self.bn2 = nn.BatchNorm2d(width if self.expands else int(project[0]), eps=eps)
        self.adds = stride == 1 and int(entry) == int(project[0])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = F.silu(self.bn1(self.conv_pw(y)))
            y = F.silu(self.bn2(self.conv_dw(y)))
            y = self.bn3(self.conv_pwl(self.se(y)))
        else:
            y = F.silu(self.bn1(self.conv_dw(y)))
            y = self.bn2(self.conv_pw(self.se(y)))
        added: Tensor = x + y if self.adds else y
        return added


def _conv(  # noqa: PLR0917
    entry: int, width: int, kernel: int, stride: int, same: bool, groups: int = 1
) -> nn.Conv2d:
    kind = SameConv if same else nn.Conv2d
    padding = 0 if same else kernel // 2
    return kind(entry, width, kernel, stride, padding, groups=groups, bias=False)


class EfficientNet(nn.Module):
    """The trunk and a linear head on the mean of its last map; (B, 3, S, S) to (B, outputs)."""

    def __init__(
        self, shapes: Mapping[str, torch.Size], outputs: int, *, same: bool, eps: float
    ) -> None:
        super().__init__()
        stem, head = shapes["conv_stem.weight"], shapes["conv_head.weight"]
        self.conv_stem = _conv(3, int(stem[0]), int(stem[-1]), 2, same)
        self.bn1 = nn.BatchNorm2d(int(stem[0]), eps=eps)
        stages = []
        for stage, stride in enumerate(STRIDES):
            blocks: list[nn.Module] = []
            while any(name.startswith(f"blocks.{stage}.{len(blocks)}.") for name in shapes):
                prefix = f"blocks.{stage}.{len(blocks)}."
                own = {k[len(prefix) :]: v for k, v in shapes.items() if k.startswith(prefix)}
                blocks.append(_Block(own, 1 if blocks else stride, same, eps))
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(int(head[1]), int(head[0]), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(int(head[0]), eps=eps)
        self.head = nn.Linear(int(head[0]), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = F.silu(self.bn1(self.conv_stem(x)))
        x = F.silu(self.bn2(self.conv_head(self.blocks(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def build(checkpoint: Checkpoint, where: str, settings: Mapping[str, str]) -> EfficientNet:
    """The network that a timm checkpoint was taken from, with its weights.

    Args:
        checkpoint: of timm's `EfficientNet`, alone or as `encoder` of a classifier.
        where: its file, for errors. settings: `padding` (same or even) and `eps`, for a
            checkpoint that does not tell.

    Raises:
        WeightsError: another network, or one that does not say how it computes.
    """
    stems = [name for name in checkpoint.tensors if name.endswith("conv_stem.weight")]
    if len(stems) != 1:
        raise WeightsError(f"{where} holds no EfficientNet in timm's names (no conv_stem.weight)")
    prefix = stems[0].removesuffix("conv_stem.weight")
    outer = prefix.removesuffix("encoder.")
    own = {
        name[len(prefix) :]: value
        for name, value in checkpoint.tensors.items()
        if name.startswith(prefix) and not UNUSED.search(name)
    }
    head = next(
        (f"{outer}{one}" for one in HEADS if f"{outer}{one}.weight" in checkpoint.tensors), None
    )
    if head is None:
        raise WeightsError(f"{where} holds an EfficientNet without a classifier")
    weight, bias = (checkpoint.tensors.get(f"{head}.{one}") for one in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2:
        raise WeightsError(f"{where}: its classifier is not one linear layer")
    own = {k: v for k, v in own.items() if k.split(".")[0] not in HEADS}
    same, eps = _padding(checkpoint, where, settings), _epsilon(checkpoint, where, settings)
    try:
        shapes = {name: value.shape for name, value in own.items()}
        network = EfficientNet(shapes, int(weight.shape[0]), same=same, eps=eps)
        state = {name: value.float() for name, value in own.items()}
        state |= {"head.weight": weight.float(), "head.bias": bias.float()}
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError, IndexError) as error:
        raise WeightsError(f"{where} holds another kind of EfficientNet ({error})") from None
    missing = [name for name in missing if not UNUSED.search(name)]
    if missing or unexpected:
        odd = [*missing, *unexpected]
        raise WeightsError(
            f"{where} does not fit an EfficientNet: {len(odd)} of its tensors, such as {odd[0]}"
        )
    return network.eval()


def _padding(checkpoint: Checkpoint, where: str, settings: Mapping[str, str]) -> bool:
    told = settings.get("padding")
    if told in {"same", "even"}:
        return told == "same"
    if checkpoint.classes:
        return any(re.search(r"\bConv2dSame$", name) for name in checkpoint.classes)
    raise WeightsError(
        f"{where} does not tell how its convolutions are padded; say --set padding=same for "
        "weights that came from TensorFlow (tf_efficientnet_*), --set padding=even for others"
    )


def _epsilon(checkpoint: Checkpoint, where: str, settings: Mapping[str, str]) -> float:
    told = settings.get("eps")
    if told is not None:
        return float(told)
    found = {float(one) for one in EPSILON.findall(checkpoint.code)}
    if len(found) == 1:
        return found.pop()
    if len(found) > 1:
        raise WeightsError(f"{where} uses several epsilons; it is another kind of network")
    return 1e-3 if _padding(checkpoint, where, settings) else 1e-5
