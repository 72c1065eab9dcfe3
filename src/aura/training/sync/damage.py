"""What happens to sound on its way: low-rate coding and other people talking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aura.training.augment.codecs import through_codec
from aura.training.augment.sound import level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def aac(samples: NDArray[np.float32], bit_rate: int = 32_000) -> NDArray[np.float32]:
    """The sound after AAC at `bit_rate` bit/s; (n,) float32 at 16 kHz in and out."""
    return through_codec(samples, "aac", bit_rate)


def with_babble(
    samples: NDArray[np.float32], others: Sequence[NDArray[np.float32]], decibels: float
) -> NDArray[np.float32]:
    """The sound with others talking in the background, `decibels` below it."""
    babble = np.zeros(len(samples))
    for other in others:
        babble += np.resize(other, len(samples)) / max(level(other), 1e-9)
    gain = level(samples) / max(level(babble), 1e-9) * 10 ** (-decibels / 20)
    return (samples + gain * babble).astype(np.float32)
