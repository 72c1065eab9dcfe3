"""Faces that overlapping windows share, encoded once.

Windows overlap by half, and many conditions of an evaluation leave the pictures alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from aura.training.contract.network import ContractNetwork

FACES_AT_ONCE = 16
MOST_KNOWN = 20_000  # faces of 1536 float32 values: 120 MB; then all are forgotten


class KnownFaces:
    """The appearance encoder of a network that keeps still; `look` of `ContractNetwork.encode`.

    Args:
        network: in evaluation mode. What it made of a face counts as long as its weights do.
    """

    def __init__(self, network: ContractNetwork) -> None:
        self.network = network
        self._known: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def __call__(self, faces: Tensor) -> Tensor:
        """(N, 3, 224, 224) RGB in [0, 255], uint8 or float32, to (N, width)."""
        device = self.network.no_video.device
        if len(faces) == 0:
            return torch.zeros(0, self.network.config.appearance.width, device=device)
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        keys = [
            hashlib.blake2b(face.cpu().numpy().tobytes(), digest_size=16).digest() for face in faces
        ]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        places = list(new.values())
        for first in range(0, len(places), FACES_AT_ONCE):
            some = places[first : first + FACES_AT_ONCE]
            features = self.network.appearance(faces[some].to(device).float())
            for place, value in zip(some, features, strict=True):
                self._known[keys[place]] = value
        return torch.stack([self._known[key] for key in keys])

    def forget(self) -> None:
        """Drop the faces that are known; call it when other ones follow."""
        self._known.clear()
