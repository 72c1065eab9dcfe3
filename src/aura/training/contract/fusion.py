"""Where video and sound meet: one cross-modal attention block, and its baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aura.training.contract.temporal import masked_mean, positions

if TYPE_CHECKING:
    from aura.training.contract.config import Fusion


class _Compare(nn.Module):
    """Residual two-layer network with its norms: what was asked beside what was answered."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first_norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(dropout)
        )

    def forward(self, asked: Tensor, answered: Tensor) -> Tensor:
        joint = self.first_norm(asked + answered)
        out: Tensor = self.last_norm(joint + self.layers(joint))
        return out


class CrossAttention(nn.Module):
    """Video asks, sound answers: (B, T, video) and (B, S, width) to (B, T, width).

    Costs O(T x S). One learned token that is no sound is always there to be attended: a frame may
    find no answer, and a clip without speech has nothing else.
    """

    def __init__(self, video: int, config: Fusion) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.ask = nn.Linear(video, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.no_sound = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.compare = _Compare(width, config.dropout)

    def forward(self, video: Tensor, sound: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Ask each frame.

        Args:
            video: (B, T, video). sound: (B, S, width). heard: (B, S) bool, tokens that count.

        Returns:
            Answered frames (B, T, width), and attention (B, T, S) averaged over heads, exactly 0
            on tokens that don't count; what is missing to 1 went to the learned token.
        """
        asked = self.ask(video)
        asked = asked + positions(asked.shape[1], asked.shape[2], asked)
        sound = sound + positions(sound.shape[1], sound.shape[2], sound)
        sound = torch.where(heard[..., None], sound, 0.0)
        # `.shape[0]`, not `len`: the ONNX exporter takes the latter for a constant.
        tokens = torch.cat([sound, self.no_sound.expand(sound.shape[0], -1, -1)], dim=1)
        shown = torch.cat([heard, heard.new_ones(heard.shape[0], 1)], dim=1)
        query, key = self._split(self.query(asked)), self._split(self.key(tokens))
        value = self._split(self.value(tokens))
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        weights = scores.masked_fill(~shown[:, None, None], -math.inf).softmax(dim=-1)
        answered = (self.dropout(weights) @ value).transpose(1, 2).flatten(2)
        states = self.compare(asked, self.out(answered))
        return states, weights.mean(dim=1)[..., : sound.shape[1]]

    def _split(self, states: Tensor) -> Tensor:
        """(B, N, width) to (B, heads, N, width / heads)."""
        return states.view(*states.shape[:2], self.heads, -1).transpose(1, 2)


class LateConcatenation(nn.Module):
    """The baseline: the mean of the sound, the same for each frame, with no look at the video.

    (B, T, video) and (B, S, width) to (B, T, width), the same widths as cross-attention, so that
    all that follows is the same.
    """

    def __init__(self, video: int, config: Fusion) -> None:
        super().__init__()
        del video  # the baseline does not ask
        self.no_sound = nn.Parameter(torch.randn(1, config.width) * 0.02)
        self.compare = _Compare(config.width, config.dropout)

    def forward(self, video: Tensor, sound: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Average; the attention returned is the even one that this amounts to."""
        mean = torch.where(heard.any(dim=1, keepdim=True), masked_mean(sound, heard), self.no_sound)
        states = self.compare(mean, torch.zeros_like(mean))[:, None].expand(-1, video.shape[1], -1)
        even = heard.to(sound.dtype) / heard.sum(dim=1, keepdim=True).clamp(min=1)
        return states, even[:, None].expand(-1, video.shape[1], -1)


def build_fusion(video: int, config: Fusion) -> nn.Module:
    """The meeting of video and sound that the configuration names."""
    kinds = {"cross-attention": CrossAttention, "concatenation": LateConcatenation}
    return kinds[config.kind](video, config)
