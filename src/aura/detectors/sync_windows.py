"""Lips and voice in windows of 2 s: which windows can be judged, and what lag may pass in them.

One function for the detector and for the recipe that measures it, so that both see the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aura.detectors.alignment import agreements, near, steps_of
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from aura.detectors.alignment import Agreement, Floats, Mask
    from aura.detectors.speaker import Mouth

WINDOW_SECONDS = 2.0  # shorter ones hold too few syllables to tell
WINDOW_SEEN = 0.6  # share of a window in which the mouth must be seen
STILL_WINDOW = 0.2  # spread of lip opening, in crop pixels per 1/25 s
MIN_SPEECH_SHARE = 0.4  # of the time that the face is seen; below, correlation measures pauses
AROUND_SPEECH = 0.4  # seconds beside speech that count: lips open and close there

# Seconds. ITU-R BT.1359-1 calls acceptable what comes up to 0.185 s late or 0.09 s early.
TOLERANCE = 0.2
EARLY_TOLERANCE = 0.09
# A recorder's delay is one for the whole clip: windows may lie so many seconds beside it.
BESIDE = 0.08


def window_agreements(
    mouth: Mouth, sound: Floats, speech: Mask, reach: float = TOLERANCE + BESIDE
) -> list[tuple[int, int, Agreement]]:
    """First and last + 1 grid step of each window that can be judged, and its curve.

    Such a window has enough speech and a mouth that is seen and moves.

    Args:
        mouth: on the grid, (T, 4). sound: (T, 4) components. speech: (T,) somebody speaks.
        reach: seconds of lag that the curves go to, both ways.
    """
    size = steps_of(WINDOW_SECONDS)
    length = len(mouth.components)
    spans = []
    for left, right in SlidingWindows(WINDOW_SECONDS).spans(0.0, length / steps_of(1.0)):
        part = slice(steps_of(left), min(steps_of(right), length))
        if (
            mouth.seen[part].sum() >= WINDOW_SEEN * size
            and (mouth.seen & speech)[part].sum() >= MIN_SPEECH_SHARE * size
            and mouth.opening[part].std() >= STILL_WINDOW
        ):
            spans.append((part.start, part.stop))
    mask = mouth.seen & near(speech, steps_of(AROUND_SPEECH))
    found = agreements(mouth.components, sound, mask, spans, steps_of(reach))
    return [(first, last, one) for (first, last), one in zip(spans, found, strict=True)]


def window_correlation(agreement: Agreement, lag: int | None) -> float:
    """What a window is judged by: its best correlation at a lag that may pass; nan if none.

    Of few syllables the best of many lags is often high by chance, so few are allowed: those near
    the clip's own `lag` (grid steps), where the clip as a whole fits within the tolerance. Where
    it does not (None), or too little was seen there, those that viewers accept.
    """
    if lag is not None:
        reach = steps_of(BESIDE)
        close = agreement.best(lag + reach, reach - lag)[0]
        if not np.isnan(close):
            return close
    return agreement.best(steps_of(TOLERANCE), steps_of(EARLY_TOLERANCE))[0]
