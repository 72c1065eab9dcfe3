"""Small face generators, trained here, that leave the traces of a generator on real faces.

A blend made of two photos shows a border and differing texture; the face of a real swap was
drawn by a decoder besides: detail lost in a code, upsampling patterns, a lower resolution. Each
`Recipe` is one way to draw a face again (size, upsampling, code, skips, adversarial training), so
that a detector sees many of them; two are kept for measuring and are never shown in training.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.training.visual.crops import CANVAS_SIDE, load

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FFHQ_SHARE = 0.3  # of the training faces: LFW's are too soft to learn sharp detail from
LOG_EVERY = 100
# The adversarial part of the loss. At 0.02 it sharpens without inventing features in so short a
# training.
ADVERSARIAL_WEIGHT = 0.02
SEED = 1
BATCH = 16
RATE = 2e-3
CRITIC_RATE = 5e-4
CODE_SIDE = 16  # at least; a code of 8 pixels leaves mere blur after two minutes of training
SMALLEST_WINDOW = 0.55  # of the canvas: eyes to mouth; the largest is the canvas


@dataclass(frozen=True)
class Recipe:
    """How one generator is built.

    `inputs` and `side` are pixels in and out; `code` is the number of channels of its code, which
    is 16 to 24 pixels square;
    `upsampling` is shuffle, transposed, nearest or bilinear; `skip` is the number of channels
    that bypass the code at half the input's size; `variational` adds noise to the code while
    training; `adversarial` adds a patch discriminator's loss; `heldout` keeps it out of training
    pairs; `images` are seen while it is trained: two minutes or so on one core.
    """

    inputs: int
    side: int
    code: int
    upsampling: str
    images: int
    skip: int = 0
    variational: bool = False
    adversarial: bool = False
    heldout: bool = False


RECIPES = {
    "shuffle64": Recipe(64, 64, 16, "shuffle", 28_000),
    "transposed128": Recipe(128, 128, 24, "transposed", 28_000, adversarial=True),
    "bilinear128": Recipe(128, 128, 16, "bilinear", 16_000, skip=2),
    "super256": Recipe(64, 256, 32, "shuffle", 9_000, skip=8, adversarial=True),
    "nearest128": Recipe(128, 128, 24, "nearest", 16_000, variational=True, heldout=True),
    "sharp192": Recipe(96, 192, 24, "nearest", 12_000, skip=3, adversarial=True, heldout=True),
}
WIDTHS = {16: 64, 24: 48, 32: 40, 48: 32, 64: 16, 96: 12, 128: 8, 192: 8, 256: 8}


def _up(inputs: int, outputs: int, kind: str) -> nn.Module:
    if kind == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    if kind == "shuffle":
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, 1, 1), nn.PixelShuffle(2))
    corners = {"align_corners": False} if kind == "bilinear" else {}
    grow = nn.Upsample(scale_factor=2, mode=kind, **corners)
    return nn.Sequential(grow, nn.Conv2d(inputs, outputs, 3, 1, 1))


class Generator(nn.Module):
    """(B, 3, inputs, inputs) in [-1, 1] to (B, 3, side, side): the same face, drawn again."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        side, channels = recipe.inputs, 3
        self.down = nn.ModuleList()
        while side // 2 >= CODE_SIDE:
            side //= 2
            self.down.append(nn.Conv2d(channels, WIDTHS[side], 4, 2, 1))
            channels = WIDTHS[side]
        self.encode = nn.Conv2d(channels, recipe.code, 1)
        self.decode = nn.Conv2d(recipe.code, channels, 3, 1, 1)
        self.bypass = nn.Conv2d(WIDTHS[recipe.inputs // 2], recipe.skip, 1) if recipe.skip else None
        self.up = nn.ModuleList()
        self._joins_at = len(self.down) - 1  # where the way up is as large as the bypass
        while side < recipe.side:
            extra = recipe.skip if side == recipe.inputs // 2 else 0
            side *= 2
            width = WIDTHS[side]
            self.up.append(_up(channels + extra, width, recipe.upsampling))
            channels = width
        self.out = nn.Conv2d(channels, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode and draw."""
        half = None
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.1)
            half = x if half is None else half
        code = torch.tanh(self.encode(x))
        if self.recipe.variational and self.training:
            code = code + 0.1 * torch.randn_like(code)
        x = F.leaky_relu(self.decode(code), 0.1)
        for level, layer in enumerate(self.up):
            if self.bypass is not None and half is not None and level == self._joins_at:
                x = torch.cat([x, self.bypass(half)], dim=1)
            x = F.leaky_relu(layer(x), 0.1)
        drawn: Tensor = torch.tanh(self.out(x))
        return drawn


def _discriminator() -> nn.Sequential:
    """Patches of about 22 pixels: (B, 3, S, S) to (B, 1, S / 8, S / 8)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 48)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(48, 1, 1))


def random_window(random: np.random.Generator, side: int) -> tuple[int, int, int]:
    """Left, top and width in pixels of a square around the face of an aligned crop."""
    width = round(side * random.uniform(SMALLEST_WINDOW, 1.0))
    room = side - width
    left, top = (round(room * random.uniform(0.4, 0.6)) for _ in range(2))
    return left, top, width


def _faces(crops: Any, random: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """(BATCH, side, side, 3) uint8: windows of training faces, mirrored half of the time."""
    rows = []
    for _ in range(BATCH):
        source = "ffhq" if random.random() < FFHQ_SHARE else "lfw"
        image = crops.images[int(random.choice(crops.where(source, "train")))]
        left, top, width = random_window(random, CANVAS_SIDE)
        part = image[top : top + width, left : left + width]
        part = part[:, ::-1] if random.random() < 0.5 else part
        rows.append(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA))
    return np.stack(rows)


def to_signal(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32 in [-1, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    signal = torch.from_numpy(to_signal(images))
    return signal.contiguous(memory_format=torch.channels_last)


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    return image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]


def train_all(folder: Path) -> list[Path]:
    """Train every generator that `folder` does not hold yet; the files of all of them."""
    paths = []
    for name, recipe in RECIPES.items():
        path = folder / "generators" / f"{name}.onnx"
        if not path.is_file():
            path = train_generator(folder, name, SEED, recipe.images)
        paths.append(path)
    return paths


class _Training:
    """One generator, its patch discriminator where the recipe wants one, and their optimisers."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        self._recipe, self._steps, self._step = recipe, steps, 0
        self.network, self._critic = Generator(recipe), _discriminator()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        betas = (0.5, 0.99)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=RATE, betas=betas)
        self._critics = torch.optim.Adam(self._critic.parameters(), lr=CRITIC_RATE, betas=betas)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, RATE, total_steps=steps
        )

    def learn(self, shown: Tensor, wanted: Tensor) -> tuple[float, float]:
        """One step on (B, 3, inputs, inputs) and (B, 3, side, side); the loss and its L1 part."""
        self._step += 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            drawn = self.network(shown)
        distance = F.l1_loss(drawn.float(), wanted)
        value = distance
        for mine, theirs in zip(_edges(drawn.float()), _edges(wanted), strict=True):
            value = value + F.l1_loss(mine, theirs)
        # First the picture, then the critic's eye for it, then its say.
        if self._recipe.adversarial and self._step > self._steps // 3:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = value - ADVERSARIAL_WEIGHT * self._critic(drawn).float().mean()
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss became {value.item()} at step {self._step}")
        self._optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        if self._recipe.adversarial and self._step > self._steps // 4:
            self._judge(wanted, drawn.detach())
        return float(value.item()), float(distance.item())

    def _judge(self, wanted: Tensor, drawn: Tensor) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            real, fake = self._critic(wanted), self._critic(drawn)
        judged = F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()
        self._critics.zero_grad()
        judged.backward()  # type: ignore[no-untyped-call]
        self._critics.step()


def train_generator(folder: Path, name: str, seed: int, images: int) -> Path:
    """Train one generator on the photos of the train split and write `generators/NAME.onnx`.

    Args:
        folder: what `crops.prepare` wrote. name: of a recipe. images: seen in training.

    Raises:
        FloatingPointError: the loss is no number any more.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    recipe = RECIPES[name]
    crops = load(folder)
    steps = images // BATCH
    training = _Training(recipe, steps)
    out = folder / "generators"
    out.mkdir(exist_ok=True)
    began = time.monotonic()
    small = (recipe.inputs, recipe.inputs)
    for step in range(1, steps + 1):
        pixels = _faces(crops, random, recipe.side)
        shown = [cv2.resize(face, small, interpolation=cv2.INTER_AREA) for face in pixels]
        value, distance = training.learn(_tensor(np.stack(shown)), _tensor(pixels))
        if step % LOG_EVERY == 0 or step == steps:
            record = {
                "name": name,
                "step": step,
                "of": steps,
                "loss": round(value, 4),
                "l1": round(distance, 4),
                "images_per_second": round(step * BATCH / (time.monotonic() - began), 1),
            }
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
    return _export(training.network, out / f"{name}.onnx")


def _export(network: Generator, path: Path) -> Path:
    part = path.with_suffix(".part")
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, network.recipe.inputs, network.recipe.inputs),),
        str(part),
        input_names=["face"],
        output_names=["drawn"],
        opset_version=17,
        dynamo=False,
    )
    part.replace(path)
    return path
