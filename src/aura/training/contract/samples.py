"""From clips to batches: windows with what is known of them, as arrays, then as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from aura.detectors.contract_input import WindowInput, cut_window, place_faces
from aura.training.contract.config import IMAGE_SIDE, LANDMARK_VALUES, POSE_VALUES
from aura.training.contract.losses import Targets
from aura.training.contract.network import Encoded, Windows
from aura.training.data.clip import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from aura.training.contract.config import ContractConfig
    from aura.training.data.clip import Clip, Modality, Truth

MODALITIES: tuple[Modality, ...] = ("visual", "audio", "disagreement")


class Origin(NamedTuple):
    """Where a window came from.

    `clip` is its clip's place in the prepared set and `path` the name there; `kind` of a self-made
    fake, else empty; `label` of the whole clip, 1 = fake; `start`, `end` in seconds; `times` of the
    frames in seconds, nan where there is none.
    """

    clip: int
    path: str
    kind: str
    label: int
    start: float
    end: float
    times: tuple[float, ...]


class Sample(NamedTuple):
    """One window: what the network sees, the fields of `Targets` without the batch, its origin."""

    window: WindowInput
    targets: tuple[NDArray[Any], ...]
    origin: Origin


class Batch(NamedTuple):
    """What a step takes: windows, or what the encoders made of them.

    `inputs.frames` are uint8 until `to_device` makes them float32, which quarters what travels.
    """

    inputs: Windows | Encoded
    targets: Targets
    origins: tuple[Origin, ...]

    def to_device(self, device: torch.device) -> Batch:
        """The tensors on a device, pictures as float32."""
        inputs = type(self.inputs)(*(_moved(value, device) for value in self.inputs))
        return Batch(inputs, Targets(*(_moved(v, device) for v in self.targets)), self.origins)

    def part(self, first: int, last: int) -> Batch:
        """Some of the windows."""
        return Batch(
            type(self.inputs)(*(value[first:last] for value in self.inputs)),
            Targets(*(value[first:last] for value in self.targets)),
            self.origins[first:last],
        )

    def __len__(self) -> int:
        return len(self.origins)


class Source(Protocol):
    """What the training loop draws from; any map-style data set can be dressed as one.

    `data_hash` names the data: a run is resumed on the same alone. An item is what `__getitem__`
    gives for a key, and has to depend on the key alone: data are loaded by several processes, and
    again after a stop.
    """

    data_hash: str

    def batches(self, epoch: int, size: int) -> list[list[Hashable]]:
        """The keys of each optimiser step of an epoch, about `size` windows a step."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """One item."""
        ...

    def collate(self, items: list[Any]) -> Batch:
        """Items to a batch."""
        ...


def _moved(value: Tensor, device: torch.device) -> Tensor:
    moved = value.to(device, non_blocking=True)
    return moved.float() if moved.dtype == torch.uint8 else moved


def window_label(truth: Truth, start: float, end: float) -> int:
    """1 where anything in [start, end) is manipulated, 0 where nothing is, or `UNKNOWN`.

    A fake clip of which only stretches are manipulated is real elsewhere.
    """
    if truth.label != 1:
        return truth.label
    if any(truth.within(modality, start, end) == 1 for modality in MODALITIES):
        return 1
    elsewhere = truth.spans is not None and any(
        getattr(truth, modality) == 1 for modality in MODALITIES
    )
    return 0 if elsewhere else 1


def cut_sample(clip: Clip, index: int, kind: str, start: float, config: ContractConfig) -> Sample:
    """One window of a clip with its labels.

    Args:
        clip: as it is or made over. index: its place in the prepared set. kind: of the self-made
            fake that it is, or empty. start: of the window, in seconds.
    """
    seconds = config.window_seconds
    end, truth = start + seconds, clip.truth
    window = cut_window(clip.faces, clip.voice, start, seconds, clip.fps)
    chosen = place_faces(clip.faces.times, start, seconds, clip.fps)
    times = np.full(len(chosen), np.nan)
    times[window.frame_mask] = clip.faces.times[chosen[window.frame_mask]]
    step = seconds / len(chosen)
    frames = [
        truth.within("visual", time, time + step) if seen else UNKNOWN
        for time, seen in zip(times, window.frame_mask, strict=True)
    ]
    targets = (
        np.int64(window_label(truth, start, end)),
        *(np.int64(truth.within(modality, start, end)) for modality in MODALITIES),
        np.array(frames, np.int64),
        _landmarks(clip, chosen, window.frame_mask, config),
        # Nobody measures head pose yet; what is unknown enters no term.
        np.full((len(chosen), POSE_VALUES if config.heads.head_pose else 0), np.nan, np.float32),
    )
    origin = Origin(index, clip.row.path, kind, truth.label, start, end, tuple(times.tolist()))
    return Sample(window, tuple(np.asarray(value) for value in targets), origin)


def _landmarks(
    clip: Clip, chosen: NDArray[np.intp], seen: NDArray[np.bool_], config: ContractConfig
) -> NDArray[np.float32]:
    """(T, 10) in shares of the crop, nan where there is no face; (T, 0) when not asked for."""
    if not config.heads.landmarks:
        return np.zeros((len(chosen), 0), np.float32)
    points = np.full((len(chosen), LANDMARK_VALUES), np.nan, np.float32)
    points[seen] = clip.landmarks[chosen[seen]].reshape(-1, LANDMARK_VALUES) / IMAGE_SIDE
    return points


def collate(samples: Sequence[Sample]) -> Batch:
    """Windows of equally many frames to a batch.

    Raises:
        ValueError: no window, or windows of different length.
    """
    crops, motion, frame_mask, sound, speech = (
        torch.from_numpy(np.stack(values))
        for values in zip(*(sample.window for sample in samples), strict=True)
    )
    targets = (
        torch.from_numpy(np.stack(values))
        for values in zip(*(sample.targets for sample in samples), strict=True)
    )
    return Batch(
        Windows(crops.permute(0, 1, 4, 2, 3), motion, frame_mask, sound, speech),
        Targets(*targets),
        tuple(sample.origin for sample in samples),
    )
