"""Which detector runs which network; a profile names networks, this opens their detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.detectors.audio import AudioDetector
from aura.detectors.contract import ContractDetector
from aura.detectors.public import ClipDetector, PictureDetector, VoiceDetector
from aura.detectors.sync import SyncDetector
from aura.detectors.temporal import TemporalDetector
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
    "temporal-lite": lambda device, _fps: TemporalDetector(device=device),
    "contract-v1": lambda device, fps: ContractDetector(device=device, fps=fps),
    "facetorch-b7": lambda device, _fps: PictureDetector(
        "visual_b7", "facetorch-b7", "box-380", device
    ),
    "videomae-deepfake": lambda device, _fps: ClipDetector(
        "temporal_videomae", "videomae-deepfake", device
    ),
    "wav2vec2-deepfake": lambda device, _fps: VoiceDetector(
        "audio_wav2vec2", "wav2vec2-deepfake", device
    ),
    "gend-clip-l14": lambda device, _fps: PictureDetector(
        "visual_gend", "gend-clip-l14", "gend-224", device
    ),
    "wav2vec2-voice-clone": lambda device, _fps: VoiceDetector(
        "audio_clone", "wav2vec2-voice-clone", device
    ),
}
# Which faces a network is shown beside the aligned ones (`aura.cuts`).
CUTS = {"facetorch-b7": "box-380", "gend-clip-l14": "gend-224"}
HEADS = frozenset({"temporal-lite"})  # which are shown crops of the head beside those of the mouth


def wants_heads(models: Iterable[str]) -> bool:
    """Whether a detector of these networks looks at heads."""
    return not HEADS.isdisjoint(models)


def cuts_for(models: Iterable[str]) -> tuple[str, ...]:
    """The cuts that the detectors of these networks want, each once."""
    return tuple(dict.fromkeys(CUTS[model] for model in models if model in CUTS))


def open_detectors(models: Iterable[str], device: str, fps: float) -> list[Detector]:
    """Fresh detectors for one clip: those of the networks named, each once."""
    return [DETECTORS[model](device, fps) for model in models if model in DETECTORS]
