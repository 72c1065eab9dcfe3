"""What a detector has to beat: LFCC-GMM, and what gives a file away without any voice in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.ndimage import convolve1d
from sklearn.mixture import GaussianMixture

from aura.training.audio.sounds import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# The countermeasure that ASVspoof 2019 gives as its baseline (Sahidullah et al., 2015), with fewer
# components for fewer recordings; level-normalised, between 60 Hz and 7 kHz.
FRAME, HOP, FFT_SIZE = 320, 160, 512
FILTERS, COEFFICIENTS = 40, 20
LOW, HIGH = 60.0, 7_000.0
COMPONENTS = 64
FRAMES_A_CLASS = 20_000
QUIET_FRAMES = 30.0  # decibels under the loudest; left out


def lfcc(samples: Floats) -> Floats:
    """(frames, 60): linear-frequency cepstra with first and second differences."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    power = np.abs(fft.rfft(frames * np.hamming(FRAME), FFT_SIZE, axis=1)) ** 2
    bins = np.arange(power.shape[1]) * SAMPLE_RATE / FFT_SIZE
    edges = np.linspace(LOW, HIGH, FILTERS + 2)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = np.clip(np.minimum(rising, falling), 0.0, None)
    energy = power.sum(axis=1)
    levels = np.log(power @ bank.T / max(float(energy.mean()), 1e-12) + 1e-8)
    still = fft.dct(levels, axis=1, norm="ortho")[:, :COEFFICIENTS]
    slope = np.array([2.0, 1.0, 0.0, -1.0, -2.0]) / 10
    first = convolve1d(still, slope, axis=0)
    second = convolve1d(first, slope, axis=0)
    loud = energy >= energy.max() * 10 ** (-QUIET_FRAMES / 10)
    return np.asarray(np.concatenate([still, first, second], axis=1)[loud], np.float32)


def gmm_scores(
    real: Sequence[Floats], fake: Sequence[Floats], tested: Sequence[Floats], seed: int = 0
) -> NDArray[np.float64]:
    """Mean log likelihood ratio of each tested recording, (n,); higher is more likely fake."""
    random = np.random.default_rng(seed)
    mixtures = []
    for frames in (np.concatenate(fake), np.concatenate(real)):
        chosen = random.choice(len(frames), min(FRAMES_A_CLASS, len(frames)), replace=False)
        mixture = GaussianMixture(
            COMPONENTS, covariance_type="diag", max_iter=12, random_state=seed, reg_covar=1e-3
        )
        mixtures.append(mixture.fit(frames[chosen]))
    made, spoken = mixtures
    return np.array([float(made.score(one) - spoken.score(one)) for one in tested])


def trivial(samples: Floats) -> Floats:
    """(9,): length, level, peak, offset, silence at both ends, quiet and top-band power."""
    size = len(samples)
    level = float(np.sqrt(np.mean(samples**2))) + 1e-9
    loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
    frames = samples[: size // HOP * HOP].reshape(-1, HOP)
    steps = np.log(np.sqrt(np.mean(frames**2, axis=1)) + 1e-7)
    power = np.abs(fft.rfft(samples)) ** 2
    top = power[int(7_200 / SAMPLE_RATE * size) :].sum() / max(float(power.sum()), 1e-12)
    return np.array(
        [
            size / SAMPLE_RATE,
            np.log(level),
            np.log(np.abs(samples).max() / level + 1e-9),
            np.log(abs(float(samples.mean())) + 1e-7),
            loud[0] / SAMPLE_RATE,
            (size - loud[-1]) / SAMPLE_RATE,
            np.quantile(steps, 0.05) - np.log(level),
            np.quantile(steps, 0.05),
            np.log(top + 1e-9),
        ],
        np.float32,
    )
