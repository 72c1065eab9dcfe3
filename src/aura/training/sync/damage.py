"""What happens to sound on its way: low-rate coding and other people talking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aura.training.augment.codecs import through_codec
from aura.training.augment.sound import level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SAMPLE_RATE = 16_000


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


def with_music(samples: NDArray[np.float32], decibels: float, seed: int) -> NDArray[np.float32]:
    """The sound with made-up music under it, `decibels` below its speech (or alone, at -20 dBFS).

    Chords of five harmonics that change every half second, a melody above them, and a beat.
    """
    random = np.random.default_rng(seed)
    time = np.arange(len(samples)) / SAMPLE_RATE
    music = np.zeros(len(samples))
    beat = 60.0 / random.uniform(80, 140)
    root = random.uniform(90, 200)
    for number in range(int(len(samples) / SAMPLE_RATE / beat) + 1):
        first, last = (round(n * beat * SAMPLE_RATE) for n in (number, number + 1))
        part = time[first:last] - number * beat
        chord = root * 2 ** (random.choice([0, 5, 7, 9]) / 12)
        for note in (1.0, 1.26, 1.498, 2 ** (random.integers(12, 24) / 12)):
            for harmonic in range(1, 6):
                fade = np.exp(-part * random.uniform(1.0, 4.0)) / harmonic
                music[first:last] += fade * np.sin(2 * np.pi * chord * note * harmonic * part)
        struck = np.exp(-part / 0.04) * random.normal(0, 3, len(part))
        music[first:last] += struck
    loud = level(samples)
    gain = loud * 10 ** (-decibels / 20) if loud > 0 else 0.1
    return np.clip(samples + gain * music / max(level(music), 1e-9), -1, 1).astype(np.float32)
