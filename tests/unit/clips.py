"""Made-up clips for tests: a face-like drawing that talks, and a voice of pulses in syllables."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.signal import lfilter

from aura.detectors.contract_input import Faces, Voice
from aura.detectors.contract_motion import motion_values
from aura.faces import CROP_SIDE, CROP_SPAN, TEMPLATE, TEMPLATE_SIDE
from aura.speech import BLOCK, SAMPLE_RATE
from aura.training.data.clip import UNKNOWN, Clip, Truth
from aura.training.data.manifest import Row

LANDMARKS = ((TEMPLATE + (CROP_SPAN - TEMPLATE_SIDE) / 2) * CROP_SIDE / CROP_SPAN).astype(
    np.float32
)


def made_clip(
    seconds: float = 4.0,
    *,
    seed: int = 0,
    name: str = "anna",
    sound: bool = True,
    faces: bool = True,
    fps: float = 5.0,
) -> Clip:
    """A real clip of somebody who talks with pauses."""
    random = np.random.default_rng(seed)
    count = round(seconds * fps) if faces else 0
    times = np.arange(count) / fps
    mouth = random.uniform(0.1, 1.0, count)
    crops = drawn_faces(mouth, random)
    motion = motion_values(crops, np.ones(count, np.bool_), times)
    voice = made_voice(seconds, random) if sound else Voice(0.0, *(np.zeros(0, np.float32),) * 2)
    return Clip(
        row=Row(path=f"{name}.mp4", label="real", identity=name, group=name),
        fps=fps,
        span=(0.0, seconds),
        frame_ids=np.arange(count, dtype=np.int64) * 5,
        faces=Faces(times, crops, motion),
        landmarks=np.tile(LANDMARKS, (count, 1, 1)),
        voice=voice,
        truth=Truth(0, 0, 0 if sound else UNKNOWN, UNKNOWN),
    )


def drawn_faces(mouth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(N, 224, 224, 3) uint8; the mouth is open by as much as `mouth` (N,) says."""
    coarse = random.integers(60, 180, (14, 14, 3)).astype(np.uint8)
    ground = cv2.resize(coarse, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 6, ground.shape)
    ground = np.clip(ground + grain, 0, 255).astype(np.uint8)
    cv2.ellipse(ground, (112, 112), (62, 84), 0, 0, 360, (205, 160, 135), -1)
    for x, y in LANDMARKS[:3]:
        cv2.circle(ground, (round(float(x)), round(float(y))), 7, (60, 40, 40), -1)
    pictures = []
    for share in mouth:
        picture = ground.copy()
        x, y = LANDMARKS[3:].mean(axis=0)
        cv2.ellipse(
            picture,
            (round(float(x)), round(float(y))),
            (22, 3 + round(14 * share)),
            0,
            0,
            360,
            (120, 30, 40),
            -1,
        )
        pictures.append(cv2.GaussianBlur(picture, (0, 0), 0.7))
    return np.array(pictures, np.uint8).reshape(-1, CROP_SIDE, CROP_SIDE, 3)


def made_voice(seconds: float, random: np.random.Generator, pitch: float = 120.0) -> Voice:
    """Pulses through three formants, louder and softer three times a second, with a pause."""
    count = round(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    wander = pitch * random.uniform(0.8, 1.6) * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time))
    pulses = np.diff(np.floor(np.cumsum(wander) / SAMPLE_RATE), prepend=0.0)
    # People differ in breath and in vocal tract.
    sound = pulses + random.uniform(0.005, 0.05) * random.normal(0, 1, count)
    for formant in np.array([650.0, 1200.0, 2500.0, 4200.0]) * random.uniform(0.8, 1.3, 4):
        radius = np.exp(-np.pi * 90.0 / SAMPLE_RATE)
        turn = 2 * np.cos(2 * np.pi * formant / SAMPLE_RATE) * radius
        sound = lfilter([1.0], [1.0, -turn, radius**2], sound)
    talks = (time % 2.0) < 1.6
    sound *= talks * (0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * time + random.uniform(0, 6)))
    sound = sound / np.abs(sound).max() * 0.5 + 1e-3 * random.normal(0, 1, count)
    blocks = -(-count // BLOCK)
    speech = np.where(talks[: blocks * BLOCK : BLOCK], 0.9, 0.1).astype(np.float32)
    return Voice(0.0, sound.astype(np.float32), speech)


def same_clip(one: Clip, other: Clip) -> bool:
    """Whether pictures, motion, places and sound are the same byte for byte."""
    pairs = (
        (one.faces.times, other.faces.times),
        (one.faces.crops, other.faces.crops),
        (one.faces.motion, other.faces.motion),
        (one.landmarks, other.landmarks),
        (one.voice.samples, other.voice.samples),
        (one.voice.speech, other.voice.speech),
    )
    return one.truth == other.truth and all(np.array_equal(a, b) for a, b in pairs)


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """By how many samples `other` comes later than `one`: the peak of their cross-correlation."""
    size = 2 * len(one)
    spectrum = np.conj(np.fft.rfft(one, size)) * np.fft.rfft(other, size)
    place = int(np.argmax(np.fft.irfft(spectrum)))
    return place if place < size // 2 else place - size


def loudness(samples: np.ndarray) -> np.ndarray:
    """Its ups and downs over 10 ms, without their mean."""
    smooth = np.convolve(np.abs(samples), np.ones(160) / 160, "same")
    return np.asarray(smooth - smooth.mean())
