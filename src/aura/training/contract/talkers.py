"""Photographs that talk: faces whose mouths follow a voice, made of photos and recorded speech.

Real talking people are few in most collections; how lips and voice hang together can be learned
from many simple ones first. A photo's mouth opens with the loudness of the speech and narrows with
its brightness, the head sways; each talker has habits of its own. They look like what they are:
they teach time, not looks, and both sides of a pair are made of the same talker.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from aura.detectors.contract_input import SAMPLE_RATE, Faces, Voice
from aura.detectors.contract_motion import motion_values
from aura.faces import CROP_SIDE, CROP_SPAN, TEMPLATE, TEMPLATE_SIDE
from aura.speech import SpeechDetector
from aura.training.augment.cutting import part_of
from aura.training.data.clip import Clip, Truth
from aura.training.data.manifest import Row, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aura.training.visual.crops import Crops

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Random = np.random.Generator
Sound = tuple[NDArray[np.float32], NDArray[np.float32]]

LANDMARKS = ((TEMPLATE + (CROP_SPAN - TEMPLATE_SIDE) / 2) * CROP_SIDE / CROP_SPAN).astype(
    np.float32
)
MOUTH = (LANDMARKS[3] + LANDMARKS[4]) / 2  # x, y in pixels of the crop
HALF_WIDTH = float(LANDMARKS[4, 0] - LANDMARKS[3, 0]) / 2
FRAME_SECONDS = 0.04  # of sound that a picture follows
KEPT = 128  # clips in memory, 7 MB each
QUIET = 30.0  # dB below a voice's loud stretches at which its mouth is closed


@dataclass(frozen=True)
class Habits:
    """How somebody talks: opening at full voice in pixels, narrowing, how far lips run ahead of
    the sound in seconds, sway of the head in pixels, trembling of the mouth.
    """

    opening: float
    narrowing: float
    ahead: float
    sway: float
    trembling: float


def drawn_habits(random: Random) -> Habits:
    """Somebody's habits."""
    return Habits(
        opening=random.uniform(8, 18),
        narrowing=random.uniform(0.0, 0.18),
        ahead=random.uniform(0.0, 0.06),
        sway=random.uniform(0.3, 2.0),
        trembling=random.uniform(0.0, 0.1),
    )


