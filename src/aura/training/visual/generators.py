"""Face generators, trained here, that leave the traces of a generator on real faces.

A blend made of two photos shows a border and differing texture; the face of a real swap was
drawn by a decoder besides: detail lost in a code, upsampling patterns, a lower resolution. Each
`Recipe` is one way to draw a face again (size, upsampling, code, skips, noise, adversarial
training), so that a detector sees many of them; some are kept for measuring and are never shown in
training. `generator_training.py` trains them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDEST = 256  # channels
LEVELS = 6  # of each channel of a quantised code


@dataclass(frozen=True)
class Recipe:
    """How one generator is built.

    `inputs` and `side` are pixels in and out; the code is `code_side` pixels square with `code`
    channels; `width` is the number of channels at 256 pixels, doubled at each halving;
    `upsampling` is shuffle, transposed, nearest, bilinear or blurred; `skip` is the number of
    channels that bypass the code at half the input's size. `noisy_code` adds noise to the code
    while training, `quantised` rounds it; `noise` adds noise to every level, as StyleGAN does;
    `norm` normalises every level; `adversarial` is the weight of a patch discriminator's say;
    `degraded` lets it restore a spoiled picture; `heldout` keeps it out of training pairs;
    `images` are seen while it is trained.
    """

    inputs: int
    side: int
    code_side: int
    code: int
    upsampling: str
    images: int
    width: int = 32
    skip: int = 0
    noisy_code: bool = False
    quantised: bool = False
    noise: bool = False
    norm: bool = False
    adversarial: float = 0.0
    degraded: bool = False
    heldout: bool = False


RECIPES = {
    "shuffle64": Recipe(64, 64, 8, 64, "shuffle", 48_000),
    "transposed128": Recipe(128, 128, 16, 32, "transposed", 40_000, adversarial=0.03),
    "bilinear128": Recipe(128, 128, 16, 24, "bilinear", 40_000, skip=3),
    "super256": Recipe(64, 256, 16, 64, "shuffle", 20_000, skip=16, adversarial=0.05),
    "latent256": Recipe(256, 256, 32, 8, "bilinear", 20_000, norm=True, adversarial=0.05),
    "quantised256": Recipe(
        256, 256, 64, 8, "transposed", 20_000, quantised=True, norm=True, adversarial=0.03
    ),
    "style256": Recipe(256, 256, 16, 64, "blurred", 20_000, noise=True, norm=True, adversarial=0.1),
    "restore256": Recipe(
        256, 256, 32, 64, "shuffle", 20_000, skip=24, degraded=True, adversarial=0.1
    ),
    "fine192": Recipe(192, 192, 48, 12, "blurred", 20_000, noisy_code=True, adversarial=0.03),
    "nearest128": Recipe(
        128, 128, 16, 32, "nearest", 40_000, noisy_code=True, adversarial=0.02, heldout=True
    ),
    "sharp192": Recipe(96, 192, 24, 32, "nearest", 24_000, skip=6, adversarial=0.06, heldout=True),
    "smooth256": Recipe(
        256, 256, 32, 16, "nearest", 20_000, norm=True, noise=True, adversarial=0.08, heldout=True
    ),
}


class _Blurred(nn.Module):
    """Twice the size, smoothed with [1, 3, 3, 1] as StyleGAN does it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        kernel = (line[:, None] * line)[None, None].repeat(channels, 1, 1, 1)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.get_buffer("kernel").to(x.dtype)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=len(kernel))


def _up(inputs: int, outputs: int, kind: str) -> nn.Module:
    if kind == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    if kind == "shuffle":
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, 1, 1), nn.PixelShuffle(2))
    if kind == "blurred":
        return nn.Sequential(_Blurred(inputs), nn.Conv2d(inputs, outputs, 3, 1, 1))
    corners = {"align_corners": False} if kind == "bilinear" else {}
    grow = nn.Upsample(scale_factor=2, mode=kind, **corners)
    return nn.Sequential(grow, nn.Conv2d(inputs, outputs, 3, 1, 1))


