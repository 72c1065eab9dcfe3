"""The training loop: AdamW, warm-up and cosine, weight averaging, checkpoints that resume."""

from __future__ import annotations

import json
import math
import os
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aura.faces import CROP_SIDE
from aura.metrics import auc
from aura.runtime import OpenVinoSession, Session
from aura.training.visual.crops import load
from aura.training.visual.network import Front, Tail, start_from_imagenet
from aura.training.visual.pairs import heldout_blends, heldout_generated, training_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


class _Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Pairs, already passed through the shared front: features (B, 48, 28, 28) and labels (B,)."""

    def __init__(
        self, folder: Path, front: Path, head: Mapping[str, Any], seed: int, step: int
    ) -> None:
        self._folder, self._front, self._head = folder, front, head
        self._seed, self._step = seed, step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        seed = hash((self._seed, self._step, worker.id if worker else 0)) % 2**32
        session = OpenVinoSession(self._front, threads=1)
        for images, labels in training_batches(self._folder, self._head, seed):
            pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
            yield (
                torch.from_numpy(session.run({"images": pixels})["features"]),
                torch.from_numpy(labels),
            )


def export_front(path: Path) -> Path:
    """Write the front with its ImageNet weights as ONNX, once."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        front = Front()
        start_from_imagenet(front)
        part = path.with_suffix(f".{os.getpid()}.part")
        torch.onnx.export(
            front.eval(),
            (torch.zeros(2, 3, CROP_SIDE, CROP_SIDE),),
            str(part),
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        part.replace(path)
    return path


def predict(
    network: nn.Module, images: NDArray[Any], front: Session | None = None, batch: int = 32
) -> NDArray[np.float32]:
    """Logits of a network for images (N, 224, 224, 3) uint8 RGB; of a tail, behind `front`."""
    network.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = images[start : start + batch].transpose(0, 3, 1, 2)
            pixels = np.ascontiguousarray(part, np.float32)
            if front is not None:
                pixels = front.run({"images": pixels})["features"]
            rows.append(network(torch.from_numpy(pixels)))
    return np.asarray(torch.cat(rows).numpy())


class Trainer:
    """A tail in training, its running average, and the checkpoint it goes on from.

    Args:
        out: checkpoints and `log.jsonl` go there; `out/latest.pt` is resumed, and the end of each
            cosine cycle stays as `out/cycleN.pt`.
        start: weights to begin with; None: ImageNet's.
        config: `config.json` with the head's own part merged in.
    """

    def __init__(
        self, out: Path, config: dict[str, Any], start: Mapping[str, Tensor] | None = None
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config["seed"])
        torch.set_num_threads(config["threads"])
        self._out, self._config = out, config
        self.network = Tail()
        if start is None:
            start_from_imagenet(self.network)
        else:
            self.network.load_state_dict(start)
        self.average = deepcopy(self.network).requires_grad_(False)
        body = [p for n, p in self.network.named_parameters() if not n.startswith("head.")]
        self._rates = [config["learning_rate"], config["head_learning_rate"]]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": body, "lr": self._rates[0]},
                {"params": self.network.head.parameters(), "lr": self._rates[1]},
            ],
            weight_decay=config["weight_decay"],
        )
        self.steps = config["images"] // config["batch"]
        self._cycle = config["cycle_images"] // config["batch"]
        self.step = 0
        if self._latest.is_file():
            self._resume(torch.load(self._latest, weights_only=True))

    @property
    def at_cycle_end(self) -> bool:
        """Whether the learning rate has just come down to its lowest."""
        return bool(self.step % self._cycle == 0)

    @property
    def _latest(self) -> Path:
        return self._out / "latest.pt"

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]

    def learn(self, features: Tensor, labels: Tensor) -> float:
        """One step on (B, 48, 28, 28) features and (B,) labels; the loss.

        Raises:
            FloatingPointError: the loss is no number any more; nothing was changed.
        """
        self._set_rates()
        self.network.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.network(features.contiguous(memory_format=torch.channels_last))
        smoothing = self._config["label_smoothing"]
        value = F.binary_cross_entropy_with_logits(
            logits.float(), labels * (1 - 2 * smoothing) + smoothing
        )
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
        """Warm-up, then cosine down to 1 % in each cycle; every further cycle starts at half."""
        step, done = self.step % self._cycle, self.step // self._cycle
        pace = min(1.0, (step + 1) / self._config["warmup_steps"]) * 0.5**done
        pace *= 0.5 * (1 + math.cos(math.pi * step / self._cycle)) * 0.99 + 0.01
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
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "config": json.dumps(self._config),
        }
        _write(self._latest, state)
        if self.at_cycle_end:
            _write(self._out / f"cycle{self.step // self._cycle}.pt", state)


def _write(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def keep_start(out: Path, start: Mapping[str, Tensor]) -> None:
    """Write `out/cycle0.pt`, so that the end is averaged with where it began.

    Such a mean (see `export.mean_tail`) keeps more of what the start knew of other data (Wortsman
    et al., CVPR 2022).
    """
    _write(out / "cycle0.pt", {"average": dict(start)})


def train(
    folder: Path,
    out: Path,
    head: str,
    config: Mapping[str, Any],
    start: Mapping[str, Tensor] | None = None,
) -> None:
    """Train one head to the end, or go on from where `out/HEAD/latest.pt` stands.

    Args:
        folder: what `crops.prepare` wrote. out: one folder a head is made there.
        head: one of `network.HEADS`. config: see `config.json`.
        start: a tail's weights to go on from instead of ImageNet's, where nothing is to resume;
            kept as `out/HEAD/cycle0.pt`.
    """
    merged = {name: value for name, value in config.items() if name != "heads"}
    merged |= config["heads"][head]
    front = export_front(folder / "front.onnx")
    trainer = Trainer(out / head, merged, start)
    if start is not None:
        keep_start(out / head, start)
    batches = iter(
        DataLoader(
            _Batches(folder, front, merged, merged["seed"], trainer.step),
            batch_size=None,
            num_workers=merged["workers"],
            prefetch_factor=4,
        )
    )
    crops = load(folder)
    if head == "blend":
        images = heldout_blends(crops, 96, seed=1)
        labels = np.arange(len(images)) % 2
    else:
        images, labels = heldout_generated(crops, 1, seed=1)
    session = OpenVinoSession(front, threads=1)
    began, seen = time.monotonic(), 0
    while trainer.step < trainer.steps:
        features, wanted = next(batches)
        value = trainer.learn(features, wanted)
        seen += len(features)
        if trainer.step % merged["checkpoint_every"] == 0 or trainer.at_cycle_end:
            trainer.save(
                {
                    "step": trainer.step,
                    "of": trainer.steps,
                    "loss": round(value, 4),
                    "heldout_auc": round(auc(labels, predict(trainer.average, images, session)), 4),
                    "images_per_second": round(seen / (time.monotonic() - began), 1),
                }
            )
