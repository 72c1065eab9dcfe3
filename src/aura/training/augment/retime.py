"""Speech at another pace without another pitch, and the other way round.

WSOLA (Verhelst and Roelands, ICASSP 1993): short windows of the recording itself are laid over each
other, each taken from where it continues the one before. A phase vocoder would do too, but smears
phases just as vocoders do, and those are what a detector of synthetic speech looks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 480  # samples: 30 ms at 16 kHz, two to six periods of a voice
HOP = WINDOW // 2
REACH = 120  # samples: 7.5 ms to either side, a period of a low voice in all


def retimed(samples: NDArray[np.float32], source: NDArray[np.floating]) -> NDArray[np.float32]:
    """The sound played along another clock, pitch kept.

    Args:
        samples: (n,). source: (m,) ascending, for each sample of the result the place in `samples`
            that is heard there; kept to within `REACH`.

    Returns:
        (m,) float32.
    """
    count = len(source)
    if len(samples) < WINDOW + 2 * REACH or count < WINDOW:
        places = np.clip(source, 0, max(len(samples) - 1, 0))
        return np.asarray(np.interp(places, np.arange(len(samples)), samples), dtype=np.float32)
    margin = WINDOW + 2 * REACH
    padded = np.pad(samples, margin).astype(np.float32)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    out = np.zeros(count + 2 * WINDOW, np.float32)
    expected: NDArray[np.float32] | None = None
    for begin in range(-HOP, count, HOP):
        wanted = round(float(source[min(max(begin + HOP, 0), count - 1)])) - HOP + margin
        wanted = min(max(wanted, REACH), len(padded) - margin)
        at = wanted
        if expected is not None:
            around = sliding_window_view(padded[wanted - REACH : wanted + REACH + WINDOW], WINDOW)
            fit = around @ expected
            energy = np.sqrt(np.einsum("ij,ij->i", around, around) + 1e-6)
            at = wanted - REACH + int(np.argmax(fit / energy))
        out[begin + WINDOW : begin + 2 * WINDOW] += padded[at : at + WINDOW] * window
        expected = padded[at + HOP : at + HOP + WINDOW]
    return out[WINDOW : WINDOW + count]


def shifted_pitch(samples: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The voice higher (factor above 1) or lower, everything at its time; (n,) in and out."""
    count = len(samples)
    if count < WINDOW:
        return samples
    faster = resample(samples, max(1, round(count / factor))).astype(np.float32)
    return retimed(faster, np.arange(count) * (len(faster) / count))
