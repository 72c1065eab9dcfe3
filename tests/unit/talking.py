"""A drawn mouth and a buzzing voice that open together: people are not needed to test lip sync."""

from __future__ import annotations

import cv2
import numpy as np

from aura.detectors.base import SAMPLE_RATE, Chunk, FaceTrack, Sound

BLOCK = 512


def syllables(seconds: float, seed: int = 0, rate: int = 1000) -> np.ndarray:
    """How far the mouth is open, in [0, 1], `rate` values a second: about four syllables each."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * rate)) / rate
    value = np.zeros(len(times))
    moment = 0.2
    while moment < seconds:
        width, height = rng.uniform(0.05, 0.09), rng.uniform(0.4, 1.0)
        value = np.maximum(value, height * np.exp(-0.5 * ((times - moment) / width) ** 2))
        moment += rng.uniform(0.17, 0.42)
    return value


def mouth(opening: float) -> np.ndarray:
    """A (64, 64) grey mouth, open by `opening` in [0, 1]."""
    big = np.full((256, 256), 150, np.uint8)
    big += np.linspace(0, 20, 256).astype(np.uint8)[:, None]
    gap = 2 + 44 * opening
    cv2.ellipse(big, (128, int(126 + gap / 2)), (74, int(20 + gap / 2)), 0, 0, 360, 105, -1)
    cv2.ellipse(big, (128, int(126 + gap / 2)), (60, max(1, int(gap / 2))), 0, 0, 360, 35, -1)
    cv2.ellipse(big, (128, int(215 + gap * 0.8)), (50, 9), 0, 0, 360, 130, -1)  # chin
    return cv2.resize(cv2.GaussianBlur(big, (0, 0), 4), (64, 64), interpolation=cv2.INTER_AREA)


def voice(opening: np.ndarray, seed: int = 0, rate: int = 1000) -> np.ndarray:
    """Sound of a mouth that opens so: formants rise with it, and it hisses when nearly closed."""
    rng = np.random.default_rng(seed)
    n = len(opening) * SAMPLE_RATE // rate
    t = np.arange(n) / SAMPLE_RATE
    wide = np.interp(t, np.arange(len(opening)) / rate, opening)
    phase = 2 * np.pi * np.cumsum(110 + 20 * np.sin(2 * np.pi * 1.3 * t)) / SAMPLE_RATE
    out = np.zeros(n)
    for harmonic in range(1, 36):
        frequency = 110.0 * harmonic
        loudness = np.exp(-(((frequency - 300 - 500 * wide) / 200) ** 2))
        loudness += 0.6 * np.exp(-(((frequency - 1100 - 500 * wide) / 250) ** 2))
        out += loudness * np.sin(harmonic * phase)
    hiss = np.diff(rng.standard_normal(n + 1)) * np.exp(-(((wide - 0.15) / 0.08) ** 2))
    sound = out * wide + 0.15 * hiss + 0.002 * rng.standard_normal(n)
    return (0.2 * sound / np.abs(sound).max()).astype(np.float32)


def track(times: np.ndarray, mouths: np.ndarray, subject: int = 0) -> FaceTrack:
    """A face track that holds nothing but its mouth."""
    return FaceTrack(
        subject=subject,
        frame_ids=np.zeros(0, np.int64),
        times=np.zeros(0),
        crops=np.zeros((0, 224, 224, 3), np.uint8),
        boxes=np.zeros((0, 4), np.float32),
        landmarks=np.zeros((0, 5, 2), np.float32),
        quality=np.zeros(0, np.float32),
        mouth_times=times,
        mouths=mouths,
    )


def chunks(
    opening: np.ndarray,
    sound: np.ndarray | None,
    *,
    fps: float = 25.0,
    piece: float = 4.0,
    speech: float = 1.0,
    others: tuple[np.ndarray, ...] = (),
) -> list[Chunk]:
    """A clip of somebody whose mouth opens so, beside a sound; `others` are in the picture too.

    Args:
        opening: 1000 values a second. sound: (n,) at 16 kHz, None for no track.
        piece: seconds of a chunk. speech: P(speech), all along.
    """
    seconds = len(opening) / 1000
    people = [opening, *others]
    times = np.arange(int(seconds * fps)) / fps
    drawn = [np.stack([mouth(each[int(t * 1000)]) for t in times]) for each in people]
    step = max(1, int(piece * SAMPLE_RATE) // BLOCK) * BLOCK
    found = []
    for index in range(int(np.ceil(seconds / piece))):
        first, last = index * piece, (index + 1) * piece
        inside = (times >= first) & (times < last)
        tracks = [track(times[inside], each[inside], i) for i, each in enumerate(drawn)]
        part = None
        if sound is not None:
            end = len(sound) if last >= seconds else (index + 1) * step
            samples = sound[index * step : end]
            blocks = -(-len(samples) // BLOCK)
            part = Sound(index * step / SAMPLE_RATE, samples, np.full(blocks, speech, np.float32))
        found.append(Chunk(first, min(last, seconds), tracks, part))
    return found
