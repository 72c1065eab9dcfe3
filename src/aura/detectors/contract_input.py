"""What the contract network is shown of one window: faces, flow and sound on one time grid.

Training and analysis cut their windows here, so that a network sees in use what it learned from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aura.errors import UsageError
from aura.speech import BLOCK

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # contract: mono speech, Hz
SPEECH_FROM = 0.5  # P(speech) from which on a stretch counts as speech
TOLERANCE = 1e-3  # of a frame's step: decimal fractions of seconds are seldom exact


class Faces(NamedTuple):
    """One person's aligned faces: (N,) float64 seconds, ascending; (N, 224, 224, 3) uint8 RGB;
    (N, 2) float32, motion into each face from the one before it.
    """

    times: NDArray[np.float64]
    crops: NDArray[np.uint8]
    motion: NDArray[np.float32]


class Voice(NamedTuple):
    """Sound in (n,) float32 in [-1, 1] at 16 kHz from `start` seconds on, and P(speech) (m,) in
    [0, 1] for each successive 512 samples. Empty arrays where there is no sound.
    """

    start: float
    samples: NDArray[np.float32]
    speech: NDArray[np.float32]


class WindowInput(NamedTuple):
    """One window as the network takes it, without the batch axis and before conversion.

    `crops` (F, 224, 224, 3) uint8, `motion` (F, 2) float32, `frame_mask` (F,) bool, `samples`
    (n,) float32, `speech_mask` (n,) bool. Where a mask is false the values are zeros.
    """

    crops: NDArray[np.uint8]
    motion: NDArray[np.float32]
    frame_mask: NDArray[np.bool_]
    samples: NDArray[np.float32]
    speech_mask: NDArray[np.bool_]


def frames_of_window(fps: float, seconds: float) -> int:
    """How many frames a window has room for; the contract's 5 to 10 in one second."""
    return max(1, round(fps * seconds))


def place_faces(
    times: NDArray[np.float64], start: float, seconds: float, fps: float
) -> NDArray[np.int64]:
    """Which face stands in each slot of a window: (F,) index into `times`, -1 where none does.

    A face goes to the slot of its time, so that a gap stays a gap and lips keep their place in
    time; of two that claim one slot the later moves on to the next free one.

    Args:
        times: (N,) seconds, ascending. start: of the window, seconds. seconds: its length.
        fps: sampled pictures a second.

    Raises:
        UsageError: a length or rate that makes no sense.
    """
    if seconds <= 0 or fps <= 0:
        raise UsageError(f"windows of {seconds} s at {fps} pictures a second make no sense")
    count = frames_of_window(fps, seconds)
    slots = np.full(count, -1, np.int64)
    step = seconds / count
    low, high = np.searchsorted(
        times, [start - TOLERANCE * step, start + seconds - TOLERANCE * step]
    )
    free = 0
    for index in range(low, high):
        slot = max(free, int((times[index] - start) / step + TOLERANCE))
        if slot >= count:
            break
        slots[slot] = index
        free = slot + 1
    return slots


def cut_window(faces: Faces, voice: Voice, start: float, seconds: float, fps: float) -> WindowInput:
    """One window of a clip; where each face stands is told at `place_faces`.

    Args:
        faces: all or some of the clip's faces. voice: all or some of its sound.
        start: of the window, seconds. seconds: its length. fps: sampled pictures a second.

    Raises:
        UsageError: a length or rate that makes no sense.
    """
    slots = place_faces(faces.times, start, seconds, fps)
    mask = slots >= 0
    crops = np.zeros((len(slots), *faces.crops.shape[1:]), np.uint8)
    motion = np.zeros((len(slots), 2), np.float32)
    crops[mask], motion[mask] = faces.crops[slots[mask]], faces.motion[slots[mask]]
    samples, speech = cut_sound(voice, start, seconds)
    return WindowInput(crops, motion, mask, samples, speech)


def cut_sound(
    voice: Voice, start: float, seconds: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The sound of a window and where it is speech, each (seconds * 16000,); elsewhere zeros."""
    count = round(seconds * SAMPLE_RATE)
    samples, mask = np.zeros(count, np.float32), np.zeros(count, np.bool_)
    if len(voice.samples) == 0:
        return samples, mask
    first = round((start - voice.start) * SAMPLE_RATE)
    low, high = max(0, first), min(len(voice.samples), first + count)
    if high > low:
        blocks = np.arange(low, high) // BLOCK
        mask[low - first : high - first] = voice.speech[blocks] >= SPEECH_FROM
        samples[low - first : high - first] = voice.samples[low:high]
        samples[~mask] = 0.0
    return samples, mask
