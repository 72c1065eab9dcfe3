"""The training loop: AdamW, warm-up and cosine, weight averaging, checkpoints that resume.

A run ends after so many images or so many seconds, whichever comes first, and the learning rate
follows whichever is further: a lent GPU is had by the minute. Several networks may learn from the
same batches, since making those is what takes the time.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aura.metrics import auc
from aura.training.visual.crops import load
from aura.training.visual.network import HEADS, FaceNetwork, start_from_imagenet
from aura.training.visual.pairs import heldout_blends, heldout_generated, training_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

MONITORED = 96  # held-out pairs whose AUC is logged


class _Batches(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """What `pairs.training_batches` makes, one seed a worker."""

    def __init__(self, folder: Path, config: Mapping[str, Any], visit: int) -> None:
        self._folder, self._config, self._visit = folder, config, visit

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        worker = get_worker_info()
        number = worker.id if worker else 0
        seed = hash((self._config["seed"], self._visit, number)) % 2**32
        for images, labels, weights in training_batches(self._folder, self._config, seed):
            yield torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(weights)


def predict(network: nn.Module, images: NDArray[Any], batch: int = 32) -> NDArray[np.float32]:
    """Logits (N, 2) of images (N, 224, 224, 3) uint8 RGB."""
    network.eval()
    device = next(network.parameters()).device
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + batch]))
            rows.append(network(_pixels(part.to(device))).cpu())
    return np.asarray(torch.cat(rows).numpy())


def _pixels(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32; the bytes are channels-last as they are."""
    return images.permute(0, 3, 1, 2).float()


