"""Grad-CAM in closed form (Selvaraju et al., ICCV 2017, arXiv:1610.02391).

Grad-CAM weighs each channel of the last convolution by the mean gradient of the logit. Behind
global average pooling and one linear layer that gradient is the layer's weight over the number of
cells, so no backward pass is needed (the same weights as CAM, Zhou et al., CVPR 2016). It also
makes the map more than a hint: its cells, before the negative ones are cut off, add up with the
bias to the logit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura.runtime import OpenVinoSession, load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "visual-lite"
INPUT = "images"
OUTPUT = "logits"


@dataclass(frozen=True)
class Looked:
    """What the network makes of faces.

    `logits` (N, heads) float32; `features`, one (N, C, H, W) float32 for each head.
    """

    logits: NDArray[np.float32]
    features: list[NDArray[np.float32]]


class CamNetwork:
    """The visual network with its feature maps, always on the CPU."""

    def __init__(self, session: OpenVinoSession | None = None) -> None:
        if session is None:
            opened = load_model(MODEL, "cpu").session
            if not isinstance(opened, OpenVinoSession):
                raise TypeError("a model opened on the CPU is no OpenVINO session")
            session = opened
        self._session = session
        self.heads = session.heads

    def look(self, crops: NDArray[np.uint8]) -> Looked:
        """Logits and feature maps of aligned faces, (N, 224, 224, 3) uint8 RGB."""
        result, features = self._session.features({INPUT: _pixels(crops)})
        return Looked(result[OUTPUT], features)

    def logits(self, crops: NDArray[np.uint8], head: int) -> NDArray[np.float64]:
        """One head's logits of aligned faces, (N,)."""
        logits = self._session.run({INPUT: _pixels(crops)})[OUTPUT][:, head]
        return np.asarray(logits, np.float64)


def _pixels(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)


def shares(features: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each cell's share in the logit: (C, H, W) and (C,) to (H, W), summing to logit - bias."""
    cells = np.tensordot(weight.astype(np.float64), features.astype(np.float64), axes=1)
    return np.asarray(cells / cells.size)


def grad_cam(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map: what speaks for manipulation, (H, W) in [0, 1], 1 = strongest; all 0: nothing does.

    >>> grad_cam(np.array([[2.0, -1.0], [1.0, 0.0]])).tolist()
    [[1.0, 0.0], [0.5, 0.0]]
    """
    positive = np.maximum(cells, 0.0)
    peak = float(positive.max())
    return positive / peak if peak > 0 else positive
