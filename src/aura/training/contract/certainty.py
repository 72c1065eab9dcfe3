"""How sure the network is: dropout kept on (Gal and Ghahramani, ICML 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from aura.errors import UsageError
from aura.training.contract.network import Encoded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.contract.network import ContractNetwork

FEWEST_PASSES = 10  # the bounds of an interval from fewer are the two outermost of a handful
LEVEL = 0.95  # of the interval
CHEAP_PARTS = ("temporal", "fusion", "heads")  # where dropout acts; the encoders run once


@torch.no_grad()
def dropout_passes(
    network: ContractNetwork, encoded: Encoded, passes: int, seed: int = 0
) -> Tensor:
    """Logits of fake against real over passes with dropout on, (passes, B).

    In a pass all windows see the same units dropped, because a pass stands for one network drawn
    from the posterior: with other units for each window, a clip's mean would look surer the longer
    the clip is. The same seed gives the same passes for every batch of a clip. The network's mode
    and the global random state are left as found.

    Raises:
        UsageError: too few passes for an interval.
    """
    if passes < FEWEST_PASSES:
        raise UsageError(f"{passes} passes give no interval, at least {FEWEST_PASSES} do")

    def alone(*window: Tensor) -> Tensor:
        found = network.decide(Encoded(*(value[None] for value in window))).logits[0]
        return found[1] - found[0]

    modes = {module: module.training for module in network.modules()}
    devices = [encoded.appearance.device] if encoded.appearance.is_cuda else []
    network.eval()
    try:
        for name, part in network.parts().items():
            if name in CHEAP_PARTS:
                part.train()
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            at_once = torch.func.vmap(alone, randomness="same")
            return torch.stack([at_once(*encoded) for _ in range(passes)])
    finally:
        for module, mode in modes.items():
            module.training = mode


def interval_of(scores: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Bounds that hold the middle share `level` of scores (passes,).

    >>> interval_of(np.arange(101.0), 0.5)
    (25.0, 75.0)
    """
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(scores, np.float64), [tail, 1 - tail])
    return float(low), float(high)
