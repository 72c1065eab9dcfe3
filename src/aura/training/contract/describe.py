"""The network in figures: tensors, parameters, step time, memory. Behind docs/contract.md."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from aura.detectors.contract_motion import MOTION_WIDTH
from aura.training.contract.config import IMAGE_SIDE, SAMPLE_RATE, ContractConfig
from aura.training.contract.judging import in_full
from aura.training.contract.losses import UNKNOWN, Targets, contract_loss
from aura.training.contract.network import ContractNetwork, Outputs, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

LEARNING_RATE = 1e-4  # contract
CPU = torch.device("cpu")


def without_weights(config: ContractConfig) -> ContractConfig:
    """The same network with random weights where the hub's would be needed; sizes stay."""
    remote = {
        name: {"pretrained": None}
        for name, part in (("appearance", config.appearance), ("speech", config.speech))
        if part.pretrained is not None and "/" in part.pretrained.source
    }
    return config.changed(**remote)


def random_windows(config: ContractConfig, batch: int, frames: int, seed: int = 0) -> Windows:
    """Noise in the shape of a batch, with everything there."""
    random = torch.Generator().manual_seed(seed)
    samples = round(config.window_seconds * SAMPLE_RATE)
    return Windows(
        torch.rand(batch, frames, 3, IMAGE_SIDE, IMAGE_SIDE, generator=random) * 255,
        torch.rand(batch, frames, MOTION_WIDTH, generator=random),
        torch.ones(batch, frames, dtype=torch.bool),
        torch.randn(batch, samples, generator=random) * 0.1,
        torch.ones(batch, samples, dtype=torch.bool),
    )


def random_targets(outputs: Outputs) -> Targets:
    """Labels for such a batch: every second window is fake in all respects."""
    batch, frames = outputs.frame_scores.shape
    label = torch.arange(batch, device=outputs.logits.device) % 2
    return Targets(
        label,
        label,
        label,
        label,
        label[:, None].expand(-1, frames),
        torch.zeros_like(outputs.landmarks),
        torch.full_like(outputs.head_pose, UNKNOWN),
    )


def parameters(network: ContractNetwork) -> dict[str, tuple[int, int]]:
    """(all, trained) parameters of each part; the rest is one learned stand-in for no video."""

    def count(module: nn.Module) -> tuple[int, int]:
        sizes = [(value.numel(), value.requires_grad) for value in module.parameters()]
        return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)

    return {**{name: count(part) for name, part in network.parts().items()}, "all": count(network)}


def describe(
    config: ContractConfig,
    batch: int,
    frames: int,
    steps: int,
    device: torch.device = CPU,
    *,
    amp: bool = False,
) -> dict[str, Any]:
    """Build with random weights, run, and measure.

    Args:
        batch: windows. frames: per window. steps: measured ones, after one to warm up.
        device: where. amp: in bfloat16 where autocast sees no harm, as `aura train --amp` does.
    """
    torch.manual_seed(0)
    network = ContractNetwork(without_weights(config)).to(device)
    windows = Windows(*(value.to(device) for value in random_windows(config, batch, frames)))
    trained = [value for value in network.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    network.eval()

    def run() -> Outputs:
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            found: Outputs = network(*windows)
        return in_full(found)

    def judge() -> Outputs:
        with torch.inference_mode():
            return run()

    def step() -> Outputs:
        optimiser.zero_grad()
        found = run()
        loss = contract_loss(found, random_targets(found), config.loss)["total"]
        torch.autograd.backward(loss)
        optimiser.step()
        return found

    load = os.getloadavg()[0]
    forward, outputs = _timed(judge, steps, device)
    forward_peak = _peak_mib(device)
    shapes = {name: list(value.shape) for name, value in outputs._asdict().items()}
    network.train()
    training, _ = _timed(step, steps, device)
    return {
        "config": config.name,
        "inputs": {name: list(value.shape) for name, value in windows._asdict().items()},
        "outputs": shapes,
        "parameters": parameters(network),
        "forward": forward,
        "step": training,
        "forward_peak_mib": forward_peak,
        "step_peak_mib": _peak_mib(device),
        "batch": batch,
        "windows_per_second": round(batch / training["wall_seconds"], 1),
        "precision": "bfloat16 (autocast)" if amp else "float32",
        "threads": torch.get_num_threads(),
        "load_before": round(load, 1),
        "torch": torch.__version__,
        "machine": _machine(device),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _timed(
    action: Callable[[], Outputs], times: int, device: torch.device
) -> tuple[dict[str, float], Outputs]:
    """Median wall and CPU seconds after one run to warm up, and what the last one gave.

    On a machine that does other work the CPU time is the one to go by.
    """
    found = action()
    _wait_for(device)
    wall, cpu = [], []
    for _ in range(times):
        began, spent = time.perf_counter(), time.process_time()
        found = action()
        _wait_for(device)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
    seconds = {"wall_seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu)}
    return {name: round(value, 4) for name, value in seconds.items()}, found


def _wait_for(device: torch.device) -> None:
    """A GPU works on while Python goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mib(device: torch.device) -> int:
    """Most memory so far: of tensors on a GPU, else of the process (Linux: KiB, macOS: bytes)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / (1 << 20))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if platform.system() == "Darwin" else 1 << 10))


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        models = [line for line in listed.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    return f"{cpu}, {platform.system()}"


def as_text(figures: dict[str, Any]) -> str:
    """The figures as the tables of docs/contract.md, in Markdown."""
    lines = ["| | tensor | shape |", "| --- | --- | --- |"]
    for kind, word in (("inputs", "in"), ("outputs", "out")):
        lines += [
            f"| {word} | `{name}` | ({', '.join(str(side) for side in shape)}) |"
            for name, shape in figures[kind].items()
        ]
    lines += ["", "| part | parameters | trained |", "| --- | ---: | ---: |"]
    for name, (count, trained) in figures["parameters"].items():
        lines.append(f"| {name} | {count:,} | {trained:,} |")
    rest = {
        name: value
        for name, value in figures.items()
        if name not in {"inputs", "outputs", "parameters"}
    }
    return "\n".join([*lines, "", json.dumps(rest, indent=2)])
