"""Train the generators and let them draw every training photo: the bank that pairs are made of.

A minute or less for each on a GPU. What they draw is stored once, because a detector sees many
more pictures a second than a generator draws.
"""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.training.visual.bank import FACE, MOVED, WHOLE, Entries, write_entries
from aura.training.visual.crops import CANVAS_SIDE, Crops, load
from aura.training.visual.drive import drive
from aura.training.visual.generators import (
    RECIPES,
    Generator,
    Recipe,
    redraw,
    resized,
    to_pixels,
    to_signal,
)
from aura.training.visual.network import Front, start_from_imagenet

if TYPE_CHECKING:
    from pathlib import Path

FFHQ_SHARE = 0.35  # of the training faces: LFW's are too soft to learn sharp detail from
LOG_EVERY = 100
SEED = 1
BATCH = 32
RATE = 1e-3
CRITIC_RATE = 3e-4
PERCEPTUAL_WEIGHT = 0.15
SMALLEST_WINDOW = 0.5  # of the canvas: eyes to mouth; the largest is the canvas
PADDING = 16  # a generator's picture has an edge of its own, which is cut off again
SKIPPED_SOURCES = ("stylegan",)


def random_window(random: np.random.Generator, side: int) -> tuple[int, int, int]:
    """Left, top and width in pixels of a square around the face of an aligned crop."""
    width = round(side * random.uniform(SMALLEST_WINDOW, 1.0))
    room = side - width
    left, top = (round(room * random.uniform(0.4, 0.6)) for _ in range(2))
    return left, top, width


