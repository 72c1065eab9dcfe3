"""What a synthesiser leaves in a voice, measured on one second at a time.

Three views, none of which asks what is said or how loud: how even the spectrum is in time, fine
structure between the harmonics, and how far neighbouring bands and moments agree in envelope and
phase. Most are ratios within a band, which a microphone's or a room's colour hardly changes.
Everything is computed between 100 Hz and 7 kHz, because files often hold nothing outside.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz
WINDOW = SAMPLE_RATE  # samples: one second
LOWEST, HIGHEST = 100.0, 7_000.0  # Hz

# Power below this share of the mean over the window's cells counts as this much: the depth of a
# noise floor belongs to the recording, not to the voice.
FLOOR = 1e-5
LOUD = 30.0  # decibels under the loudest frame; quieter frames say nothing about a voice

SYLLABIC_FFT, SYLLABIC_HOP = 512, 160  # 32 and 10 ms: how the spectrum moves
BANDS = 40
MODULATION_BANDS = 20
MODULATION_EDGES = (1, 4, 8, 16, 32, 49)  # Hz; bins of a second of frames

FINE_FFT, FINE_HOP = 1024, 256  # 64 and 16 ms: harmonics stand apart
FLATNESS_BANDS = 28
PITCH_BANDS = 4
PITCH_RANGE = (70.0, 400.0)  # Hz

WIDE_FFT, WIDE_HOP = 128, 32  # 8 and 2 ms: the pulses of the voice stand apart
WIDE_BANDS = 14
BLOCK = 10  # wide frames: 20 ms, a pitch period or more
FAR = 4  # bands between the members of a distant pair

# The yardstick: the same second with its phases lost and guessed anew (Griffin and Lim, 1984).
GUESS_FFT, GUESS_HOP = 512, 128
GUESS_ROUNDS = 2
GOLDEN = 0.6180339887498949


def measure(windows: NDArray[np.floating]) -> Floats:
    """Measure seconds of sound, and how they differ from themselves with other phases.

    The difference leaves out much of what recording, room and speaker do to the measures: the
    second sound has the same spectrum, and only a synthesiser's phases survive the exchange.

    Args:
        windows: (n, 16000) mono at 16 kHz, any level.

    Returns:
        (n, 878) float32; the same at any volume.
    """
    sound = np.asarray(windows, np.float32)
    sound = sound - sound.mean(axis=1, keepdims=True)
    sound = sound / np.maximum(np.sqrt(np.mean(sound**2, axis=1, keepdims=True)), 1e-8)
    own = _measured(sound)
    return np.concatenate([own, own - _measured(other_phases(sound))], axis=1)


def _measured(sound: Floats) -> Floats:
    parts = [_syllabic(sound), _fine(sound), _wide(sound)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def other_phases(sound: Floats) -> Floats:
    """The same magnitudes over 32 ms with phases that know nothing of the voice.

    Args:
        sound: (n, samples) float32. The same sound always gets the same phases.
    """
    magnitude: Floats = np.abs(_padded_spectra(sound))
    made = _overlapped(magnitude * _scattered(magnitude.shape[1]), sound.shape[1])
    for _ in range(GUESS_ROUNDS):
        guess = _padded_spectra(made)
        guess *= magnitude / np.maximum(np.abs(guess), 1e-9)
        made = _overlapped(guess, sound.shape[1])
    return made


@lru_cache(maxsize=1)
def _scattered(frames: int) -> NDArray[np.complex64]:
    """(frames, bins) of length 1 in directions without any order."""
    order = np.arange(frames * (GUESS_FFT // 2 + 1), dtype=np.float64)
    turns = (order * order * GOLDEN) % 1.0
    return np.asarray(np.exp(2j * np.pi * turns).reshape(frames, -1), np.complex64)


def _padded_spectra(sound: Floats) -> NDArray[np.complex64]:
    padded = np.pad(sound, ((0, 0), (GUESS_FFT, GUESS_FFT)))
    return _spectra(padded, GUESS_FFT, GUESS_HOP)


def _overlapped(spectra: NDArray[np.complexfloating], count: int) -> Floats:
    """Least-squares overlap-add of `_padded_spectra`, (n, count)."""
    window = np.hanning(GUESS_FFT + 1)[:-1].astype(np.float32)
    frames = _samples(spectra)
    frames *= window
    every = GUESS_FFT // GUESS_HOP
    size = (frames.shape[1] - 1) * GUESS_HOP + GUESS_FFT
    out = np.zeros((len(frames), size), np.float32)
    for first in range(every):
        part = frames[:, first::every].reshape(len(frames), -1)
        out[:, first * GUESS_HOP : first * GUESS_HOP + part.shape[1]] += part
    # Squared Hann windows a quarter apart add up to 3/2.
    return np.asarray(out[:, GUESS_FFT : GUESS_FFT + count] / 1.5, np.float32)


def _spectra(sound: Floats, size: int, hop: int) -> NDArray[np.complex64]:
    """(n, frames, size // 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, size, axis=1)[:, ::hop]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    return _spectrum(frames * window)


def _spectrum(frames: Floats) -> NDArray[np.complex64]:
    """Spectra of real frames of an even size: (..., size) to (..., size // 2 + 1).

    OpenCV's transform takes a third of the time of NumPy's, which is half of all that is done here.
    """
    size = frames.shape[-1]
    packed = cv2.dft(np.ascontiguousarray(frames).reshape(-1, size), flags=cv2.DFT_ROWS)
    parts = np.zeros((len(packed), size + 2), np.float32)  # real and imaginary in turn
    parts[:, 0] = packed[:, 0]
    parts[:, 2 : size + 1] = packed[:, 1:]
    return parts.view(np.complex64).reshape(*frames.shape[:-1], -1)


def _samples(spectra: NDArray[np.complexfloating]) -> Floats:
    """The frames of which these are the spectra."""
    parts = np.ascontiguousarray(spectra, np.complex64).view(np.float32)
    size = parts.shape[-1] - 2
    parts = parts.reshape(-1, size + 2)
    packed = np.concatenate([parts[:, :1], parts[:, 2 : size + 1]], axis=1)
    frames = cv2.idft(packed, flags=cv2.DFT_ROWS | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
    return np.asarray(frames, np.float32).reshape(*spectra.shape[:-1], size)


def _edges(size: int, bands: int) -> NDArray[np.intp]:
    """Bins at which `bands` even bands begin, and the bin after the last."""
    return np.round(np.linspace(LOWEST, HIGHEST, bands + 1) * size / SAMPLE_RATE).astype(np.intp)


def _power(spectra: NDArray[np.complex64]) -> Floats:
    """Power over its mean in the window, not below `FLOOR`."""
    power = spectra.real**2 + spectra.imag**2
    mean = power.mean(axis=(1, 2), keepdims=True)
    return np.asarray(np.maximum(power / np.maximum(mean, 1e-20), FLOOR), np.float32)


def _loud(power: Floats) -> Floats:
    """(n, frames) weights that sum to 1: even among the frames that are loud enough."""
    energy = power.sum(axis=2)
    top = energy.max(axis=1, keepdims=True)
    weights = (energy >= top * 10 ** (-LOUD / 10)).astype(np.float32)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _moments(values: Floats, weights: Floats) -> list[Floats]:
    """Mean and spread over frames: two times (n, d) of (n, frames, d)."""
    mean = np.einsum("nt,ntd->nd", weights, values)
    square = np.einsum("nt,ntd->nd", weights, (values - mean[:, None]) ** 2)
    return [mean, np.sqrt(square)]


def _banded(values: Floats, edges: NDArray[np.intp]) -> Floats:
    """Mean over the bins of each band, (n, frames, bands)."""
    sums = np.add.reduceat(values[..., : edges[-1]], edges[:-1], axis=2)
    return np.asarray(sums / np.diff(edges), np.float32)


def _syllabic(sound: Floats) -> Floats:
    power = _power(_spectra(sound, SYLLABIC_FFT, SYLLABIC_HOP))
    weights = _loud(power)
    levels = np.log(_banded(power, _edges(SYLLABIC_FFT, BANDS)))
    mean, spread = _moments(levels, weights)
    steps = np.einsum("nt,ntd->nd", weights[:, 1:], np.abs(np.diff(levels, axis=1)))
    tone = mean - mean.mean(axis=1, keepdims=True)
    pairs = levels.reshape(*levels.shape[:2], MODULATION_BANDS, -1).mean(axis=3)
    moving = np.abs(np.fft.rfft(pairs - pairs.mean(axis=1, keepdims=True), 100, axis=1)) ** 2
    rates = [
        np.log(moving[:, low:high].sum(axis=1) + 1e-3) for low, high in pairwise(MODULATION_EDGES)
    ]
    total = np.log(moving.sum(axis=1) + 1e-3)
    return np.concatenate([tone, spread, steps, *[rate - total for rate in rates]], axis=1)


def _fine(sound: Floats) -> Floats:
    power = _power(_spectra(sound, FINE_FFT, FINE_HOP))
    weights = _loud(power)
    logs = np.log(power)
    edges = _edges(FINE_FFT, FLATNESS_BANDS)
    flatness = _banded(logs, edges) - np.log(_banded(power, edges))
    heights, shapes = [], []
    pitch_edges = _edges(FINE_FFT, PITCH_BANDS)
    for low, high in pairwise(pitch_edges):
        band = logs[:, :, low:high] - logs[:, :, low:high].mean(axis=2, keepdims=True)
        band = band * np.hanning(high - low).astype(np.float32)
        # Ripples in the log spectrum: a voice has one for every pitch frequency.
        ripples = np.abs(_spectrum(np.pad(band, ((0, 0), (0, 0), (0, FINE_FFT - high + low)))))
        first, last = (round(SAMPLE_RATE / pitch) for pitch in reversed(PITCH_RANGE))
        shape = ripples[:, :, first : last + 1]
        heights.append(shape.max(axis=2) / (np.sqrt((ripples**2).mean(axis=2)) + 1e-6))
        shape = shape - shape.mean(axis=2, keepdims=True)
        shapes.append(shape / (np.linalg.norm(shape, axis=2, keepdims=True) + 1e-6))
    agree = [(a * b).sum(axis=2) for a, b in pairwise(shapes)]
    pitch = np.stack([*heights, *agree], axis=2)
    return np.concatenate([*_moments(flatness, weights), *_moments(pitch, weights)], axis=1)


def _wide(sound: Floats) -> Floats:
    spectra = _spectra(sound, WIDE_FFT, WIDE_HOP)
    blocks = spectra.shape[1] // BLOCK
    spectra = spectra[:, : blocks * BLOCK]
    power = _power(spectra)
    edges = _edges(WIDE_FFT, WIDE_BANDS)
    envelope = _banded(power, edges)
    count = len(sound)
    weights = _loud(power.reshape(count, blocks, BLOCK, -1).sum(axis=2))

    def blocked(values: Floats) -> Floats:
        return np.asarray(values.reshape(count, blocks, BLOCK, -1).mean(axis=2))

    logs = np.log(envelope)
    peaks = blocked(logs) - np.log(blocked(envelope))
    # Within a block only: what a room or a syllable does is slower.
    fast = logs - np.repeat(blocked(logs), BLOCK, axis=1)
    by_frame: Floats = np.repeat(weights, BLOCK, axis=1) / np.float32(BLOCK)
    together = [_correlation(fast[..., :-apart], fast[..., apart:], by_frame) for apart in (1, FAR)]
    later = [_correlation(fast[:, :-lag], fast[:, lag:], by_frame[:, lag:]) for lag in (1, 2, 4)]
    delay = spectra[..., 1:] * np.conj(spectra[..., :-1])
    # A bin's own frequency turns its phase by the same in every frame.
    turn = np.exp(-2j * np.pi * WIDE_HOP / WIDE_FFT * np.arange(spectra.shape[2]))
    advance = spectra[:, 1:] * np.conj(spectra[:, :-1]) * turn.astype(np.complex64)
    phases = [
        _coherence(np.pad(delay, ((0, 0), (0, 0), (0, 1))), edges, weights),
        _coherence(np.pad(advance, ((0, 0), (0, 1), (0, 0))), edges, weights),
    ]
    return np.concatenate(
        [*_moments(peaks, weights), *together, *later, *phases[0], *phases[1]], axis=1
    )


def _correlation(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Weighted correlation over frames of values around 0, (n, d)."""
    both = np.einsum("nt,ntd->nd", weights, first * second)
    one = np.einsum("nt,ntd->nd", weights, first**2)
    other = np.einsum("nt,ntd->nd", weights, second**2)
    return np.asarray(both / np.sqrt(one * other + 1e-9))


def _coherence(
    steps: NDArray[np.complex64], edges: NDArray[np.intp], weights: Floats
) -> list[Floats]:
    """How far phase steps agree within a band and block, in [0, 1]; mean and spread.

    Steps over frequency are group delay, steps over time instantaneous frequency.
    """
    count, blocks = weights.shape
    sums = steps.reshape(count, blocks, BLOCK, -1).sum(axis=2)
    sizes = np.abs(steps).reshape(count, blocks, BLOCK, -1).sum(axis=2)
    summed = np.add.reduceat(sums[..., : edges[-1]], edges[:-1], axis=2)
    whole = np.add.reduceat(sizes[..., : edges[-1]], edges[:-1], axis=2)
    agreed = np.abs(summed) / np.maximum(whole, 1e-9)
    return _moments(np.asarray(agreed, np.float32), weights)
