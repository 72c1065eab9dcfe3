"""Measure every recording as it is and damaged; keep the numbers.

Corpora that come without fakes get one of their own (`remake`), so that no corpus means a label.
Damage for training is drawn once a group: a recording and the fakes made of it go through the
same room, noise and codec, and within a pair only the synthesis differs.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura.detectors.audio import hearing_of, second_starts
from aura.detectors.voice import WINDOW, measure
from aura.hearing import Listener
from aura.speech import SpeechDetector
from aura.training.audio.remake import remake
from aura.training.audio.sounds import Recording, read_samples, recordings
from aura.training.augment.codecs import through_codec
from aura.training.augment.sound import band_limited, in_a_room, with_noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

CLEAN, WORN = "clean", "worn"
# What a file goes through on its way to a user; measured, and never trained on.
CONDITIONS = {"aac": ("aac", 96_000), "opus": ("opus", 24_000), "phone": ("mu-law", 0)}
# How often each happens to a sound that is worn for training. Milder than `treat_sound`: with half
# of the sounds below 20 dB of noise, or shifted in pitch, clean ones were told apart less well
# (AUC .84 to .81) and coded ones no better.
ROOM, NOISE, BAND, CODEC = 0.1, 0.3, 0.25, 0.75
SIGNAL_TO_NOISE = (20.0, 45.0)  # decibels
NOISE_COLOUR = 1.0
HIGH_CUTS = (3_400.0, 7_500.0)  # Hz
CODECS = ("aac", "mp3", "opus", "mu-law")
CODEC_ODDS = (0.35, 0.2, 0.35, 0.1)
BIT_RATES = (16_000, 24_000, 32_000, 48_000, 64_000)  # bit/s
GROUPS_AT_ONCE = 40  # per file, so that a stopped run goes on where it was


@dataclass(frozen=True)
class Version:
    """One sound as measured: of which recording, whether remade, and (windows, 2030) values."""

    recording: int
    remade: bool
    condition: str
    values: NDArray[np.float32]


def prepare(data: Path, out: Path) -> list[Path]:
    """Write `<condition>_<part>.npz` files into `out`, those for training first."""
    found = recordings(data)
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(found):
        groups.setdefault(one.group, []).append(index)
    names = sorted(groups, key=lambda name: zlib.crc32(name.encode()))
    with_fakes = {one.source for one in found if one.family}
    written = []
    for condition in (CLEAN, WORN, *CONDITIONS):
        for part, first in enumerate(range(0, len(names), GROUPS_AT_ONCE)):
            path = out / f"{condition}_{part:03d}.npz"
            written.append(path)
            if path.is_file():
                continue
            members = [
                index for name in names[first : first + GROUPS_AT_ONCE] for index in groups[name]
            ]
            versions = [
                version
                for index in members
                for version in _versions(
                    data,
                    index,
                    found[index],
                    condition,
                    alone=found[index].source not in with_fakes,
                )
            ]
            _save(path, versions)
    return written


def _versions(
    data: Path, index: int, recording: Recording, condition: str, *, alone: bool
) -> list[Version]:
    """A recording in one condition; with its remade twin, to train on, if no fakes came along."""
    own = read_samples(data / recording.path)
    starts = _speech_starts(own)
    if not starts:
        return []
    sounds = [(False, own)]
    if alone and condition in {CLEAN, WORN}:
        random = np.random.default_rng(zlib.crc32(recording.path.encode()))
        sounds.append((True, remake(own, "smooth", random)))
    return [
        Version(index, remade, condition, measured(_through(sound, condition, recording), starts))
        for remade, sound in sounds
    ]


def _through(sound: Samples, condition: str, recording: Recording) -> Samples:
    if condition == CLEAN:
        return sound
    if condition == WORN:
        return worn(sound, np.random.default_rng(zlib.crc32(recording.group.encode())))
    return through_codec(sound, *CONDITIONS[condition])


def worn(sound: Samples, random: np.random.Generator) -> Samples:
    """One draw of what files go through, (n,) float32 at 16 kHz in and out."""
    happens = random.random(4) < (ROOM, NOISE, BAND, CODEC)
    decibels, cut = random.uniform(*SIGNAL_TO_NOISE), random.uniform(*HIGH_CUTS)
    codec, rate = str(random.choice(CODECS, p=CODEC_ODDS)), int(random.choice(BIT_RATES))
    if happens[0]:
        sound = in_a_room(sound, random)
    if happens[1]:
        sound = with_noise(sound, decibels, NOISE_COLOUR, random)
    if happens[2]:
        sound = band_limited(sound, None, cut)
    sound = np.clip(sound, -1.0, 1.0).astype(np.float32)
    return through_codec(sound, codec, rate) if happens[3] else sound


def _speech_starts(samples: Samples) -> list[int]:
    """Where the seconds with speech begin."""
    speech = SpeechDetector()
    probabilities = np.concatenate([speech.feed(samples), speech.finish()])
    return second_starts(probabilities, len(samples))


def measured(samples: Samples, starts: list[int]) -> NDArray[np.float32]:
    """What the network sees of a sound: (len(starts), 2030) float32."""
    listener = Listener()
    features = np.concatenate([listener.feed(samples), listener.finish()])
    own = measure(np.stack([samples[start : start + WINDOW] for start in starts]))
    heard = np.stack([hearing_of(features, start) for start in starts])
    return np.concatenate([own, heard], axis=1)


def _save(path: Path, versions: list[Version]) -> None:
    counts = [len(version.values) for version in versions]
    waiting = path.with_suffix(".tmp.npz")
    np.savez(
        waiting,
        recording=np.repeat([version.recording for version in versions], counts),
        remade=np.repeat([version.remade for version in versions], counts),
        values=np.concatenate([version.values for version in versions]).astype(np.float16),
    )
    waiting.replace(path)
