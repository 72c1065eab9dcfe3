"""Heat on a face, laid over the whole picture where the face was; readable without colours too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura.faces import CROP_SIDE, crop_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAT_OPACITY = 0.55  # of the hottest place; the face must stay visible under it
CONTOUR_AT = 0.5  # of the map's peak: the line that a print in black and white lives from
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def crop_corners(landmarks: NDArray[np.float32], width: int, height: int) -> NDArray[np.float64]:
    """Corners of the face crop in fractions of the picture, (4, 2), clockwise from left top."""
    inverse = cv2.invertAffineTransform(crop_matrix(landmarks))
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) * CROP_SIDE
    corners = square @ inverse[:, :2].T + inverse[:, 2]
    return np.asarray(corners / [width, height])


def heat_on_picture(
    heat: NDArray[np.float64], landmarks: NDArray[np.float32], width: int, height: int
) -> NDArray[np.float32]:
    """A map of the aligned face brought back to the picture it was cut from.

    Args:
        heat: (h, w) in [0, 1]. landmarks: (5, 2), those that the face was aligned with.

    Returns:
        (height, width) float32 in [0, 1], 0 outside of the face crop.
    """
    large = cv2.resize(
        heat.astype(np.float32), (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_CUBIC
    )
    back = cv2.warpAffine(
        np.clip(large, 0.0, 1.0),
        crop_matrix(landmarks),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return np.asarray(back, np.float32)


def draw(
    picture: NDArray[np.uint8], heat: NDArray[np.float64], landmarks: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The picture with heat, its half-peak contour and the outline of what the network saw.

    Args:
        picture: (H, W, 3) uint8 RGB. heat, landmarks: as in `heat_on_picture`.
    """
    height, width = picture.shape[:2]
    warm = heat_on_picture(heat, landmarks, width, height)
    shown = np.rint(warm * 255).astype(np.uint8)
    colours = cv2.applyColorMap(shown, cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    opacity = (HEAT_OPACITY * warm)[..., None]
    mixed = picture.astype(np.float32) * (1 - opacity) + colours * opacity
    drawn = np.ascontiguousarray(np.rint(mixed).astype(np.uint8))
    thick = max(1, round(max(width, height) / 640))
    corners = crop_corners(landmarks, width, height) * [width, height]
    outline = [np.rint(corners).astype(np.int32)]
    hot: Any = cv2.findContours(
        (warm >= CONTOUR_AT).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )[0]
    for lines in (outline, hot):  # white on black, so that it shows on any picture
        cv2.polylines(drawn, lines, isClosed=True, color=BLACK, thickness=3 * thick)
        cv2.polylines(drawn, lines, isClosed=True, color=WHITE, thickness=thick)
    return drawn