class _Level(nn.Module):
    """What follows a change of size: noise, norm, and a residual convolution."""

    def __init__(self, channels: int, recipe: Recipe) -> None:
        super().__init__()
        self._strength = nn.Parameter(torch.full((1, channels, 1, 1), 0.02))
        self._noise = recipe.noise
        self._norm = nn.GroupNorm(4, channels) if recipe.norm else nn.Identity()
        self._conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self._noise:
            x = x + self._strength.to(x.dtype) * torch.randn_like(x[:, :1])
        x = F.leaky_relu(self._norm(x), 0.1)
        return F.leaky_relu(x + self._conv(x), 0.1)


class Generator(nn.Module):
    """(B, 3, inputs, inputs) in [-1, 1] to (B, 3, side, side): the same face, drawn again."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

        def width(side: int) -> int:
            return min(WIDEST, recipe.width * 256 // side // 4 * 4)

        side, channels = recipe.inputs, 3
        self.down = nn.ModuleList()
        while side > recipe.code_side:
            side //= 2
            self.down.append(nn.Conv2d(channels, width(side), 4, 2, 1))
            channels = width(side)
        self.encode = nn.Conv2d(channels, recipe.code, 1)
        self.decode = nn.Conv2d(recipe.code, channels, 3, 1, 1)
        half = width(recipe.inputs // 2)
        self.bypass = nn.Conv2d(half, recipe.skip, 1) if recipe.skip else None
        self.up, self.levels = nn.ModuleList(), nn.ModuleList()
        self._joins_at = len(self.down) - 1  # where the way up is as large as the bypass
        while side < recipe.side:
            extra = recipe.skip if side == recipe.inputs // 2 else 0
            side *= 2
            self.up.append(_up(channels + extra, width(side), recipe.upsampling))
            self.levels.append(_Level(width(side), recipe))
            channels = width(side)
        self.out = nn.Conv2d(channels, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode and draw."""
        half = None
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.1)
            half = x if half is None else half
        code = torch.tanh(self.encode(x))
        if self.recipe.noisy_code and self.training:
            code = code + 0.1 * torch.randn_like(code)
        if self.recipe.quantised:  # rounded on the way there, not on the gradient's way back
            code = code + ((code * LEVELS).round() / LEVELS - code).detach()
        x = F.leaky_relu(self.decode(code), 0.1)
        for number, (layer, level) in enumerate(zip(self.up, self.levels, strict=True)):
            if self.bypass is not None and half is not None and number == self._joins_at:
                x = torch.cat([x, self.bypass(half)], dim=1)
            x = level(layer(x))
        drawn: Tensor = torch.tanh(self.out(x).float())
        return drawn


def to_signal(images: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32 in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(signal: Tensor) -> NDArray[np.uint8]:
    """The way back, on the CPU."""
    pixels = ((signal.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def resized(signal: Tensor, side: int, how: str = "bilinear") -> Tensor:
    """(B, C, H, H) to (B, C, side, side), without aliasing where it shrinks."""
    if signal.shape[-1] == side:
        return signal
    return F.interpolate(signal, (side, side), mode=how, antialias=True, align_corners=False)


def redraw(network: Generator, signal: Tensor, how: str = "bilinear") -> Tensor:
    """(B, 3, S, S) drawn again by a generator of any size, at the size they came in."""
    drawn = network(resized(signal, network.recipe.inputs))
    return resized(drawn, signal.shape[-1], how)


def names(*, heldout: bool) -> list[str]:
    """The generators that are kept for measuring, or the others."""
    return [name for name, recipe in RECIPES.items() if recipe.heldout == heldout]


def load_generator(folder: Path, name: str, device: str = "cpu") -> Generator:
    """One trained generator of a folder.

    Raises:
        WeightsError: it is missing.
    """
    path = folder / "generators" / f"{name}.pt"
    if not path.is_file():
        raise WeightsError(f"{path} is missing; run the step `generators` first")
    network = Generator(RECIPES[name])
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval().to(device)
