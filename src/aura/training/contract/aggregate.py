"""From windows to the clip by learned means: attention (Ilse et al., ICML 2018) and LSTM.

They stand beside the plain ones of `SlidingWindows.aggregate` (mean, max, top-k, voting), behind
one name: `clip_score`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from aura.errors import UsageError
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

HIDDEN = 64
SMALLEST_SPREAD = 1e-3  # a value that never changed in training must not explode when it does


class Scale(nn.Module):
    """Brings each value to mean 0 and spread 1 over the windows that it was fitted on."""

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def fit(self, windows: Tensor) -> None:
        """Measure (N, width)."""
        self.mean.copy_(windows.mean(dim=0))
        self.spread.copy_(windows.std(dim=0, correction=0).clamp(min=SMALLEST_SPREAD))

    def forward(self, windows: Tensor) -> Tensor:
        """(..., width) to the same."""
        return (windows - self.mean) / self.spread


class AttentionAggregator(nn.Module):
    """Gated attention over the windows of a clip: (B, W, width) and (B, W) bool to logits (B,)."""

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.scale = Scale(width)
        self.content, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.weigh = nn.Linear(hidden, 1)
        self.classifier = nn.Linear(width, 1)
        # It begins as the mean of the windows. From random weights it may first learn to look away
        # from the windows that matter, and then nothing tells it to look back.
        for layer in (self.weigh, self.classifier):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Weigh the windows, then judge their mean; each clip has at least one window."""
        windows = torch.where(mask[..., None], self.scale(windows), 0.0)
        gated = self.content(windows).tanh() * self.gate(windows).sigmoid()
        scores = self.weigh(gated)[..., 0].masked_fill(~mask, -torch.inf)
        weights = scores.softmax(dim=1)
        logits: Tensor = self.classifier((weights[..., None] * windows).sum(dim=1))
        return logits[:, 0]


class LSTMAggregator(nn.Module):
    """Reads the windows in their order: (B, W, width) and (B, W) bool to logits (B,).

    The mask is true for the first windows of a clip and false for the padding after them.
    """

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.scale = Scale(width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, 1)

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Judge the state after the last window."""
        lengths = mask.sum(dim=1).cpu()
        packed = pack_padded_sequence(
            self.scale(windows), lengths, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)
        logits: Tensor = self.classifier(last[-1])
        return logits[:, 0]


LEARNED: dict[str, type[AttentionAggregator] | type[LSTMAggregator]] = {
    "attention": AttentionAggregator,
    "lstm": LSTMAggregator,
}
METHODS = (*SlidingWindows.aggregators, *LEARNED)


def build_aggregator(method: str, width: int) -> AttentionAggregator | LSTMAggregator:
    """A learned aggregator, untrained, for windows of `width` values (`Outputs.joint`).

    Raises:
        UsageError: not the name of a learned one.
    """
    if method not in LEARNED:
        raise UsageError(f"aggregation {method!r} is not learned: choose {' or '.join(LEARNED)}")
    return LEARNED[method](width)


def clip_score(
    method: str,
    scores: Sequence[float] | NDArray[np.float64],
    joint: Tensor | None = None,
    trained: nn.Module | None = None,
) -> float:
    """P(fake) of a clip from its windows, by any of `METHODS`.

    Args:
        scores: (W,) P(fake) of the windows, for the plain methods.
        joint: (W, width), `Outputs.joint` of the windows. trained: of `build_aggregator`, fitted;
            both for the learned ones.

    Raises:
        UsageError: unknown method, or a learned one without what it needs.
    """
    if method not in LEARNED:
        return SlidingWindows.aggregate(scores, method)
    if joint is None or not isinstance(trained, LEARNED[method]):
        raise UsageError(f"aggregation {method!r} is learned: it needs its trained weights")
    mask = torch.ones(1, len(joint), dtype=torch.bool)
    with torch.no_grad():
        return float(trained.eval()(joint[None], mask).sigmoid()[0])
