"""Re-voiced speech: the whole of it, or a stretch.

What could give it away beside the synthesis itself, and what is done about it:

- The level, and peaks. The new speech gets the old one's level where it speaks, and a soft limiter
  bends the peaks of both members to a drawn multiple of the level.
- The band: mel banks and vocoders lose the lowest and the highest tones. Both members are cut to
  one band, drawn as often for either.
- Digital silence and noise floors: a vocoder fills or empties pauses. Both get a floor of noise.
- Length and place: sample for sample those of before; blocks of speech keep their probabilities.
- The edges of a stretch: faded over 20 ms, with the level of what they replace, between speech and
  speech or wherever the drawn stretch happens to end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from aura.detectors.contract_input import SAMPLE_RATE, SPEECH_FROM
from aura.speech import BLOCK
from aura.training.augment.cutting import BLOCK_SECONDS, with_sound
from aura.training.augment.sound import band_limited, level, with_noise
from aura.training.data.clip import UNKNOWN, Clip, Span, Truth
from aura.training.pairs.resynthesis import resynthesise

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SPEECH = 0.5  # seconds in the clip
LEAST_IN_PART = 0.3  # seconds of speech in a stretch
SHORTEST_PART, LONGEST_PART = 0.5, 3.0  # seconds
LARGEST_SHARE = 0.7  # of the clip that a part may take: else it is no part
FADE = 0.02  # seconds, within the stretch
MARGIN = 0.25  # seconds re-synthesised on both sides of a stretch, so that its edges are settled
LOW_CUTS, HIGH_CUTS = (70.0, 150.0), (3_400.0, 7_400.0)  # Hz; inside what every method keeps
FLOOR = (35.0, 60.0)  # decibels below the sound
FLOOR_COLOUR = 1.0  # pink, like most rooms
FULL_SCALE = 0.95  # highest peak
LIMITS = (3.0, 6.0)  # times the level; above, a soft limiter bends the peaks of both members


def can_revoice(clip: Clip, *, part: bool = False) -> bool:
    """Whether there is enough speech, and room for a stretch of it among the rest."""
    speaks = clip.voice.speech >= SPEECH_FROM
    if speaks.sum() * BLOCK_SECONDS < LEAST_SPEECH:
        return False
    return not part or len(_parts(clip, round(SHORTEST_PART / BLOCK_SECONDS))) > 0


def part_to_revoice(clip: Clip, random: np.random.Generator) -> tuple[int, int]:
    """A random stretch of speech as blocks [first, last)."""
    shortest = round(SHORTEST_PART / BLOCK_SECONDS)
    longest = min(LONGEST_PART / BLOCK_SECONDS, LARGEST_SHARE * len(clip.voice.speech))
    length = int(random.integers(shortest, max(int(longest), shortest) + 1))
    starts = _parts(clip, length)
    if not len(starts):
        length, starts = shortest, _parts(clip, shortest)
    first = int(random.choice(starts))
    return first, first + length


def _parts(clip: Clip, length: int) -> NDArray[np.intp]:
    """First blocks of all stretches of `length` blocks with enough speech in them."""
    speaks = (clip.voice.speech >= SPEECH_FROM).astype(float)
    speaks = speaks[: len(clip.voice.samples) // BLOCK]
    if length > LARGEST_SHARE * len(speaks):
        return np.zeros(0, np.intp)
    inside = np.convolve(speaks, np.ones(length), "valid")
    return np.flatnonzero(inside * BLOCK_SECONDS >= LEAST_IN_PART)


def revoice(
    clip: Clip, random: np.random.Generator, *, lie: bool, part: tuple[int, int] | None = None
) -> Clip:
    """The clip with its speech synthesised anew; `part` in blocks [first, last), None for all.

    Raises:
        MissingExtra: the package of a drawn method is not installed.
    """
    own = clip.voice.samples.astype(np.float64)
    edges = (0, len(own)) if part is None else (part[0] * BLOCK, part[1] * BLOCK)
    finish = np.random.default_rng(random.integers(2**63))
    samples = _replaced(clip, own, random, edges, whole=part is None) if lie else own
    finished = _finished(samples, finish)
    truth = _revoiced(clip, part) if lie else clip.truth
    return with_sound(replace(clip, truth=truth), finished)


def _replaced(
    clip: Clip,
    own: NDArray[np.float64],
    random: np.random.Generator,
    edges: tuple[int, int],
    *,
    whole: bool,
) -> NDArray[np.float64]:
    low = max(0, edges[0] - round(MARGIN * SAMPLE_RATE))
    high = min(len(own), edges[1] + round(MARGIN * SAMPLE_RATE))
    made = np.zeros(len(own))
    made[low:high] = resynthesise(own[low:high], random)
    inside = np.zeros(len(own), np.bool_)
    inside[edges[0] : edges[1]] = True
    spoken = np.repeat(clip.voice.speech >= SPEECH_FROM, BLOCK)[: len(own)] & inside
    made *= level(own[spoken]) / max(level(made[spoken]), 1e-9)
    if whole:
        return made
    fade = round(FADE * SAMPLE_RATE)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    weight = inside.astype(float)
    weight[edges[0] : edges[0] + fade] = rise
    weight[edges[1] - fade : edges[1]] = rise[::-1]
    # Old and new have unrelated phases: powers add, not amplitudes.
    return np.asarray(np.sqrt(weight) * made + np.sqrt(1 - weight) * own)


def _finished(samples: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float32]:
    """What both members of a pair go through at the end."""
    sound = samples.astype(np.float32)
    sound = band_limited(sound, random.uniform(*LOW_CUTS), random.uniform(*HIGH_CUTS))
    sound = with_noise(sound, random.uniform(*FLOOR), FLOOR_COLOUR, random)
    # The highest peak then hangs on what was drawn, hardly on how the sound came about.
    limit = random.uniform(*LIMITS) * max(level(sound), 1e-9)
    ceiling = FULL_SCALE * random.uniform(0.5, 1.0)
    return np.asarray(limit * np.tanh(sound / limit) * min(1.0, ceiling / limit), np.float32)


def _revoiced(clip: Clip, part: tuple[int, int] | None) -> Truth:
    spans = None
    if part is not None:
        first, last = (clip.voice.start + block * BLOCK_SECONDS for block in part)
        spans = (Span("audio", first, last),)
    return replace(clip.truth, label=1, audio=1, disagreement=UNKNOWN, spans=spans)
