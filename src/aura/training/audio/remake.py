"""Fakes made of every recording, in the same channel: what differs is the synthesis alone.

Beside the methods of `aura.training.pairs.resynthesis` one more: `smooth` keeps the recording's
phases as a start and loses only what mel bands don't hold, which is where good neural vocoders
err. Low-rate speech codecs are left out: telephones use them on real voices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import istft, stft

from aura.training.pairs.resynthesis import mel_bank, resynthesise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float64]
    Random = np.random.Generator

METHODS = ("mel", "smooth", "world", "phase", "lpc")

SMOOTH_FFTS = (512, 1024)
SMOOTH_BANDS = (60, 80, 100)
SMOOTH_ROUNDS = (0, 6)  # of phase reconstruction from the recording's own phases
KEPT = (0.0, 0.5)  # share of the magnitudes' fine structure (in decibels) that survives
QUIET = 1e-5


def remake(samples: NDArray[np.float32], method: str, random: Random) -> NDArray[np.float32]:
    """The recording synthesised anew, (n,) float32 at 16 kHz in and out, at the level it had."""
    own = samples.astype(np.float64)
    made = _smooth(own, random) if method == "smooth" else resynthesise(own, random, method)
    gain = np.sqrt(np.mean(own**2) / max(float(np.mean(made**2)), 1e-12))
    return np.asarray(made * gain, np.float32)


def _smooth(samples: Samples, random: Random) -> Samples:
    size = int(random.choice(SMOOTH_FFTS))
    setting = {"fs": 1.0, "nperseg": size, "noverlap": size - size // 4}
    spectra = stft(samples + QUIET * random.normal(0, 1, len(samples)), **setting)[2]
    bank = mel_bank(int(random.choice(SMOOTH_BANDS)), size)
    bank = bank / np.maximum(bank.sum(axis=1, keepdims=True), 1e-9)
    spread = bank.T / np.maximum(bank.T.sum(axis=1, keepdims=True), 1e-9)
    own = np.abs(spectra)
    even = np.sqrt(spread @ (bank @ own**2)) + 1e-9
    kept = random.uniform(*KEPT)
    wanted = even * ((own + 1e-9) / even) ** kept
    phases = spectra / np.maximum(own, 1e-12)
    for _ in range(int(random.integers(SMOOTH_ROUNDS[0], SMOOTH_ROUNDS[1] + 1))):
        sound = istft(wanted * phases, **setting)[1]
        phases = stft(sound, **setting)[2][:, : own.shape[1]]
        phases = phases / np.maximum(np.abs(phases), 1e-12)
    made = istft(wanted * phases, **setting)[1]
    return np.asarray(np.pad(made, (0, len(samples)))[: len(samples)], np.float64)
