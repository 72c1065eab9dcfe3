"""Made-up windows for the tests of the contract network: smooth pictures and noise as speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.training.contract.config import IMAGE_SIDE
from aura.training.contract.describe import without_weights
from aura.training.contract.network import ContractNetwork, Outputs, Windows

if TYPE_CHECKING:
    from aura.training.contract.config import ContractConfig

SAMPLES = 16_000
TOKENS = 49  # of wav2vec2 in one second


def pictures(count: int, random: torch.Generator) -> Tensor:
    """(count, 3, 224, 224) in [0, 255]; smooth, since noise looks alike everywhere."""
    coarse = torch.rand(count, 3, 7, 7, generator=random) * 255
    return F.interpolate(coarse, size=IMAGE_SIDE, mode="bilinear")


def made_windows(batch: int = 2, frames: int = 5, seed: int = 3) -> Windows:
    """A batch in which everything is there."""
    random = torch.Generator().manual_seed(seed)
    return Windows(
        pictures(batch * frames, random).unflatten(0, (batch, frames)),
        torch.rand(batch, frames, 2, generator=random),
        torch.ones(batch, frames, dtype=torch.bool),
        torch.randn(batch, SAMPLES, generator=random) * 0.1,
        torch.ones(batch, SAMPLES, dtype=torch.bool),
    )


def settle(network: ContractNetwork, faces: Tensor) -> ContractNetwork:
    """Give random weights the running statistics that pretrained ones come with.

    Without them activations fade over the layers until nothing depends on the input. `faces`
    (N, 3, 224, 224) in [0, 255].
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        network.appearance(faces)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    network.train(network.training)  # brings those that keep still back to rest
    return network


def build(config: ContractConfig, seed: int = 11) -> ContractNetwork:
    torch.manual_seed(seed)
    return ContractNetwork(without_weights(config)).eval()


def run(network: ContractNetwork, windows: Windows) -> Outputs:
    with torch.no_grad():
        found: Outputs = network(*windows)
    return found


JUDGEMENTS = ("logits", "manipulation", "disagreement", "video", "fused", "joint")


def same(one: Outputs, other: Outputs) -> bool:
    """All judgements are equal, and the scores of the frames that were seen."""
    frames = [found.frame_scores[found.frame_mask] for found in (one, other)]
    return torch.equal(*frames) and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in JUDGEMENTS
    )


def finite(outputs: Outputs) -> bool:
    return all(bool(value.isfinite().all()) for value in outputs)
