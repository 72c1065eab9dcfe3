"""Whose mouth makes the voice? Each moment of speech goes to the face that moves with it.

With several people in a clip, a face that merely listens must not be held against the voice. Over
windows of 3 s every face is correlated with the sound at all lags within a second, so that a
speaker whose sound was shifted is still known as the speaker, and then found to be out of step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura.detectors.alignment import agreements, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aura.detectors.alignment import Floats, Mask

SEARCH = 1.0  # seconds within which a constant offset is looked for
WINDOW = 3.0  # seconds; in 2 s the best of 51 lags is too often as high by chance
EVERY = 0.2  # seconds between the middles of windows
WINDOW_HEARD = 0.3  # share of a window that must hold speech with the face in view

# Two dev clips beside each other, sound of the one, then of the other 0.6 s late: the speaker's
# correlation was 0.36 to 0.81, the listener's 0.18 to 0.60 and never above the speaker's.
FITS = 0.45

# Spread of lip opening, in crop pixels per 1/25 s: speakers of the dev clips have 0.58 to 1.65,
# faces that merely look on 0.26 to 0.45, faces that laugh or grimace as much as speakers.
STILL_MOUTH = 0.5
# Share of a mouth's movement at the rate of syllables. Speakers of the dev clips have 0.51 to 0.85
# (those of the silent ones too), faces that laugh, grimace or sing to themselves 0.11 to 0.66.
SYLLABLES = (2.0, 7.0)  # Hz
SLOWEST = 0.3  # Hz; slower is pose
LIKE_SPEECH = 0.5

NOBODY = -1


@dataclass(frozen=True)
class Mouth:
    """One person's mouth on the 25 Hz grid of the sound.

    `components` (T, 4) what is compared with the sound; `opening` (T,) speed of the lips;
    `seen` (T,) bool.
    """

    components: Floats
    opening: Floats
    seen: Mask


def syllabic_share(opening: Floats, mask: Mask) -> float:
    """Share in [0, 1] of a mouth's movement that is as fast as syllables; 0 when it is still.

    Args:
        opening: (T,) speed of the lips, 25 a second. mask: (T,) steps that count.
    """
    if not mask.any():
        return 0.0
    values = np.where(mask, opening - opening[mask].mean(), 0.0) * np.hanning(len(opening))
    power = np.abs(np.fft.rfft(values)) ** 2
    rate = np.fft.rfftfreq(len(values), 1.0 / steps_of(1.0))
    moving = float(power[rate >= SLOWEST].sum())
    inside = float(power[(rate >= SYLLABLES[0]) & (rate < SYLLABLES[1])].sum())
    return inside / moving if moving > 0 else 0.0


def speakers(mouths: Sequence[Mouth], sound: Floats, near_speech: Mask) -> NDArray[np.int64]:
    """Who makes the voice at each grid step.

    Args:
        mouths: one or more. sound: (T, 4). near_speech: (T,) steps at which somebody speaks.

    Returns:
        (T,) index into `mouths`; `NOBODY` where no face fits, or nobody speaks. A step at which
        none fits goes to the only face whose mouth moves there.
    """
    length = len(sound)
    size, every = steps_of(WINDOW), steps_of(EVERY)
    middles = np.arange(0, length, every)
    spans = [(max(0, m - size // 2), min(length, m + size // 2)) for m in middles.tolist()]
    fits = np.full((len(mouths), len(spans)), -1.0)
    moves = np.zeros((len(mouths), len(spans)), bool)
    for row, mouth in enumerate(mouths):
        mask = mouth.seen & near_speech
        found = agreements(mouth.components, sound, mask, spans, steps_of(SEARCH))
        for column, ((first, last), one) in enumerate(zip(spans, found, strict=True)):
            part = mask[first:last]
            if part.sum() < WINDOW_HEARD * (last - first):
                continue
            fits[row, column] = np.nan_to_num(one.best()[0], nan=-1.0)
            moves[row, column] = mouth.opening[first:last][part].std() >= STILL_MOUTH
    chosen = np.where(fits.max(axis=0) >= FITS, fits.argmax(axis=0), NOBODY)
    only = np.where(moves.sum(axis=0) == 1, moves.argmax(axis=0), NOBODY)
    chosen = np.where(chosen == NOBODY, only, chosen)
    nearest = np.clip((np.arange(length) + every // 2) // every, 0, len(spans) - 1)
    return np.where(near_speech, chosen[nearest], NOBODY).astype(np.int64)
