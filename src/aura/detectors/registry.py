"""Which detector runs which network; a profile names networks, this opens their detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.detectors.sync import SyncDetector
from aura.detectors.visual import VisualDetector

if TYPE_CHECKING:
    from aura.detectors.base import Detector
    from aura.profiles import Profile

# The network in a profile by which a detector is known.
DETECTORS: dict[str, type[VisualDetector] | type[SyncDetector]] = {
    "visual-lite": VisualDetector,
    "sync-cca": SyncDetector,
}


def open_detectors(profile: Profile, device: str) -> list[Detector]:
    """Fresh detectors for one clip: those whose networks the profile names, each once."""
    return [DETECTORS[model](device=device) for model in profile.models if model in DETECTORS]
