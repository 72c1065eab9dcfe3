"""From single frames to the window: convolution over time, or a small transformer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.training.sync.stem import Block

if TYPE_CHECKING:
    from aura.training.contract.config import Temporal

POSITION_PERIODS = 64.0  # ratio of the slowest to the fastest wave of a position


def positions(count: int, width: int, like: Tensor) -> Tensor:
    """Sines of the place within the window, (count, width).

    Places are shares of the window, so a frame and the sound heard with it get the same code
    although there are 5 frames and 49 tokens.
    """
    place = (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / max(count, 1)
    pairs = (width + 1) // 2
    rates = torch.arange(pairs, device=like.device, dtype=like.dtype) / max(pairs - 1, 1)
    angles = math.pi * place[:, None] * torch.exp(rates * math.log(POSITION_PERIODS))
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the places that count: (B, T, C) and (B, T) bool to (B, C); none gives zeros."""
    kept = torch.where(mask[..., None], values, 0.0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


class TemporalConv(nn.Module):
    """The contract's conv1d, kernel 3, stride 1: (B, T, inputs) to (B, T, width)."""

    def __init__(self, inputs: int, config: Temporal) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, config.width, config.kernel, padding=config.kernel // 2)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Masked frames enter as zeros, as the padding does."""
        frames = torch.where(mask[..., None], frames, 0.0)
        states = self.norm(F.gelu(self.conv(frames.transpose(1, 2)).transpose(1, 2)))
        out: Tensor = self.dropout(states)
        return out


class TemporalTransformer(nn.Module):
    """The contract's other choice: (B, T, inputs) to (B, T, width) by self-attention."""

    def __init__(self, inputs: int, config: Temporal) -> None:
        super().__init__()
        width = config.model_width
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.leave = nn.Linear(width, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Masked frames are attended by none; where all are masked, the result means nothing."""
        frames = torch.where(mask[..., None], frames, 0.0)
        states = self.enter(frames)
        states = states + positions(states.shape[1], states.shape[2], states)
        attended = mask | ~mask.any(dim=1, keepdim=True)
        for block in self.blocks:
            states = block(states, attended)
        out: Tensor = self.norm(self.leave(states))
        return out


def build_temporal(inputs: int, config: Temporal) -> nn.Module:
    """The temporal encoder that the configuration names."""
    kinds = {"conv": TemporalConv, "transformer": TemporalTransformer}
    return kinds[config.kind](inputs, config)
