"""Checkpoints in the exact layouts of the public ones, small, with random weights."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

if TYPE_CHECKING:
    from pathlib import Path

# Of B0; B7 is 2.0 times as wide and 3.1 times as deep.
STAGES = ((1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112))
STAGES += ((4, 5, 6, 192), (1, 3, 6, 320))
STRIDES = (1, 2, 2, 2, 1, 2, 1)


class Conv2dSame(nn.Conv2d):
    """As timm calls the convolution whose weights came from TensorFlow."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            step, kernel = self.stride[0], self.kernel_size[0]
            total = max((math.ceil(size / step) - 1) * step + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


def _conv(entry: int, width: int, kernel: int, stride: int, *, same: bool, groups: int = 1) -> Any:
    kind, padding = (Conv2dSame, 0) if same else (nn.Conv2d, kernel // 2)
    return kind(entry, width, kernel, stride, padding, groups=groups, bias=False)


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce, self.conv_expand = (
            nn.Conv2d(width, reduced, 1),
            nn.Conv2d(reduced, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv_expand(F.silu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class _Block(nn.Module):
    def __init__(
        self, entry: int, width: int, kernel: int, stride: int, expand: int, **how: Any
    ) -> None:
        super().__init__()
        same, eps, middle = how["same"], how["eps"], entry * expand
        self.skip = stride == 1 and entry == width
        self.first = expand == 1
        if not self.first:
            self.conv_pw = nn.Conv2d(entry, middle, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(middle, eps)
        self.conv_dw = _conv(middle, middle, kernel, stride, same=same, groups=middle)
        self.se = _SqueezeExcite(middle, max(1, entry // 4))
        last = nn.Conv2d(middle, width, 1, bias=False)
        if self.first:
            self.bn1, self.conv_pw = nn.BatchNorm2d(middle, eps), last
            self.bn2, self.bn3, self.conv_pwl = nn.BatchNorm2d(width, eps), None, None
        else:
            self.bn2, self.conv_pwl = nn.BatchNorm2d(middle, eps), last
            self.bn3 = nn.BatchNorm2d(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            y = self.bn2(self.conv_pw(self.se(F.silu(self.bn1(self.conv_dw(x))))))
        else:
            y = F.silu(self.bn2(self.conv_dw(F.silu(self.bn1(self.conv_pw(x))))))
            assert self.bn3 is not None
            assert self.conv_pwl is not None
            y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.skip else y


class _Encoder(nn.Module):
    def __init__(self, width: float, depth: float, *, same: bool, eps: float) -> None:
        super().__init__()

        def wide(channels: float) -> int:
            return max(8, int(channels * width + 4) // 8 * 8)

        self.conv_stem = _conv(3, wide(32), 3, 2, same=same)
        self.bn1 = nn.BatchNorm2d(wide(32), eps)
        stages, entry = [], wide(32)
        for (repeats, kernel, expand, channels), stride in zip(STAGES, STRIDES, strict=True):
            blocks = []
            for index in range(math.ceil(repeats * depth)):
                step = 1 if index else stride
                blocks.append(
                    _Block(entry, wide(channels), kernel, step, expand, same=same, eps=eps)
                )
                entry = wide(channels)
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(entry, wide(1280), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide(1280), eps)
        self.classifier = nn.Linear(wide(1280), 10)  # left over from ImageNet

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.silu(self.bn1(self.conv_stem(x))))
        return F.silu(self.bn2(self.conv_head(x)))


class DeepFakeClassifier(nn.Module):
    """An encoder, a mean and one logit."""

    def __init__(self, width: float = 0.25, depth: float = 0.3, *, same: bool = True) -> None:
        super().__init__()
        eps = 1e-3 if same else 1e-5
        self.encoder = _Encoder(width, depth, same=same, eps=eps)
        self.fc = nn.Linear(self.encoder.bn2.num_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(x).mean((2, 3)))


def lively(module: nn.Module, side: int = 76) -> nn.Module:
    """Random weights whose answers differ from picture to picture, as after training."""
    torch.manual_seed(0)
    noise = F.interpolate(torch.randn(16, 3, 8, 8), size=side) + 0.3 * torch.randn(
        16, 3, side, side
    )
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
        norm.momentum = 1.0  # the statistics of this one batch
    module.train()
    with torch.no_grad():
        module(noise)
        module.eval()
        for norm in norms:
            norm.momentum = 0.1
        if hasattr(module, "fc"):
            module.fc.weight /= module(noise).std()
    return module


def torchscript(network: nn.Module, side: int, how: str = "trace") -> bytes:
    """As `torch.jit.save` writes it."""
    buffer = io.BytesIO()
    with torch.no_grad():
        program = (
            torch.jit.trace(network, torch.zeros(1, 3, side, side))
            if how == "trace"
            else torch.jit.script(network)
        )
    torch.jit.save(program, buffer)
    return buffer.getvalue()


LABELS = {0: "fake", 1: "real"}
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def wav2vec2(labels: dict[int, str] | None = None, **sizes: Any) -> Any:
    """A sequence classifier; `sizes` {} gives wav2vec2-base."""
    torch.manual_seed(1)
    config = transformers.Wav2Vec2Config(
        id2label=labels or LABELS,
        label2id={name: index for index, name in (labels or LABELS).items()},
        **sizes,
    )
    return transformers.Wav2Vec2ForSequenceClassification(config).eval()


TINY_VOICE = {
    **TINY,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}


def videomae(labels: dict[int, str] | None = None, **sizes: Any) -> Any:
    """A video classifier; `sizes` {} gives VideoMAE-base."""
    torch.manual_seed(2)
    config = transformers.VideoMAEConfig(id2label=labels or {0: "real", 1: "fake"}, **sizes)
    return transformers.VideoMAEForVideoClassification(config).eval()


class _Logits(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


def efficientnet(labels: dict[int, str] | None = None, side: int = 76) -> Any:
    """An image classifier of transformers; its defaults give B7."""
    config = transformers.EfficientNetConfig(
        image_size=side,
        width_coefficient=0.25,
        depth_coefficient=0.3,
        depthwise_padding=[2],
        hidden_dim=320,
        id2label=labels or LABELS,
        label2id={name: index for index, name in (labels or LABELS).items()},
    )
    model = transformers.EfficientNetForImageClassification(config)
    torch.manual_seed(4)
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()  # transformers begins with weights that answer nearly nothing
    lively(_Logits(model), side)
    return model.eval()


class GenD(nn.Module):
    """Named as its authors save it: the tower, its projection (unused), and a linear head."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        config = transformers.CLIPVisionConfig(**sizes)
        tower = transformers.CLIPVisionModel(config)
        self.feature_extractor = nn.Module()
        self.feature_extractor.vision_model = getattr(tower, "vision_model", tower)
        self.feature_extractor.visual_projection = nn.Linear(config.hidden_size, 16, bias=False)
        self.model = nn.Module()
        self.model.linear = nn.Linear(config.hidden_size, 2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        feature = self.feature_extractor.vision_model(x).pooler_output
        return self.model.linear(F.normalize(feature, dim=1))


TINY_TOWER = {
    **TINY,
    "hidden_size": 128,
    "image_size": 56,
    "patch_size": 14,
}


def files_of(model: Any, folder: Path) -> dict[str, bytes]:
    """What `save_pretrained` writes."""
    model.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_of_gend(model: GenD, head: str = "LinearNorm") -> dict[str, bytes]:
    """As its repository has them."""
    config = {"backbone": "openai/clip-vit-large-patch14", "head": head, "model_type": "GenD"}
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors.torch.save(state, metadata={"format": "pt"}),
    }
