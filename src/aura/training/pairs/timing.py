"""Sound that does not belong to the lips: moved, or somebody else's.

What could give them away beside the lips, and what is done about it:

- A seam or a gap where moved sound wraps around. There is none: picture and sound are both cut to
  where they overlap after the move. The control loses as much, at the same end.
- The place of speech blocks on the clock. Sound moves by whole blocks.
- The length. Both members are cut alike.
- The speech activity: a donor who pauses while the lips move. His stretch is chosen so that both
  speak at the same time, among the best agreeing ones.
- The level. The donor is brought to the speech level of the sound that he replaces.
- The donor's room, microphone and noise. Donors' clips are themselves shown as real ones with
  their own faces, so that the sound alone says nothing; draw donors as often as clips.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from aura.detectors.contract_input import SAMPLE_RATE, SPEECH_FROM, Voice
from aura.errors import UsageError
from aura.speech import BLOCK
from aura.training.augment.cutting import (
    BLOCK_SECONDS,
    part_of,
    part_of_voice,
    with_sound,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.data.clip import Clip, Truth

SHORTEST_SHIFT, LONGEST_SHIFT = 8, 31  # blocks: 0.256 and 0.992 s; 0.2 s can't be told by the lips
SHORTEST_LEFT = 1.0  # seconds that must remain: one window
LEAST_FACES = 3
LEAST_SPEECH = 0.5  # seconds spoken, below it nothing shows whether lips and voice agree
LEAST_AGREEMENT = 0.5  # share of the face's speech during which the donor speaks as well
SIMILAR_AGREEMENT = 0.05  # below the best; one of these stretches is drawn


def can_shift(clip: Clip) -> bool:
    """Whether enough of picture and speech remains after the longest shift."""
    seconds = min(clip.span[1] - clip.span[0], len(clip.voice.samples) / SAMPLE_RATE)
    return (
        seconds >= SHORTEST_LEFT + LONGEST_SHIFT * BLOCK_SECONDS
        and _spoken(clip.voice) >= LEAST_SPEECH
        and len(clip.faces.times) >= LEAST_FACES
    )


def shift(clip: Clip, random: np.random.Generator, *, lie: bool) -> Clip:
    """The sound comes up to a second too late or too early."""
    blocks = int(random.integers(SHORTEST_SHIFT, LONGEST_SHIFT + 1))
    late = bool(random.random() < 0.5)
    # Whole blocks only: the last one may be short.
    whole = len(clip.voice.samples) // BLOCK
    clip = replace(clip, voice=part_of_voice(clip.voice, 0, whole))
    moved = blocks * BLOCK_SECONDS
    # Late sound leaves the beginning without any, early sound the end: there the picture is cut.
    begins, ends = clip.voice.start, clip.voice.start + len(clip.voice.samples) / SAMPLE_RATE
    start, end = max(clip.span[0], begins), min(clip.span[1], ends)
    kept = (max(start, begins + moved), end) if late else (start, min(end, ends - moved))
    part = part_of(clip, *kept)
    if not lie:
        return part
    if late:
        voice = clip.voice._replace(start=clip.voice.start + moved)
    else:
        voice = clip.voice._replace(start=clip.voice.start - moved)
    return part_of(replace(clip, voice=voice, truth=_disagreeing(clip.truth)), *kept)


def can_swap(clip: Clip, donor: Clip | None) -> bool:
    """Whether the clip, and the donor if there is one, speak enough and at the same time."""
    if _spoken(clip.voice) < LEAST_SPEECH or len(clip.faces.times) < LEAST_FACES:
        return False
    if donor is None:
        return True
    return _strangers(clip, donor) and _best_stretch(clip, donor) is not None


def swap(clip: Clip, donor: Clip, random: np.random.Generator, *, lie: bool) -> Clip:
    """Another person's speech, whose pauses fall where the face's own do.

    Raises:
        UsageError: clip and donor show the same person, or don't speak at the same time.
    """
    found = _best_stretch(clip, donor)
    if found is None or not _strangers(clip, donor):
        raise UsageError(f"{donor.row.path} can't speak for {clip.row.path}; draw another donor")
    first, offsets, count = found
    offset = int(random.choice(offsets))
    start = clip.voice.start + first * BLOCK_SECONDS
    part = part_of(clip, max(clip.span[0], start), min(clip.span[1], start + count * BLOCK_SECONDS))
    own = part_of_voice(clip.voice, first, first + count)
    heard = part_of_voice(donor.voice, offset, offset + count)
    gain = speech_level(own) / max(speech_level(heard), 1e-9)
    peak = gain * float(np.abs(heard.samples).max(initial=0.0))
    # Where the donor would be clipped both members become quieter.
    fits = min(1.0, 1.0 / max(peak, 1e-9))
    if not lie:
        part = replace(part, voice=own)
        return with_sound(part, own.samples * fits)
    truth = _disagreeing(clip.truth)
    part = replace(part, voice=Voice(own.start, heard.samples, heard.speech), truth=truth)
    return with_sound(part, heard.samples * (gain * fits))


def speech_level(voice: Voice) -> float:
    """Root mean square of what is spoken."""
    spoken = np.repeat(_speaks(voice), BLOCK)[: len(voice.samples)]
    if not spoken.any():
        return 0.0
    return float(np.sqrt(np.mean(np.square(voice.samples[spoken], dtype=np.float64))))


def _speaks(voice: Voice) -> NDArray[np.bool_]:
    return np.asarray(voice.speech >= SPEECH_FROM)


def _spoken(voice: Voice) -> float:
    return float(_speaks(voice).sum()) * BLOCK_SECONDS


def _strangers(clip: Clip, donor: Clip) -> bool:
    """Whether nobody is in both, nor one take behind both."""
    if clip.row.path == donor.row.path or set(clip.row.identities) & set(donor.row.identities):
        return False
    return not clip.row.group or clip.row.group != donor.row.group


def _best_stretch(clip: Clip, donor: Clip) -> tuple[int, NDArray[np.intp], int] | None:
    """First block of the clip's own stretch, the donor's first blocks that suit it, and how many
    blocks; None where they don't speak at the same time.
    """
    # Whole blocks only: the last one may be short.
    own = _speaks(clip.voice)[: len(clip.voice.samples) // BLOCK].astype(float)
    other = _speaks(donor.voice)[: len(donor.voice.samples) // BLOCK].astype(float)
    count = min(len(own), len(other))
    if count * BLOCK_SECONDS < SHORTEST_LEFT:
        return None
    first = int(np.argmax(np.convolve(own, np.ones(count), "valid")))
    own = own[first : first + count]
    if own.sum() * BLOCK_SECONDS < LEAST_SPEECH:
        return None
    together = np.correlate(other, own, "valid")
    donor_speaks = np.convolve(other, np.ones(count), "valid")
    agreement = together / np.maximum(own.sum() + donor_speaks - together, 1.0)
    best = float(agreement.max())
    suits = np.flatnonzero(agreement >= best - SIMILAR_AGREEMENT)
    suits = suits[together[suits] >= LEAST_AGREEMENT * own.sum()]
    return (first, suits, count) if len(suits) else None


def _disagreeing(truth: Truth) -> Truth:
    """Genuine face, genuine voice, but not of one moment."""
    return replace(truth, label=1, disagreement=1, spans=None)
