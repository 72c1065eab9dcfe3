"""Faces as public networks were shown them, cut from the whole picture.

The crops that this project's own networks see are aligned and 224 pixels wide. Networks that were
trained elsewhere want their own frame, and more pixels; each is made only where one is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from aura.faces import Image, similarity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from aura.faces import Face

BOX_SIDE = 380  # pixels; facetorch's predictor config
GEND_SIDE, GEND_WARPED = 224, 256  # pixels seen; pixels that its faces were first warped to
GEND_SCALE = 1.3
# GenD's places of eyes, nose and mouth corners in a square of side 1, before the margin.
GEND_TEMPLATE = ((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82))


def face_box(picture: Image, face: Face) -> Image:
    """What is inside the detector's box, (380, 380, 3), its shape not kept: facetorch's way.

    Args:
        picture: (H, W, 3) uint8 RGB. face: found in it.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = (float(one) for one in face.box)
    x0, y0 = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    x1, y1 = int(np.clip(right, x0 + 1, width)), int(np.clip(bottom, y0 + 1, height))
    return resized(picture[y0:y1, x0:x1], BOX_SIDE, "linear")


def gend_face(picture: Image, face: Face) -> Image:
    """The face on GenD's template with a margin of 1.3, (224, 224, 3); black beyond the picture.

    Warped to 256 pixels as its training pictures were, then shrunk as CLIP's processor does.
    """
    template = (np.array(GEND_TEMPLATE) + (GEND_SCALE - 1) / 2) / GEND_SCALE * GEND_WARPED
    matrix = similarity(face.landmarks, template)
    warped = cv2.warpAffine(picture, matrix, (GEND_WARPED, GEND_WARPED), flags=cv2.INTER_LINEAR)
    return resized(np.asarray(warped, np.uint8), GEND_SIDE, "cubic")


CUTS: Mapping[str, Callable[[Any, Any], Any]] = {"box-380": face_box, "gend-224": gend_face}


def resized(picture: Image, side: int, kernel: Literal["linear", "cubic"]) -> Image:
    """A picture brought to (side, side, 3) with antialiasing, as PyTorch's and Pillow's resize do.

    OpenCV has no such filter, and networks notice the difference.
    """
    down, across = (_taps(size, side, kernel) for size in picture.shape[:2])
    rows = _along(down, picture.astype(np.float32))  # (side, W, 3)
    both = _along(across, rows.transpose(1, 0, 2))  # (side, side, 3), columns first
    return np.asarray(np.clip(np.rint(both.transpose(1, 0, 2)), 0, 255), np.uint8)


def _along(taps: tuple[NDArray[np.intp], NDArray[np.float32]], values: Any) -> Any:
    """(n, ...) to (side, ...).

    No matrix product: its threads wait for each other on a busy machine (44 ms a face instead of
    12), and sum in an order that depends on the processor.
    """
    places, weights = taps
    found = values[places[0]] * weights[0, :, None, None]
    for place, weight in zip(places[1:], weights[1:], strict=True):
        found += values[place] * weight[:, None, None]
    return found


@lru_cache(maxsize=64)
def _taps(size: int, side: int, kernel: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(taps, side) each: which old pixels a new one is made of, and how much of each."""
    weights = _weights(size, side, kernel)
    first = (weights != 0).argmax(axis=1)
    last = size - (weights != 0)[:, ::-1].argmax(axis=1)
    places = first + np.arange((last - first).max())[:, None]
    inside = places < size
    places = np.minimum(places, size - 1)
    return places, np.where(inside, weights[np.arange(side), places], 0).astype(np.float32)


def _weights(size: int, side: int, kernel: str) -> NDArray[np.float32]:
    """(side, size): how much of each old pixel a new one holds."""
    scale = size / side
    stretch = max(scale, 1.0)  # shrinking widens the filter, which is what antialiasing is
    centres = (np.arange(side) + 0.5) * scale
    distance = np.abs((np.arange(size) + 0.5)[None] - centres[:, None]) / stretch
    if kernel == "linear":
        weights = np.maximum(1.0 - distance, 0.0)
    else:  # Keys' cubic with a = -0.5
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