class Trainer:
    """A network in training, its running average, and the checkpoint it goes on from.

    Args:
        out: `latest.pt` is kept and resumed there, and `average.pt` holds the averaged weights.
        config: `config.json` with the network's own part merged in; `train_front` false leaves
            stem and first blocks as they were; `start`, an `average.pt` to begin with instead of
            ImageNet's weights.
        device: "cpu" or "cuda".
    """

    def __init__(self, out: Path, config: Mapping[str, Any], device: str = "cpu") -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config["seed"])
        self._out, self._config, self._device = out, config, device
        network = FaceNetwork()
        if "start" in config:
            network.load_state_dict(torch.load(config["start"], weights_only=True)["weights"])
        else:
            for part in (network.front, *network.tails.values()):
                start_from_imagenet(part)  # type: ignore[arg-type]
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.front.requires_grad_(config["train_front"])
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(config["ema_decay"]),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        rate, head_rate = config["learning_rate"], config["head_learning_rate"]
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if name.startswith("front."):
                groups.setdefault(rate * config["front_rate"], []).append(parameter)
            else:
                groups.setdefault(head_rate if ".head." in name else rate, []).append(parameter)
        self._rates = list(groups)
        self._optimiser = torch.optim.AdamW(
            [{"params": parameters, "lr": rate} for rate, parameters in groups.items()],
            weight_decay=config["weight_decay"],
        )
        self.step, self.seen, self.seconds = 0, 0, 0.0
        if (out / "latest.pt").is_file():
            self._resume(torch.load(out / "latest.pt", weights_only=True, map_location=device))

    @property
    def progress(self) -> float:
        """From 0 to 1, by images seen or seconds spent."""
        seen: float = self.seen / self._config["images"]
        spent: float = self.seconds / self._config["seconds"]
        return min(1.0, max(seen, spent))

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.seen, self.seconds = state["step"], state["seen"], state["seconds"]

    def learn(self, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """One step; the loss.

        Args:
            images: (B, 224, 224, 3) uint8. labels: (B,), 1 = fake. weights: (B, 2), what each
                picture counts for each head.

        Raises:
            FloatingPointError: the loss is no number any more; nothing was changed.
        """
        self._set_rates()
        self.network.train()
        if not self._config["train_front"]:
            self.network.front.eval()
        with torch.autocast(self._device, dtype=torch.bfloat16):
            logits = self.network(_pixels(images))
        smoothing = self._config["label_smoothing"]
        wanted = (labels * (1 - 2 * smoothing) + smoothing)[:, None].expand(-1, len(HEADS))
        errors = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        value = ((errors * weights).sum(0) / weights.sum(0).clamp(min=1e-3)).sum()
        self._optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        size = nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        if self.step % 50 == 0 and not torch.isfinite(size):  # asking each time would wait for it
            raise FloatingPointError(f"the loss became {value.item()} at step {self.step}")
        self._optimiser.step()
        self.step += 1
        self.seen += len(images)
        self.average.update_parameters(self.network)
        return value.detach()

    def _set_rates(self) -> None:
        """Warm-up, then cosine down to 1 %."""
        pace = min(1.0, (self.step + 1) / self._config["warmup_steps"])
        pace *= 0.5 * (1 + math.cos(math.pi * self.progress)) * 0.99 + 0.01
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * pace

    def save(self, record: dict[str, Any]) -> None:
        """Log a record and replace the checkpoint and the averaged weights."""
        with (self._out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "seen": self.seen,
            "seconds": self.seconds,
        }
        _write(self._out / "latest.pt", state)
        weights = self.average.module.state_dict()
        told = {**self._config, "images": self.seen, "seconds": round(self.seconds)}
        if "start" in told:
            told["start"] = Path(told["start"]).name
        average = {
            "weights": {name: value.cpu() for name, value in weights.items()},
            "config": json.dumps(told),
        }
        _write(self._out / "average.pt", average)


def _write(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def train(
    folder: Path, out: Path, wanted: list[str], config: Mapping[str, Any], device: str = "cpu"
) -> None:
    """Train networks to the end, side by side, or go on from where `out/NAME/latest.pt` stands.

    Args:
        folder: what `crops.prepare` wrote; drawings are used as `train_generators` finishes them.
        out: a folder for each network is made there. wanted: names in `config["networks"]`.
        config: see `config.json`.
    """
    shared = {name: value for name, value in config.items() if name != "networks"}
    began = time.monotonic()
    trainers = {}
    log = out / wanted[0] / "log.jsonl"  # a resumed run goes on with other pairs
    visit = len(log.read_text(encoding="utf-8").splitlines()) if log.is_file() else 0
    loader = DataLoader(
        _Batches(folder, shared, visit),
        batch_size=None,
        num_workers=shared["workers"],
        prefetch_factor=3 if shared["workers"] else None,
        pin_memory=device == "cuda",
    )
    batches = iter(loader)  # workers start before the GPU does
    monitor = _Monitor(folder)
    for name in wanted:
        trainers[name] = Trainer(out / name, shared | config["networks"][name], device)
    before = max(trainer.seconds for trainer in trainers.values())
    saved = 0.0
    while any(trainer.progress < 1.0 for trainer in trainers.values()):
        batch = [tensor.to(device, non_blocking=True) for tensor in next(batches)]
        losses = {name: trainer.learn(*batch) for name, trainer in trainers.items()}
        spent = time.monotonic() - began
        for trainer in trainers.values():
            trainer.seconds = before + spent
        ended = all(trainer.progress >= 1.0 for trainer in trainers.values())
        if spent - saved > shared["checkpoint_seconds"] or ended:
            saved = spent
            for name, trainer in trainers.items():
                record = monitor.record(trainer, float(losses[name]))
                trainer.save({**record, "images_per_second": round(trainer.seen / spent, 1)})


class _Monitor:
    """Held-out people, looked at now and then."""

    def __init__(self, folder: Path) -> None:
        crops = load(folder)
        self._blends = heldout_blends(crops, MONITORED, seed=1)
        self._portraits, self._labels = heldout_generated(crops, 1, seed=1)

    def record(self, trainer: Trainer, loss: float) -> dict[str, Any]:
        """What the log says of this moment."""
        network = trainer.average.module
        blends = predict(network, self._blends)[:, 0]
        portraits = predict(network, self._portraits)[:, 1]
        return {
            "step": trainer.step,
            "images": trainer.seen,
            "seconds": round(trainer.seconds),
            "loss": round(loss, 4),
            "heldout_auc": {
                "self-blends": round(auc(np.arange(len(blends)) % 2, blends), 4),
                "portraits": round(auc(self._labels, portraits), 4),
            },
        }
