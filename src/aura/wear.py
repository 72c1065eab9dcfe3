"""How worn a face is: what compression has left of it, by two plain measures of its pixels.

Worn genuine faces look manipulated to networks that look for lost and smoothed detail. The profile
says how much suspicion wear can explain (`WearConfig`), and the verdict counts that much less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 8  # pixels; the grid of H.264 and its forerunners, and of JPEG
SMALLEST = 3 * BLOCK  # pixels of a face's side in which a grid can be told
FAINT = 0.1  # grey levels; so that flat pictures have no blocks


@dataclass(frozen=True)
class Wear:
    """Means over a person's sampled faces.

    `detail`: log of 1 + variance of the Laplacian of the aligned 224-pixel face, about 2 when worn
    or enlarged to 5 when sharp. `blocks`: log of how much larger steps of brightness are across
    the codec's grid of 8 pixels than within it, 0 without blocks to about 0.4. Pictures that were
    scaled after they were coded show no blocks.
    """

    detail: float
    blocks: float


def blockiness(luma: NDArray[np.uint8], box: NDArray[Any]) -> float:
    """`Wear.blocks` of one face; 0 where it is too small.

    Args:
        luma: (H, W) uint8, the picture as it was coded: neither scaled nor cut.
        box: (4,) the face's corners in pixels.
    """
    height, width = luma.shape
    left, top = (max(0, int(value)) for value in box[:2])
    right, bottom = min(width, int(box[2])), min(height, int(box[3]))
    if min(right - left, bottom - top) < SMALLEST:
        return 0.0
    part = luma[top:bottom, left:right]
    across = cv2.absdiff(part[:, 1:], part[:, :-1]).mean(axis=0)
    down = cv2.absdiff(part[1:], part[:-1]).mean(axis=1)
    on_grid = inside = 0.0
    for steps, first in ((across, left), (down, top)):
        edge = (np.arange(len(steps)) + first + 1) % BLOCK == 0
        on_grid += float(steps[edge].mean())
        inside += float(steps[~edge].mean())
    return float(np.log((on_grid + FAINT) / (inside + FAINT)))
