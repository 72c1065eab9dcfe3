"""The training loop: AdamW, warm-up and cosine, weight averaging, checkpoints that resume."""

from __future__ import annotations

import json
import math
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aura.metrics import auc
from aura.training.visual.crops import load
from aura.training.visual.network import FaceNetwork, imagenet_weights
from aura.training.visual.pairs import (
    UNKNOWN,
    heldout_blends,
    heldout_generated,
    training_batches,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Batches(IterableDataset[tuple[Tensor, Tensor]]):
    def __init__(self, folder: Path, config: dict[str, Any], step: int) -> None:
        self._folder, self._config, self._step = folder, config, step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        seed = hash((self._config["seed"], self._step, worker.id if worker else 0)) % 2**32
        torch.set_num_threads(1)
        for images, targets in training_batches(self._folder, self._config, seed):
            yield torch.from_numpy(images), torch.from_numpy(targets)


def loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Binary cross-entropy over the heads that know the answer; logits and targets (B, 2)."""
    known = targets != UNKNOWN
    soft = targets.clamp(0, 1) * (1 - 2 * smoothing) + smoothing
    each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    per_head = (each * known).sum(0) / known.sum(0).clamp(min=1)
    return per_head.sum()


def predict(network: nn.Module, images: np.ndarray[Any, Any], batch: int = 32) -> Any:
    """Logits (N, 2) float32 for images (N, 224, 224, 3) uint8 RGB."""
    network.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float()
            rows.append(network(part.contiguous(memory_format=torch.channels_last)))
    return torch.cat(rows).numpy()


class Trainer:
    """A network in training, its running average, and the checkpoint it goes on from.

    Args:
        out: checkpoints and `log.jsonl` go there; `out/latest.pt` is resumed.
        config: see `config.json`. start_from: a checkpoint whose averaged weights to begin with.
    """

    def __init__(self, out: Path, config: dict[str, Any], start_from: Path | None = None) -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config["seed"])
        torch.set_num_threads(config["threads"])
        self._out, self._config = out, config
        network = FaceNetwork()
        if start_from is None:
            network.load_state_dict(imagenet_weights(), strict=False)
        else:
            network.load_state_dict(torch.load(start_from, weights_only=True)["average"])
        network.freeze_front(config["frozen_blocks"])
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.network).requires_grad_(False)
        body = [p for n, p in network.named_parameters() if p.requires_grad and "heads" not in n]
        self._rates = [config["learning_rate"], config["head_learning_rate"]]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": body, "lr": self._rates[0]},
                {"params": network.heads.parameters(), "lr": self._rates[1]},
            ],
            weight_decay=config["weight_decay"],
        )
        self.steps = config["images"] // (2 * config["batch_pairs"])
        self.step = 0
        if self._latest.is_file():
            self._resume(torch.load(self._latest, weights_only=True))

    @property
    def _latest(self) -> Path:
        return self._out / "latest.pt"

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]

    def learn(self, images: Tensor, targets: Tensor) -> float:
        """One step on (B, 224, 224, 3) uint8 and (B, 2) targets; the loss.

        Raises:
            FloatingPointError: the loss is no number any more; nothing was changed.
        """
        self._set_rates()
        self.network.train()
        for module in (self.network._bn0, *self.network._blocks[: self._config["frozen_blocks"]]):
            module.eval()
        pixels = images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.network(pixels)
        value = loss(logits.float(), targets, self._config["label_smoothing"])
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss became {value.item()} at step {self.step}")
        self._optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimiser.step()
        self.step += 1
        self._follow()
        return float(value.item())

    def _set_rates(self) -> None:
        """Warm-up, then cosine down to 1 %."""
        pace = min(1.0, (self.step + 1) / self._config["warmup_steps"])
        pace *= 0.5 * (1 + math.cos(math.pi * self.step / self.steps)) * 0.99 + 0.01
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * pace

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights towards the new ones; faster at the beginning."""
        decay = min(self._config["ema_decay"], (1 + self.step) / (10 + self.step))
        new_values = self.network.state_dict().values()
        for kept, new in zip(self.average.state_dict().values(), new_values, strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def save(self, record: dict[str, Any]) -> None:
        """Log a record and replace the checkpoint in one move."""
        with (self._out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        part = self._latest.with_suffix(".part")
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "config": json.dumps(self._config),
        }
        torch.save(state, part)
        part.replace(self._latest)


def train(folder: Path, out: Path, config: dict[str, Any], start_from: Path | None = None) -> None:
    """Train to the end, or go on from where `out/latest.pt` stands.

    Args:
        folder: what `crops.prepare` wrote. out, config, start_from: see `Trainer`.
    """
    trainer = Trainer(out, config, start_from)
    batches = iter(
        DataLoader(
            _Batches(folder, config, trainer.step),
            batch_size=None,
            num_workers=config["workers"],
            prefetch_factor=4,
        )
    )
    crops = load(folder)
    blends = heldout_blends(crops, 96, seed=1)
    generated, generated_labels = heldout_generated(crops, 1, seed=1)
    began, seen = time.monotonic(), 0
    while trainer.step < trainer.steps:
        images, targets = next(batches)
        value = trainer.learn(images, targets)
        seen += len(images)
        if trainer.step % config["checkpoint_every"] == 0 or trainer.step == trainer.steps:
            scores = predict(trainer.average, blends)[:, 0]
            portraits = predict(trainer.average, generated)[:, 1]
            trainer.save(
                {
                    "step": trainer.step,
                    "of": trainer.steps,
                    "loss": round(value, 4),
                    "blend_auc": round(auc(np.arange(len(scores)) % 2, scores), 4),
                    "generated_auc": round(auc(generated_labels, portraits), 4),
                    "images_per_second": round(seen / (time.monotonic() - began), 1),
                }
            )