def loudness_and_brightness(samples: NDArray[np.float32], times: Floats) -> tuple[Floats, Floats]:
    """How loud and how bright the sound is at each time, both (N,) in [0, 1]."""
    size = round(FRAME_SECONDS * SAMPLE_RATE)
    padded = np.pad(samples.astype(np.float64), (size, 2 * size))
    starts = np.clip((times * SAMPLE_RATE).astype(int) + size // 2, 0, len(padded) - size)
    pieces = np.stack([padded[start : start + size] for start in starts]) * np.hanning(size)
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2
    level = 10 * np.log10(power.sum(axis=1) + 1e-9)
    loud = np.clip((level - np.quantile(level, 0.9)) / QUIET + 1, 0, 1)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    centre = (power * frequencies).sum(axis=1) / (power.sum(axis=1) + 1e-9)
    return loud, np.clip((centre - 500) / 2500, 0, 1)


def talk(photo: Image, voice: Sound, random: Random, fps: float, row: Row) -> Clip:
    """A talking photograph, real through and through as far as `Truth` goes.

    Args:
        photo: (224, 224, 3) uint8 RGB, an aligned face. voice: (n,) samples at 16 kHz and P(speech)
            of each 512 of them. fps: pictures a second. row: what it is called.
    """
    samples, speech = voice
    times = np.arange(int(len(samples) / SAMPLE_RATE * fps)) / fps
    habits = drawn_habits(random)
    loud, bright = loudness_and_brightness(samples, times + habits.ahead)
    opening = np.clip(loud**1.5 + random.normal(0, habits.trembling, len(times)), 0, 1)
    phase = random.uniform(0, 2 * np.pi, 3)
    sway = habits.sway * np.sin(np.outer(times, (2.1, 3.3, 1.3)) + phase)
    crops = np.stack(
        [
            _picture(photo, habits.opening * a, 1 - habits.narrowing * b * a, shift)
            for a, b, shift in zip(opening, bright, sway, strict=True)
        ]
    )
    motion = motion_values(crops, np.ones(len(times), np.bool_), times)
    return Clip(
        row=row,
        fps=fps,
        span=(0.0, len(times) / fps),
        frame_ids=np.arange(len(times), dtype=np.int64),
        faces=Faces(times, crops, motion),
        landmarks=np.tile(LANDMARKS, (len(times), 1, 1)),
        voice=Voice(0.0, samples, speech),
        truth=Truth(0, 0, 0, 0),
    )


def _picture(photo: Image, opening: float, width: float, sway: Floats) -> Image:
    """The photo with its mouth open by so many pixels and so wide, shifted by the sway."""
    side = photo.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    across = (x - MOUTH[0]) / (1.6 * HALF_WIDTH)
    near = np.exp(-(across**2) - ((y - MOUTH[1]) / (1.3 * HALF_WIDTH)) ** 2)
    jaw = opening * np.exp(-(across**2))
    # Below the lips everything moves down by what the mouth is open, less and less to the chin.
    below = np.clip((y - MOUTH[1]) / np.maximum(jaw, 1e-3), 0, 1)
    fade = np.clip((side - y) / (side - MOUTH[1]), 0, 1)
    source_y = y - jaw * below * fade
    source_x = MOUTH[0] + (x - MOUTH[0]) / (1 + (width - 1) * near)
    turn = 0.002 * sway[2]
    warped = cv2.remap(
        photo,
        (source_x + sway[0] + turn * (y - side / 2)).astype(np.float32),
        (source_y + sway[1] - turn * (x - side / 2)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if opening >= 1:
        inside = np.zeros((side, side), np.float32)
        centre = (round(float(MOUTH[0])), round(float(MOUTH[1] + opening / 2)))
        axes = (max(1, round(0.75 * HALF_WIDTH * width)), max(1, round(opening / 2)))
        cv2.ellipse(inside, centre, axes, 0, 0, 360, 1.0, -1)
        inside = cv2.GaussianBlur(inside, (0, 0), 1.5)[..., None]
        dark = np.array([60, 25, 25], np.float32)
        warped = warped * (1 - inside) + dark * inside
    return np.asarray(np.clip(warped, 0, 255), np.uint8)


class Talkers:
    """Talking photographs as a set of clips; face and voice of each are used by no other.

    Args:
        photos: (N, 224, 224, 3) uint8 RGB, aligned faces of as many people.
        voices: samples at 16 kHz and P(speech) of as many recordings.
        fps: pictures a second. seed: of their habits.
    """

    def __init__(
        self, photos: Sequence[Image], voices: Sequence[Sound], fps: float, seed: int = 0
    ) -> None:
        self._photos, self._voices, self.fps, self._seed = photos, voices, fps, seed
        names = [f"talker-{seed}-{i}" for i in range(min(len(photos), len(voices)))]
        self.rows = [
            Row(path=f"{one}.mp4", label="real", identity=one, group=one, method="talker")
            for one in names
        ]
        self._kept: OrderedDict[int, Clip] = OrderedDict()

    @property
    def data_hash(self) -> str:
        """Of all that decides what they look and sound like."""
        parts = [np.ascontiguousarray(photo).tobytes() for photo in self._photos]
        parts += [samples.tobytes() for samples, _ in self._voices]
        digest = hashlib.sha256(f"{self.fps} {self._seed}".encode())
        for part in parts:
            digest.update(part)
        return digest.hexdigest()

    def fps_of(self, index: int) -> float:
        """Pictures a second of a clip."""
        del index
        return self.fps

    def span_of(self, index: int) -> tuple[float, float]:
        """(start, end) of a clip in seconds."""
        return 0.0, int(len(self._voices[index][0]) / SAMPLE_RATE * self.fps) / self.fps

    def load(self, index: int, span: tuple[float, float] | None = None) -> Clip:
        """A clip or a stretch of it; the same each time."""
        if index not in self._kept:
            random = np.random.default_rng([self._seed, index])
            self._kept[index] = talk(
                self._photos[index], self._voices[index], random, self.fps, self.rows[index]
            )
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        clip = self._kept[index]
        return clip if span is None else part_of(clip, *span)


def photographs(crops: Crops, split: str, count: int, seed: int = 0) -> list[Image]:
    """As many aligned faces of LFW, 224 pixels, one a person."""
    chosen = np.random.default_rng(seed).permutation(crops.where("lfw", split))[:count]
    border = (crops.images.shape[1] - CROP_SIDE) // 2
    place = slice(border, border + CROP_SIDE)
    return [np.array(crops.images[i])[place, place] for i in chosen]


def recordings(data: Path, split: str, count: int, seed: int = 0) -> list[Sound]:
    """As many recordings of real speech that `data/manifest.csv` lists in a split.

    Raises:
        InputNotFound: there is no manifest.
    """
    rows = [
        row
        for row in read_manifest(data / "manifest.csv")
        if row.extra.get("kind") == "speech" and row.label == "real" and row.split == split
    ]
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    found = []
    for i in order:
        samples = _samples(data / rows[i].path)
        detector = SpeechDetector(device="cpu")
        found.append((samples, np.concatenate([detector.feed(samples), detector.finish()])))
    return found


def _samples(path: Path) -> NDArray[np.float32]:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        frames = [*container.decode(audio=0), None]
        parts = [piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float32)
