"""One picture that is made to move like somebody's head: what driven portraits do.

First-order and latent-flow animators (Siarohin et al., NeurIPS 2019; Wang et al., ICLR 2022) draw
every picture by moving the pixels of one. So does this: the head goes where the driver's goes, the
face's own motion is the driver's optical flow, and how far around the head the picture goes along
differs from draw to draw. Texture and light are those of the one picture throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.mouth import HEAD_SIDE, HEAD_SPAN, head_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.augment.picture import Image

SMOOTH = (1.0, 3.0)  # pixels of the head crop: generators move coarse grids
REACH = (1.3, 5.0)  # eye distances around the face that go along with it
UNIT = HEAD_SIDE / HEAD_SPAN


@dataclass(frozen=True)
class Driver:
    """Whose motion it is: `landmarks` (N, 5, 2) and `heads` (N, 112, 112) of its pictures."""

    landmarks: NDArray[np.float32]
    heads: NDArray[np.uint8]


def animate(
    still: Image,
    landmarks: NDArray[np.float32],
    driver: Driver,
    start: int,
    random: np.random.Generator,
    *,
    share: float,
    rigid: bool = False,
) -> list[Image]:
    """Pictures of the still in motion, one for each of the driver's.

    Args:
        still: (H, W, 3) uint8 RGB. landmarks: (5, 2) of its face.
        driver: whose motion. start: its picture that the still stands for.
        random: smoothness and reach of the motion. share: of the driver's motion that it makes.
        rigid: the whole still moves as one, as a photo before a camera.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    smooth, reach = random.uniform(*SMOOTH), np.exp(random.uniform(*np.log(REACH)))
    height, width = still.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    home = head_matrix(landmarks)
    origin = head_matrix(driver.landmarks[start])
    back = cv2.invertAffineTransform(home)
    result = []
    for points, head in zip(driver.landmarks, driver.heads, strict=True):
        # From where the head is now to where it was, in head pixels, as the driver moved.
        path = _three(head_matrix(points)) @ np.linalg.inv(_three(origin))
        path = np.eye(3) + share * (path - np.eye(3))
        there = (path @ _three(home))[:2]
        place = pixels @ there[:, :2].T.astype(np.float32) + there[:, 2].astype(np.float32)
        if not rigid:
            own = np.asarray(flow.calc(head, driver.heads[start], None), np.float32)
            own = cv2.GaussianBlur(own, (0, 0), smooth) * np.float32(share)
            place = place + cv2.remap(
                own,
                place[..., 0],
                place[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=0,
            )
        source = place @ back[:, :2].T.astype(np.float32) + back[:, 2].astype(np.float32)
        if not rigid:
            offset = (pixels @ home[:, :2].T.astype(np.float32)) + home[:, 2].astype(np.float32)
            far = np.hypot(*np.moveaxis(offset - (HEAD_SIDE - 1) / 2, -1, 0)) / UNIT
            along = np.clip((1.6 + reach - far) / reach, 0, 1)[..., None]
            along = along * along * (3 - 2 * along)
            source = along * source + (1 - along) * pixels
        moved = cv2.remap(
            still,
            source[..., 0].astype(np.float32),
            source[..., 1].astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        result.append(np.asarray(moved, np.uint8))
    return result


def _three(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vstack([matrix, [0.0, 0.0, 1.0]])
