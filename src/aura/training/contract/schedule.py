"""What is trained at which rate: parameter groups, warm-up and cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from aura.training.contract.network import ContractNetwork
    from aura.training.contract.settings import TrainSettings

LARGEST_WARMUP = 0.1  # of all steps: a short run would else never reach its rate


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """Share of the full rate at an optimiser step: linear warm-up, then a cosine to 0.

    Args:
        step: from 0. steps: of the whole run. warmup: steps, at most a tenth of `steps` count.

    >>> [round(rate_factor(step, 100, 10), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = min(warmup, int(steps * LARGEST_WARMUP))
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def parameter_groups(network: ContractNetwork, settings: TrainSettings) -> list[dict[str, Any]]:
    """Groups for AdamW, each with its `full_rate`; frozen parameters are left out.

    Encoders that began from pretrained weights have a rate of their own. Norms, biases and learned
    tokens don't decay.

    Raises:
        UsageError: nothing is left to train.
    """
    config = network.config
    pretrained = {
        name
        for name, part in (("appearance", config.appearance), ("speech", config.speech))
        if part.pretrained is not None
    }
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, value in network.named_parameters():
        if value.requires_grad:
            encoder = name.split(".", 1)[0] in pretrained
            groups.setdefault((encoder, value.ndim > 1), []).append(value)
    if not groups:
        raise UsageError(f"configuration {config.name}: every parameter is frozen")
    return [
        {
            "params": values,
            "full_rate": settings.encoder_learning_rate if encoder else settings.learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (encoder, decays), values in sorted(groups.items())
    ]


def build_optimiser(network: ContractNetwork, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over what trains; `set_rates` gives it its rates before each step."""
    return torch.optim.AdamW(parameter_groups(network, settings), lr=settings.learning_rate)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Each group's rate for the coming step."""
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor


def trained(optimiser: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    """All parameters that an optimiser moves."""
    for group in optimiser.param_groups:
        yield from group["params"]