def _critic() -> nn.Sequential:
    """Patches of about 22 pixels: (B, 3, S, S) to (B, 1, S / 8, S / 8)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 48), (48, 96), (96, 128)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(128, 1, 1))


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    return image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]


def _spoil(shown: Tensor, random: np.random.Generator) -> Tensor:
    """Down, noise, up: what a restorer is shown."""
    side = shown.shape[-1]
    small = resized(shown, max(24, round(side * random.uniform(0.15, 0.5))))
    small = small + float(random.uniform(0, 0.1)) * torch.randn_like(small)
    return resized(small, side)


class _Training:
    """One generator, its patch discriminator where the recipe wants one, and their optimisers."""

    def __init__(self, recipe: Recipe, steps: int, device: str) -> None:
        self._recipe, self._steps, self._step, self._device = recipe, steps, 0, device
        self.network = Generator(recipe).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._critic = _critic().to(device)
        self._front = Front()
        start_from_imagenet(self._front)
        self._front.eval().requires_grad_(False).to(device)
        betas = (0.5, 0.99)
        self._optimiser = torch.optim.Adam(self.network.parameters(), lr=RATE, betas=betas)
        self._critics = torch.optim.Adam(self._critic.parameters(), lr=CRITIC_RATE, betas=betas)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, RATE, total_steps=steps
        )

    def learn(self, shown: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """One step on (B, 3, inputs, inputs) and (B, 3, side, side); the loss and its L1 part."""
        self._step += 1
        with torch.autocast(self._device, dtype=torch.bfloat16):
            drawn = self.network(shown)
            seen, real = self._front(_pixels(drawn)), self._front(_pixels(wanted))
        distance = F.l1_loss(drawn.float(), wanted)
        value = distance + PERCEPTUAL_WEIGHT * F.l1_loss(seen.float(), real.float())
        for mine, theirs in zip(_edges(drawn.float()), _edges(wanted), strict=True):
            value = value + F.l1_loss(mine, theirs)
        weight = self._recipe.adversarial
        # First the picture, then the critic's eye for it, then its say.
        if weight and self._step > self._steps // 3:
            with torch.autocast(self._device, dtype=torch.bfloat16):
                value = value - weight * self._critic(drawn).float().mean()
        self._optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        if weight and self._step > self._steps // 4:
            self._judge(wanted, drawn.detach())
        return value.detach(), distance.detach()

    def _judge(self, wanted: Tensor, drawn: Tensor) -> None:
        with torch.autocast(self._device, dtype=torch.bfloat16):
            real, fake = self._critic(wanted), self._critic(drawn)
        judged = F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()
        self._critics.zero_grad()
        judged.backward()  # type: ignore[no-untyped-call]
        self._critics.step()


def _pixels(signal: Tensor) -> Tensor:
    return (signal + 1) * 127.5


class _Photos:
    """The training photos on the device, and batches of them."""

    def __init__(self, crops: Crops, device: str, seed: int) -> None:
        self.rows = {
            source: crops.where(source, "train")
            for source in sorted({str(s) for s in crops.source} - set(SKIPPED_SOURCES))
        }
        wanted = np.sort(np.concatenate(list(self.rows.values())))
        self.numbers = wanted
        self._images = torch.from_numpy(np.array(crops.images[wanted])).to(device)
        self._places = {s: np.searchsorted(wanted, rows) for s, rows in self.rows.items()}
        self._random, self._device = np.random.default_rng(seed), device

    def at(self, places: Any) -> Tensor:
        """(B, 3, 256, 256) in [-1, 1]."""
        return to_signal(self._images[torch.as_tensor(places, device=self._device)])

    def windows(self, count: int, side: int) -> Tensor:
        """(count, 3, side, side): one window of as many photos, mirrored half of the time."""
        random = self._random
        sharp = random.random(count) < FFHQ_SHARE
        places = np.where(
            sharp,
            random.choice(self._places.get("ffhq", self._places["lfw"]), count),
            random.choice(self._places["lfw"], count),
        )
        left, top, width = random_window(random, CANVAS_SIDE)
        part = self.at(places)[..., top : top + width, left : left + width]
        part = part.flip(-1) if random.random() < 0.5 else part
        return resized(part, side).contiguous(memory_format=torch.channels_last)


def train_generators(
    folder: Path, wanted: list[str], device: str, share: float = 1.0, limit: int | None = None
) -> None:
    """Train generators that `folder` does not hold yet; those for training also fill their bank.

    Args:
        folder: what `crops.prepare` wrote. wanted: names of recipes. device: "cpu" or "cuda".
        share: of the recipes' images to train on. limit: photos drawn into the bank; None: all.

    Raises:
        FloatingPointError: a loss is no number any more.
    """
    photos = _Photos(load(folder), device, SEED)
    for name in wanted:
        path = folder / "generators" / f"{name}.pt"
        if not path.is_file():
            network = _train(folder, name, photos, device, share)
            part = path.with_suffix(".part")
            torch.save({k: v.cpu().half() for k, v in network.state_dict().items()}, part)
            if not RECIPES[name].heldout:
                write_entries(folder, name, _draw_all(network, photos, device, limit))
            part.replace(path)


def _train(folder: Path, name: str, photos: _Photos, device: str, share: float) -> Generator:
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    recipe = RECIPES[name]
    steps = max(4, round(recipe.images * share) // BATCH)
    training = _Training(recipe, steps, device)
    (folder / "generators").mkdir(exist_ok=True)
    began = time.monotonic()
    for step in range(1, steps + 1):
        pixels = photos.windows(BATCH, recipe.side)
        shown = resized(pixels, recipe.inputs)
        value, distance = training.learn(
            _spoil(shown, random) if recipe.degraded else shown, pixels
        )
        if step % LOG_EVERY == 0 or step == steps:
            record = {
                "name": name,
                "step": step,
                "of": steps,
                "loss": round(float(value), 4),
                "l1": round(float(distance), 4),
                "images_per_second": round(step * BATCH / (time.monotonic() - began), 1),
            }
            if not math.isfinite(float(value)):
                raise FloatingPointError(f"the loss of {name} became no number at step {step}")
            with (folder / "generators" / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
    network: Generator = training.network.eval()
    return network


@torch.no_grad()
def _draw_all(network: Generator, photos: _Photos, device: str, limit: int | None) -> Entries:
    """Every photo twice: its face, and all of it, where it is (half of them) or moved."""
    random = np.random.default_rng(SEED)
    chance = torch.Generator().manual_seed(SEED)
    order = random.permutation(len(photos.numbers))[:limit]
    pictures, photo, kind, window = [], [], [], []
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        images = photos.at(places)
        how = str(random.choice(["bilinear", "bicubic"]))
        for one in (FACE, (WHOLE, MOVED)[start // BATCH % 2]):
            left, top, width = random_window(random, CANVAS_SIDE) if one == FACE else (0, 0, 0)
            with torch.autocast(device, dtype=torch.bfloat16):
                if one == FACE:
                    drawn = images.clone()
                    part = images[..., top : top + width, left : left + width]
                    drawn[..., top : top + width, left : left + width] = redraw(network, part, how)
                else:
                    drawn = redraw_whole(network, images, chance if one == MOVED else None, how)
            pictures.append(to_pixels(drawn))
            photo += photos.numbers[places].tolist()
            kind += [one] * len(places)
            window += [(left, top, width)] * len(places)
    return Entries(
        np.concatenate(pictures),
        np.array(photo, np.int32),
        np.array(kind, np.int8),
        np.array(window, np.int16),
    )


def redraw_whole(
    network: Generator, images: Tensor, chance: torch.Generator | None = None, how: str = "bilinear"
) -> Tensor:
    """(B, 3, S, S) drawn edge to edge; moved first where a source of chance is given."""
    side = images.shape[-1]
    images = images if chance is None else drive(images, chance)
    drawn = redraw(network, F.pad(images, (PADDING,) * 4, mode="reflect"), how)
    return drawn[..., PADDING : PADDING + side, PADDING : PADDING + side]
