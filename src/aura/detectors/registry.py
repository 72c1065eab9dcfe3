"""Which detector runs which network; a profile names networks, this opens their detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.detectors.audio import AudioDetector
from aura.detectors.contract import ContractDetector
from aura.detectors.sync import SyncDetector
from aura.detectors.visual import VisualDetector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aura.detectors.base import Detector

# By the network in a profile by which a detector is known: it is given the device, and how many
# pictures a second are sampled.
DETECTORS: dict[str, Callable[[str, float], Detector]] = {
    "visual-lite": lambda device, _fps: VisualDetector(device=device),
    "sync-cca": lambda device, _fps: SyncDetector(device=device),
    "audio-lite": lambda device, _fps: AudioDetector(device=device),
    "contract-v1": lambda device, fps: ContractDetector(device=device, fps=fps),
}


def open_detectors(models: Iterable[str], device: str, fps: float) -> list[Detector]:
    """Fresh detectors for one clip: those of the networks named, each once."""
    return [DETECTORS[model](device, fps) for model in models if model in DETECTORS]
