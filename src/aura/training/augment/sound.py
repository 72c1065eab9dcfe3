"""What the world does to sound: rooms, noise, microphones, codecs, a slightly uneven clock.

Length and place stay exact, with two exceptions that are bounded: an uneven clock moves sound
against picture by at most `LARGEST_DRIFT` (below what people notice, ITU-R BT.1359, and far below
the 0.2 s that lips can tell), and splices within words by a few milliseconds. A clip's own time
is never stretched: pictures come at a fixed rate, and speed would have to move both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import butter, fftconvolve, sosfiltfilt

from aura.training.augment.codecs import through_codec
from aura.training.augment.retime import retimed, shifted_pitch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.augment.picture import Random

SAMPLE_RATE = 16_000
# How often each happens at full strength.
STRETCH, PITCH, ROOM, NOISE, BAND, LEVEL, CODEC = 0.15, 0.1, 0.25, 0.5, 0.25, 0.8, 0.5

LARGEST_DRIFT = 0.04  # seconds
LARGEST_PACE = 0.1  # by which the pace may differ from 1
PITCH_STEPS = 2.0  # semitones up or down
REVERBERATION = (0.1, 0.7)  # seconds until the echo has fallen by 60 dB
DIRECT_TO_ECHO = (0.0, 15.0)  # decibels
FIRST_ECHO = (0.002, 0.01)  # seconds
SIGNAL_TO_NOISE = (5.0, 40.0)  # decibels
NOISE_COLOURS = (0.0, 2.0)  # power falls with this exponent of frequency: white to brown
LOWEST_NOISE = 20.0  # Hz
LOW_CUTS, HIGH_CUTS = (50.0, 300.0), (3_400.0, 7_500.0)  # Hz
GAINS = (-15.0, 3.0)  # decibels
CODECS = ("aac", "mp3", "opus", "mu-law")
CODEC_ODDS = (0.4, 0.25, 0.3, 0.05)
BIT_RATES = (12_000, 16_000, 24_000, 32_000, 48_000, 64_000)  # bit/s that each of them knows


def treat_sound(
    samples: NDArray[np.float32], random: Random, strength: float
) -> NDArray[np.float32]:
    """One draw of everything that may happen to a sound; (n,) float32 at 16 kHz in and out."""

    def happens(odds: float) -> bool:
        return bool(random.random() < odds * strength)

    if happens(STRETCH):
        samples = uneven_clock(samples, random)
    if happens(PITCH):
        samples = shifted_pitch(samples, 2 ** (random.uniform(-PITCH_STEPS, PITCH_STEPS) / 12))
    if happens(ROOM):
        samples = in_a_room(samples, random)
    if happens(NOISE):
        samples = with_noise(
            samples, random.uniform(*SIGNAL_TO_NOISE), random.uniform(*NOISE_COLOURS), random
        )
    if happens(BAND):
        low = random.uniform(*LOW_CUTS) if random.random() < 0.5 else None
        samples = band_limited(samples, low, random.uniform(*HIGH_CUTS))
    if happens(LEVEL):
        samples = samples * np.float32(10 ** (random.uniform(*GAINS) / 20))
    samples = np.clip(samples, -1.0, 1.0).astype(np.float32)
    if happens(CODEC):
        codec = str(random.choice(CODECS, p=CODEC_ODDS))
        samples = through_codec(samples, codec, int(random.choice(BIT_RATES)))
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


def uneven_clock(samples: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """The pace wavers by up to a tenth; the beginning and the end stay where they are."""
    count = len(samples)
    waves = random.uniform(0.5, 2.0) * (1 if random.random() < 0.5 else -1)
    phase = np.linspace(0.0, 1.0, count)
    # Fades to nothing at both ends, so that the first and the last sample keep their places.
    shape = np.sin(np.pi * phase) * np.sin(2 * np.pi * waves * phase + random.uniform(0, np.pi))
    steepest = float(np.abs(np.diff(shape)).max(initial=0.0)) or 1.0
    drift = min(LARGEST_DRIFT * SAMPLE_RATE, LARGEST_PACE / steepest)
    return retimed(samples, np.arange(count) + drift * random.uniform(0.3, 1.0) * shape)


def in_a_room(samples: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """Echoes as decaying noise behind the direct sound, which stays where it is and as loud."""
    seconds = random.uniform(*REVERBERATION)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    echo = random.normal(0, 1, len(time)) * 10 ** (-3 * time / seconds)
    echo[time < random.uniform(*FIRST_ECHO)] = 0.0
    share = 10 ** (-random.uniform(*DIRECT_TO_ECHO) / 20)
    echo *= share / max(float(np.sqrt(np.sum(echo**2))), 1e-9)
    echo[0] = 1.0
    heard = fftconvolve(samples, echo)[: len(samples)]
    gain = level(samples) / max(level(heard), 1e-9)
    return np.asarray(gain * heard, dtype=np.float32)


def with_noise(
    samples: NDArray[np.float32], decibels: float, colour: float, random: Random
) -> NDArray[np.float32]:
    """Steady noise `decibels` below the sound; `colour` is the exponent of its falling power."""
    count = len(samples)
    spectrum = np.fft.rfft(random.normal(0, 1, count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), LOWEST_NOISE)
    noise = np.fft.irfft(spectrum * frequency ** (-colour / 2), count)
    gain = level(samples) / max(level(noise), 1e-12) * 10 ** (-decibels / 20)
    return (samples + gain * noise).astype(np.float32)


def band_limited(
    samples: NDArray[np.float32], low: float | None, high: float
) -> NDArray[np.float32]:
    """Only what lies between `low` and `high` Hz; run both ways, so that nothing is delayed."""
    edges = high if low is None else (low, high)
    sections = butter(
        4, edges, "lowpass" if low is None else "bandpass", fs=SAMPLE_RATE, output="sos"
    )
    reach = min(len(samples) - 1, SAMPLE_RATE // 10)
    return np.asarray(sosfiltfilt(sections, samples, padlen=reach), dtype=np.float32)


def level(samples: NDArray[np.floating]) -> float:
    """Root mean square; 0 for no sound."""
    if len(samples) == 0:
        return 0.0
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
