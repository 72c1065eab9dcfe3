"""Parts of a clip, and clips whose pictures or sound were replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from aura.detectors.contract_input import SAMPLE_RATE, Faces, Voice
from aura.detectors.contract_motion import motion_values
from aura.errors import UsageError
from aura.speech import BLOCK
from aura.training.data.clip import Clip, Modality, Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_SECONDS = BLOCK / SAMPLE_RATE  # what one speech probability covers
SLACK = 1e-6  # seconds; times are sums of decimal fractions


def part_of(clip: Clip, start: float, end: float) -> Clip:
    """The stretch [start, end) of a clip, on the same clock.

    The sound is cut at the edges of speech blocks, so that it may reach out by up to a block
    (32 ms) on both sides. The truth becomes that of the stretch. Training that shows a window
    should augment the window's part alone: nothing else costs time.

    Raises:
        UsageError: an empty stretch.
    """
    if not end > start:
        raise UsageError(f"no clip lies between {start} s and {end} s; give an end after the start")
    low, high = np.searchsorted(clip.faces.times, [start - SLACK, end - SLACK])
    times, crops, motion = clip.faces
    faces = Faces(times[low:high], crops[low:high], motion[low:high])
    voice = clip.voice
    if len(voice.samples):
        blocks = [(edge - voice.start) / BLOCK_SECONDS for edge in (start, end)]
        first = min(max(0, int(np.floor(blocks[0] + SLACK))), len(voice.speech))
        last = min(max(first, int(np.ceil(blocks[1] - SLACK))), len(voice.speech))
        voice = part_of_voice(voice, first, last)
    return replace(
        clip,
        span=(max(start, clip.span[0]), min(end, clip.span[1])),
        frame_ids=clip.frame_ids[low:high],
        faces=faces,
        landmarks=clip.landmarks[low:high],
        voice=voice,
        truth=_truth_within(clip.truth, start, end),
    )


def part_of_voice(voice: Voice, first: int, last: int) -> Voice:
    """The speech blocks [first, last) of a sound, on the same clock."""
    return Voice(
        voice.start + first * BLOCK_SECONDS,
        voice.samples[first * BLOCK : last * BLOCK],
        voice.speech[first:last],
    )


def _truth_within(truth: Truth, start: float, end: float) -> Truth:
    if truth.spans is None:
        return truth
    whole = {name: truth.within(name, start, end) for name in get_args(Modality)}
    inside = tuple(s for s in truth.spans if s.start < end and s.end > start)
    return Truth(int(1 in whole.values()), **whole, spans=inside)


def with_pictures(
    clip: Clip,
    crops: NDArray[np.uint8],
    landmarks: NDArray[np.float32] | None = None,
    *,
    motion: bool = True,
) -> Clip:
    """The clip with other pictures at the same times.

    Args:
        crops: (N, 224, 224, 3) uint8 RGB. landmarks: (N, 5, 2) where they moved, None where not.
        motion: compute the motion values anew (about 7 ms a picture); without, the old ones stay
            until `refresh_motion`.
    """
    faces = Faces(clip.faces.times, crops, clip.faces.motion)
    changed = replace(
        clip, faces=faces, landmarks=clip.landmarks if landmarks is None else landmarks
    )
    return refresh_motion(changed) if motion else changed


def refresh_motion(clip: Clip) -> Clip:
    """The clip with motion values that belong to its pictures.

    The first face keeps the value it had: in a part of a clip its neighbour was cut away.
    """
    times, crops, before = clip.faces
    if len(times) == 0:
        return clip
    motion = motion_values(crops, np.ones(len(times), np.bool_), times)
    motion[0] = before[0]
    return replace(clip, faces=Faces(times, crops, motion))


def with_sound(clip: Clip, samples: NDArray[np.floating]) -> Clip:
    """The clip with other sound at the same times; what lies beyond [-1, 1] is clipped.

    Raises:
        UsageError: another number of samples, which would shift sound against picture.
    """
    if samples.shape != clip.voice.samples.shape:
        raise UsageError(f"{samples.shape} samples can't stand for {clip.voice.samples.shape}")
    heard = np.clip(samples, -1.0, 1.0).astype(np.float32)
    return replace(clip, voice=clip.voice._replace(samples=heard))
