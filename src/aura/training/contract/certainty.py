"""How sure the network is: dropout kept on (Gal and Ghahramani, ICML 2016), and ensembles."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.training.contract.network import ContractNetwork, Windows

ENSEMBLE_SIZES = (3, 5)  # contract
SAMPLES = 30  # passes through the cheap part
LEVEL = 0.95  # of the interval


class Certainty(NamedTuple):
    """P(fake) of a batch: mean, standard deviation and bounds of the interval, each (B,)."""

    fake_score: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor


def _certainty(scores: Tensor, level: float) -> Certainty:
    """(passes, B) to the summary."""
    tail = (1 - level) / 2
    bounds = torch.quantile(scores, torch.tensor([tail, 1 - tail], dtype=scores.dtype), dim=0)
    return Certainty(scores.mean(dim=0), scores.std(dim=0), bounds[0], bounds[1])


@torch.no_grad()
def mc_dropout(
    network: ContractNetwork,
    windows: Windows,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Certainty:
    """P(fake) over passes with dropout on; the same seed gives the same numbers.

    The encoders run once; dropout acts in the temporal encoder, the fusion and the heads.
    Modality dropout stays off. The network's mode and the global random state are left as found.

    Raises:
        UsageError: fewer than two samples, or a level outside (0, 1).
    """
    if samples < 2 or not 0 < level < 1:
        raise UsageError(f"{samples} samples at level {level} give no interval")
    was_training = network.training
    network.eval()
    try:
        encoded = network.encode(windows)
        for name, part in network.parts().items():
            if name in {"temporal", "fusion", "heads"}:
                part.train()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            passes = [network.decide(encoded).logits.softmax(dim=1)[:, 1] for _ in range(samples)]
    finally:
        network.train(was_training)
    return _certainty(torch.stack(passes).float(), level)


class Ensemble(nn.Module):
    """Several trained networks that vote with their probabilities.

    Args:
        networks: 3 to 5, trained apart.

    Raises:
        UsageError: too few or too many.
    """

    def __init__(self, networks: Sequence[ContractNetwork]) -> None:
        super().__init__()
        if not ENSEMBLE_SIZES[0] <= len(networks) <= ENSEMBLE_SIZES[1]:
            raise UsageError(f"an ensemble has 3 to 5 networks, these are {len(networks)}")
        self.networks = nn.ModuleList(networks)

    @torch.no_grad()
    def forward(self, windows: Windows) -> Certainty:
        """P(fake) over members, without dropout; the bounds are the lowest and the highest."""
        modes = [network.training for network in self.networks]
        try:
            self.networks.eval()
            scores = torch.stack(
                [network(*windows).logits.softmax(dim=1)[:, 1] for network in self.networks]
            )
        finally:
            for network, mode in zip(self.networks, modes, strict=True):
                network.train(mode)
        return _certainty(scores.float(), 1.0)
