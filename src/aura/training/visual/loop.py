"""The training loop: AdamW, warm-up and cosine, weight averaging, checkpoints that resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aura.training.visual.crops import load
from aura.training.visual.network import FaceNetwork, imagenet_weights
from aura.training.visual.pairs import (
    UNKNOWN,
    heldout_blends,
    heldout_generated,
    training_batches,
)


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


def train(folder: Path, out: Path, config: dict[str, Any], start_from: Path | None = None) -> None:
    """Train, or go on with the training that `out/latest.pt` holds.

    Args:
        folder: what `crops.prepare` wrote. out: checkpoints and `log.jsonl` go there.
        config: see `config.json`. start_from: a checkpoint whose averaged weights to begin with.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config["seed"])
    torch.set_num_threads(config["threads"])
    network = FaceNetwork()
    if start_from is None:
        network.load_state_dict(imagenet_weights(), strict=False)
    else:
        network.load_state_dict(torch.load(start_from, weights_only=True)["average"])
    network.freeze_front(config["frozen_blocks"])
    network = network.to(memory_format=torch.channels_last)
    average = deepcopy(network).requires_grad_(False)
    body = [p for n, p in network.named_parameters() if p.requires_grad and "heads" not in n]
    optimiser = torch.optim.AdamW(
        [
            {"params": body, "lr": config["learning_rate"]},
            {"params": network.heads.parameters(), "lr": config["head_learning_rate"]},
        ],
        weight_decay=config["weight_decay"],
    )
    base = [group["lr"] for group in optimiser.param_groups]
    steps = config["images"] // (2 * config["batch_pairs"])
    step = 0
    latest = out / "latest.pt"
    if latest.is_file():
        state = torch.load(latest, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    loader = iter(
        DataLoader(
            _Batches(folder, config, step),
            batch_size=None,
            num_workers=config["workers"],
            prefetch_factor=4,
        )
    )
    crops = load(folder)
    blends = heldout_blends(crops, 96, seed=1)
    generated, generated_labels = heldout_generated(crops, 1, seed=1)
    began, seen = time.monotonic(), 0
    while step < steps:
        images, targets = next(loader)
        pace = min(1.0, (step + 1) / config["warmup_steps"])
        pace *= 0.5 * (1 + math.cos(math.pi * step / steps)) * 0.99 + 0.01
        for group, rate in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = rate * pace
        network.train()
        for block in (network._bn0, *network._blocks[: config["frozen_blocks"]]):
            block.eval()
        pixels = images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(pixels)
        value = loss(logits.float(), targets, config["label_smoothing"])
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss became {value.item()} at step {step}")
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step, seen = step + 1, seen + len(images)
        decay = min(config["ema_decay"], (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(
                average.state_dict().values(), network.state_dict().values(), strict=True
            ):
                if kept.dtype.is_floating_point:
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)
        if step % config["checkpoint_every"] == 0 or step == steps:
            scores = predict(average, blends)[:, 0]
            record = {
                "step": step,
                "of": steps,
                "loss": round(value.item(), 4),
                "blend_auc": round(roc_auc_score(np.arange(len(scores)) % 2, scores), 4),
                "generated_auc": round(
                    roc_auc_score(generated_labels, predict(average, generated)[:, 1]), 4
                ),
                "images_per_second": round(seen / (time.monotonic() - began), 1),
            }
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
            _save(
                latest,
                {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "config": json.dumps(config),
                },
            )


def _save(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)
