"""Two tests that a heat map must stand before anybody rests on it.

Deletion (after Petsiuk et al., BMVC 2018): blurring away what the map marks must lower the score
more than blurring away as much of the face elsewhere. Randomisation (Adebayo et al., NeurIPS
2018): with a shuffled last layer the map must become another one, or it shows the picture and not
what was learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.explain.cam import grad_cam, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.explain.cam import CamNetwork

DELETED_SHARE = 0.2  # of the cells
OTHER_REGIONS = 7  # with the marked one, two batches of the network
MIN_BEATEN = 0.75  # share of other regions; 6 of 7 or more by chance alone: 1 in 4
BLUR = 0.12  # sigma of what a region is replaced with, in crop sides: no feature of a face is left
SOFT_EDGE = 0.03  # sigma of the region's border in crop sides: a hard one would look pasted in
SHUFFLES = 8
MAX_SIMILARITY = 0.5  # mean correlation with shuffled maps from which on a map says little


@dataclass(frozen=True)
class Deletion:
    """Fall of the logit: when the marked region is blurred, and for each of the other regions."""

    drop: float
    elsewhere: tuple[float, ...]
    share: float

    @property
    def elsewhere_mean(self) -> float:
        """Mean fall over the other regions."""
        return float(np.mean(self.elsewhere))

    @property
    def beaten(self) -> float:
        """Share of the other regions whose loss matters less."""
        return float(np.mean([self.drop > other for other in self.elsewhere]))

    @property
    def passed(self) -> bool:
        """Whether the map marks what the score hangs on."""
        return self.drop > 0 and self.beaten >= MIN_BEATEN


def marked_cells(cells: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The `DELETED_SHARE` of cells with the largest share in the logit, (H, W) bool."""
    count = max(1, round(DELETED_SHARE * cells.size))
    order = np.argsort(-cells.ravel(), kind="stable")
    marked = np.zeros(cells.size, bool)
    marked[order[:count]] = True
    return marked.reshape(cells.shape)


def other_regions(
    marked: NDArray[np.bool_], random: np.random.Generator, count: int = OTHER_REGIONS
) -> list[NDArray[np.bool_]]:
    """The same region moved to other places of the face (round the edges), each place once."""
    height, width = marked.shape
    moves = [(y, x) for y in range(height) for x in range(width) if (y, x) != (0, 0)]
    chosen = random.permutation(len(moves))[:count]
    return [np.roll(marked, moves[int(i)], axis=(0, 1)) for i in chosen]


def blurred_away(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a region is replaced with: the crop, (S, S, 3) uint8, without any detail, float32."""
    side = crop.shape[0]
    # So strong a blur looks the same from a quarter of the pixels, at a tenth of the cost.
    small = cv2.resize(crop, (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small.astype(np.float32), (0, 0), BLUR * side / 4)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def without(
    crop: NDArray[np.uint8], filling: NDArray[np.float32], region: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The crop with the region's cells replaced by the filling, behind a soft border."""
    side = crop.shape[0]
    mask = cv2.resize(
        region.astype(np.float32), (side // 4, side // 4), interpolation=cv2.INTER_NEAREST
    )
    mask = cv2.GaussianBlur(mask, (0, 0), SOFT_EDGE * side / 4)
    mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
    mixed = crop.astype(np.float32) * (1 - mask) + filling * mask
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def deletion_test(
    network: CamNetwork,
    crop: NDArray[np.uint8],
    head: int,
    cells: NDArray[np.float64],
    *,
    logit: float,
    random: np.random.Generator,
) -> Deletion:
    """Blur away what the map marks, and as much elsewhere.

    Args:
        crop: (224, 224, 3) uint8 RGB. head: the detector. cells: its shares. logit: of the crop.
        random: chooses the other regions.
    """
    marked = marked_cells(cells)
    regions = [marked, *other_regions(marked, random)]
    filling = blurred_away(crop)
    covered = np.stack([without(crop, filling, one) for one in regions])
    logits = network.logits(covered, head)
    falls = logit - logits
    return Deletion(float(falls[0]), tuple(map(float, falls[1:])), float(marked.mean()))


def shuffled_similarity(
    features: NDArray[np.float32], weight: NDArray[np.float32], random: np.random.Generator
) -> float:
    """Mean correlation of the map with those of `SHUFFLES` shuffled last layers, in [-1, 1].

    A map without any spread is like every other: 1.
    """
    own = grad_cam(shares(features, weight)).ravel()
    found = []
    for _ in range(SHUFFLES):
        other = grad_cam(shares(features, random.permutation(weight))).ravel()
        flat = own.std() < 1e-9 or other.std() < 1e-9
        found.append(1.0 if flat else float(np.corrcoef(own, other)[0, 1]))
    return float(np.clip(np.mean(found), -1.0, 1.0))
