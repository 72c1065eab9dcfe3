"""Speech taken apart and put together anew: what vocoders do, by methods that need no training.

- `mel`: the spectrogram in mel bands is kept, all else is guessed: magnitudes by least squares,
  phases by Griffin and Lim with momentum (Perraudin et al., WASPAA 2013).
- `phase`: the full magnitudes are kept, the phases alone are guessed; the subtlest of them.
- `lpc`: a source of pulses and noise through the all-pole filter of the vocal tract.
- `world`: pitch, envelope and aperiodicity (WORLD, Morise et al., 2016), the envelope in part
  reduced to a few coefficients as statistical synthesis does.

Each takes and gives (n,) float64 at 16 kHz, sample for sample at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from aura.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Samples = NDArray[np.float64]
    Random = np.random.Generator

SAMPLE_RATE = 16_000
METHODS = ("mel", "phase", "lpc", "world")
METHOD_ODDS = (0.35, 0.15, 0.2, 0.3)

MOMENTUM = 0.99  # of the fast Griffin-Lim algorithm
FFT_SIZES = (512, 1024)  # 32 and 64 ms
MEL_BANDS = (40, 64, 80, 100)
ROUNDS = (8, 40)  # of phase reconstruction
MEL_SLOPE = 2595.0  # of O'Shaughnessy's mel scale
LEAST_SQUARES_ROUNDS = 30  # multiplicative updates that keep magnitudes positive

LOWEST_PITCH, HIGHEST_PITCH = 70.0, 400.0  # Hz
LPC_FRAME, LPC_HOP = 480, 120  # samples: 30 and 7.5 ms
LPC_ORDERS = (14, 28)
VOICED_FROM = 0.35  # height of the autocorrelation's peak
WORLD_PERIODS = (5.0, 10.0)  # milliseconds between its frames
WORLD_COEFFICIENTS = (24, 40, 60)
QUIET = 1e-5  # amplitude of the noise that keeps silence analysable


def resynthesise(samples: Samples, random: Random, method: str | None = None) -> Samples:
    """The utterance synthesised anew.

    Args:
        samples: (n,) float64 at 16 kHz, at least a tenth of a second.
        random: chooses the method's settings, phases and noise.
        method: one of `METHODS`, drawn when None.

    Raises:
        MissingExtra: the package for `world` is not installed.
    """
    chosen = method or str(random.choice(METHODS, p=METHOD_ODDS))
    made = _BY_NAME[chosen](samples + QUIET * random.normal(0, 1, len(samples)), random)
    return np.pad(made, (0, max(0, len(samples) - len(made))))[: len(samples)]


def _mel(samples: Samples, random: Random) -> Samples:
    size = int(random.choice(FFT_SIZES))
    hop = size // int(random.choice([3, 4]))
    magnitude = np.abs(_spectrogram(samples, size, hop))
    bank = mel_bank(int(random.choice(MEL_BANDS)), size)
    return _griffin_lim(_unmel(magnitude @ bank.T, bank), size, hop, random, len(samples))


def _phase(samples: Samples, random: Random) -> Samples:
    size = int(random.choice(FFT_SIZES))
    hop = size // int(random.choice([2, 4]))
    return _griffin_lim(np.abs(_spectrogram(samples, size, hop)), size, hop, random, len(samples))


def mel_bank(bands: int, size: int) -> Samples:
    """Triangles even on the mel scale from 0 Hz to half the rate, (bands, size // 2 + 1)."""
    frequency = fft.rfftfreq(size, 1 / SAMPLE_RATE)
    top = MEL_SLOPE * np.log10(1 + SAMPLE_RATE / 2 / 700.0)
    edges = 700.0 * (10 ** (np.linspace(0, top, bands + 2) / MEL_SLOPE) - 1)
    left, middle, right = (edges[i : bands + i, None] for i in range(3))
    rising, falling = (frequency - left) / (middle - left), (right - frequency) / (right - middle)
    bank: Samples = np.maximum(0.0, np.minimum(rising, falling))
    # Narrow bands between two bins would hear nothing.
    nearest = np.abs(frequency - middle).argmin(axis=1)
    bank[np.arange(bands), nearest] = np.maximum(bank[np.arange(bands), nearest], 1e-2)
    return bank


def _unmel(mel: Samples, bank: Samples) -> Samples:
    """Positive magnitudes with these mel bands (Lee and Seung's updates)."""
    guess = mel @ (bank / np.maximum(bank.sum(axis=1, keepdims=True), 1e-9)) + 1e-8
    wanted, gram = mel @ bank, bank.T @ bank
    for _ in range(LEAST_SQUARES_ROUNDS):
        guess *= wanted / np.maximum(guess @ gram, 1e-10)
    return np.asarray(guess)


def _griffin_lim(magnitude: Samples, size: int, hop: int, random: Random, count: int) -> Samples:
    rounds = int(random.integers(ROUNDS[0], ROUNDS[1] + 1))
    magnitude = magnitude.astype(np.float32)
    angles = np.exp(2j * np.pi * random.random(magnitude.shape)).astype(np.complex64)
    before = np.zeros_like(angles)
    for _ in range(rounds):
        made = _spectrogram(_inverse(magnitude * angles, size, hop, count), size, hop)
        angles = made + MOMENTUM * (made - before)
        angles /= np.maximum(np.abs(angles), 1e-12)
        before = made
    return _inverse(magnitude * angles, size, hop, count).astype(np.float64)


def _spectrogram(samples: Samples, size: int, hop: int) -> NDArray[np.complexfloating]:
    """(frames, size // 2 + 1); frame i is centred on sample i * hop."""
    padded = np.pad(samples, (size // 2, size // 2 + hop))
    frames = sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1].astype(padded.dtype)
    return np.asarray(fft.rfft(frames * window, axis=1))


def _inverse(spectra: NDArray[np.complexfloating], size: int, hop: int, count: int) -> Samples:
    """Least-squares overlap-add of a spectrogram, (count,)."""
    frames = fft.irfft(spectra, size, axis=1)
    window = np.hanning(size + 1)[:-1].astype(frames.dtype)
    total = (len(frames) - 1) * hop + size
    out, weight = (
        _overlap_add(frames * window, hop, total),
        _overlap_add(np.broadcast_to(window**2, frames.shape), hop, total),
    )
    out /= np.maximum(weight, 1e-3)
    return np.pad(out[size // 2 :], (0, count))[:count]


def _overlap_add(frames: NDArray[np.floating], hop: int, total: int) -> Samples:
    out = np.zeros(total, frames.dtype)
    size = frames.shape[1]
    # Frames a whole window apart don't touch: a handful of strided sums instead of one a frame.
    every = -(-size // hop)
    for first in range(every):
        part = frames[first::every]
        if not len(part):
            continue
        spread = np.zeros((len(part), every * hop), frames.dtype)
        spread[:, :size] = part
        flat = spread.ravel()[: total - first * hop]
        out[first * hop : first * hop + len(flat)] += flat
    return out


def _lpc(samples: Samples, random: Random) -> Samples:
    order = int(random.integers(LPC_ORDERS[0], LPC_ORDERS[1] + 1))
    frames = sliding_window_view(np.pad(samples, LPC_FRAME), LPC_FRAME)[::LPC_HOP]
    window = np.hanning(LPC_FRAME + 1)[:-1]
    spectra = np.abs(fft.rfft(frames * window, 2 * LPC_FRAME, axis=1)) ** 2
    correlation = fft.irfft(spectra, axis=1)[:, :LPC_FRAME]
    pitch, voicing = _pitch(correlation)
    excitation = _excitation(pitch, voicing, len(frames), random)
    driven = sliding_window_view(excitation, LPC_FRAME)[::LPC_HOP][: len(frames)]
    made = np.zeros(driven.shape)
    # A little white noise keeps the equations solvable.
    for index, row in enumerate(correlation[:, : order + 1] * np.r_[1.0001, np.ones(order)]):
        if row[0] < 1e-9:
            continue
        predictor = solve_toeplitz(row[:order], row[1 : order + 1])
        spoken = lfilter([1.0], np.r_[1.0, -predictor], driven[index] * window)
        energy = float(np.sum(spoken**2))
        made[index] = spoken * np.sqrt(row[0] / max(energy, 1e-12))
    total = (len(made) - 1) * LPC_HOP + LPC_FRAME
    return _overlap_add(made * window, LPC_HOP, total)[LPC_FRAME : LPC_FRAME + len(samples)]


def _pitch(correlation: Samples) -> tuple[Samples, Samples]:
    """Pitch in Hz and how voiced, (frames,) each, from the autocorrelation of windowed frames."""
    shortest, longest = int(SAMPLE_RATE / HIGHEST_PITCH), int(SAMPLE_RATE / LOWEST_PITCH)
    window = np.hanning(LPC_FRAME + 1)[:-1]
    fade = np.correlate(window, window, "full")[LPC_FRAME - 1 :]
    normal = correlation / np.maximum(correlation[:, :1], 1e-12) / (fade / fade[0] + 1e-3)
    lags = normal[:, shortest:longest]
    best = lags.argmax(axis=1)
    return SAMPLE_RATE / (best + shortest), np.clip(lags[np.arange(len(lags)), best], 0.0, 1.0)


def _excitation(pitch: Samples, voicing: Samples, frames: int, random: Random) -> Samples:
    """Pulses at the pitch where voiced, noise elsewhere, of even power."""
    total = (frames - 1) * LPC_HOP + LPC_FRAME
    centres = np.arange(frames) * LPC_HOP + LPC_FRAME / 2
    voiced = voicing > VOICED_FROM
    known = np.flatnonzero(voiced)
    steady = np.interp(np.arange(frames), known, pitch[known]) if len(known) else pitch
    time = np.arange(total)
    turns = np.cumsum(np.interp(time, centres, steady) / SAMPLE_RATE)
    pulses = np.diff(np.floor(turns), prepend=0.0)
    share = np.interp(time, centres, voiced * random.uniform(0.7, 0.95))
    loud = np.sqrt(SAMPLE_RATE / np.maximum(np.interp(time, centres, steady), 1.0))
    noise: Samples = random.normal(0, 1, total)
    return np.asarray(np.sqrt(share) * pulses * loud + np.sqrt(1 - share) * noise)


def _world(samples: Samples, random: Random) -> Samples:
    try:
        import pyworld  # noqa: PLC0415
    except ModuleNotFoundError:
        raise MissingExtra("Re-synthesis by WORLD", "train") from None
    period = float(random.choice(WORLD_PERIODS))
    rough, times = pyworld.dio(samples, SAMPLE_RATE, frame_period=period)
    pitch = pyworld.stonemask(samples, rough, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(samples, pitch, times, SAMPLE_RATE)
    noise = pyworld.d4c(samples, pitch, times, SAMPLE_RATE)
    if random.random() < 0.6:
        size = (envelope.shape[1] - 1) * 2
        kept = int(random.choice(WORLD_COEFFICIENTS))
        code = pyworld.code_spectral_envelope(envelope, SAMPLE_RATE, kept)
        envelope = pyworld.decode_spectral_envelope(code, SAMPLE_RATE, size)
    made: Samples = pyworld.synthesize(pitch, envelope, noise, SAMPLE_RATE, period)
    return made


_BY_NAME: dict[str, Callable[[Samples, Random], Samples]] = {
    "mel": _mel,
    "phase": _phase,
    "lpc": _lpc,
    "world": _world,
}
