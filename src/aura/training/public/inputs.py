"""Raw pictures or sound in, one logit out, around each network of a public checkpoint.

Normalisation and the direction of the score (higher = more likely manipulated) are inside, so that
nothing that runs later has to know them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(nn.Module):
    """(..., S, S, 3) uint8 RGB to a logit, through a network of normalised (..., 3, S, S)."""

    def __init__(
        self,
        network: nn.Module,
        fake: int | None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.network, self.fake = network, fake
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean) * 255)
        self.register_buffer("std", torch.tensor(std) * 255)

    def forward(self, images: Tensor) -> Tensor:
        """(B,) logits; `fake` None: the network's one output points our way already."""
        x = (images.float() - self.mean) / self.std
        # Spelled out: the exporter writes negative axes as they stand, which no engine reads.
        order = (0, 3, 1, 2) if x.ndim == 4 else (0, 1, 4, 2, 3)
        return _turned(self.network(x.permute(order)), self.fake)


class Voice(nn.Module):
    """(B, n) float32 sound at 16 kHz to a logit, brought to zero mean and unit spread if asked."""

    def __init__(self, network: nn.Module, fake: int, *, normalise: bool) -> None:
        super().__init__()
        self.network, self.fake, self.normalise = network, fake, normalise

    def forward(self, sound: Tensor) -> Tensor:
        """(B,) logits."""
        if self.normalise:
            centred = sound - sound.mean(dim=1, keepdim=True)
            sound = centred / torch.sqrt((centred * centred).mean(dim=1, keepdim=True) + 1e-7)
        return _turned(self.network(sound).logits, self.fake)


class VideoLogits(nn.Module):
    """What VideoMAE's classifier says, without the rest of its answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, 16, 3, S, S) to (B, 2)."""
        logits: Tensor = self.network(x).logits
        return logits


class GenD(nn.Module):
    """A vision tower's pooled feature, normalised or not, and a linear layer (Yermakov et al.)."""

    def __init__(self, tower: nn.Module, head: nn.Linear, *, normalise: bool) -> None:
        super().__init__()
        self.tower, self.head, self.normalise = tower, head, normalise

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 224, 224) to (B, 2)."""
        feature = self.tower(x).pooler_output
        if self.normalise:
            feature = F.normalize(feature, dim=1)
        logits: Tensor = self.head(feature)
        return logits


def _turned(logits: Tensor, fake: int | None) -> Tensor:
    """One logit, higher = more likely manipulated."""
    if fake is None:
        return logits[:, 0]
    return logits[:, fake] - logits[:, 1 - fake]
