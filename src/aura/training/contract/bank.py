"""Windows behind frozen encoders: encoded once, then trained on as often as one likes.

Where both encoders keep still, all that a step costs is the temporal encoder, the fusion and the
heads. A bank holds what the encoders made of windows, with their labels, and is a `Source`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from aura.errors import UsageError
from aura.training.contract.known_faces import KnownFaces
from aura.training.contract.losses import Targets
from aura.training.contract.network import ContractNetwork, Encoded, Windows
from aura.training.contract.samples import Batch, Origin

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path

    from aura.training.contract.config import ContractConfig

ENCODED, TARGETS = "encoded.", "targets."  # prefixes of names in a file
ORIGINS = "origins"


@dataclass(frozen=True)
class Bank:
    """Encoded windows with their labels and where they come from; features as float16."""

    inputs: Encoded
    targets: Targets
    origins: tuple[Origin, ...]

    def __len__(self) -> int:
        return len(self.origins)

    def chosen(self, rows: Iterable[int]) -> Bank:
        """Some of its windows."""
        places = list(rows)
        index = torch.tensor(places, dtype=torch.long)
        return Bank(
            Encoded(*(value[index] for value in self.inputs)),
            Targets(*(value[index] for value in self.targets)),
            tuple(self.origins[row] for row in places),
        )


def joined(banks: Iterable[Bank]) -> Bank:
    """Several banks of windows of equally many frames as one."""
    parts = list(banks)
    return Bank(
        Encoded(*(torch.cat(values) for values in zip(*(b.inputs for b in parts), strict=True))),
        Targets(*(torch.cat(values) for values in zip(*(b.targets for b in parts), strict=True))),
        tuple(origin for bank in parts for origin in bank.origins),
    )


class Encoder:
    """The encoders of a network, put to windows; a face that was seen before is not encoded again.

    Args:
        network: with both encoders, frozen; it is put into evaluation mode.

    Raises:
        UsageError: an encoder that trains: its features would be out of date after one step.
    """

    def __init__(self, network: ContractNetwork) -> None:
        for name in ("appearance", "speech"):
            if any(p.requires_grad for p in getattr(network, name).parameters()):
                raise UsageError(f"the {name} encoder trains: windows can't be encoded in advance")
        self.network = network.eval()
        self._look = KnownFaces(network)

    @torch.inference_mode()
    def encode(self, batch: Batch) -> Bank:
        """What the encoders make of a batch of `Windows`."""
        windows = batch.inputs
        if not isinstance(windows, Windows):
            raise UsageError("these windows are encoded already")
        found = self.network.encode(windows, self._look)
        half = found._replace(appearance=found.appearance.half(), speech=found.speech.half())
        return Bank(half, batch.targets, batch.origins)

    def forget(self) -> None:
        """Drop the faces that are known; call it when other ones follow."""
        self._look.forget()


def save_bank(path: Path, bank: Bank) -> None:
    """Write a bank as safetensors, whole or not at all."""
    tensors = {f"{ENCODED}{name}": value for name, value in bank.inputs._asdict().items()}
    tensors |= {f"{TARGETS}{name}": value for name, value in bank.targets._asdict().items()}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    part = path.with_suffix(".partial")
    save_file(tensors, part, metadata={ORIGINS: json.dumps(bank.origins)})
    part.replace(path)


def load_bank(path: Path) -> Bank:
    """Read what `save_bank` wrote."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        origins = json.loads(file.metadata()[ORIGINS])
    return Bank(
        Encoded(*(tensors[f"{ENCODED}{name}"] for name in Encoded._fields)),
        Targets(*(tensors[f"{TARGETS}{name}"] for name in Targets._fields)),
        tuple(Origin._make([*one[:-1], tuple(one[-1])]) for one in origins),
    )


class BankSet:
    """A bank as a `Source`: shuffled each epoch, a modality hidden in some of its windows.

    Args:
        bank: to draw from. config: of the network that is to see it; a modality that it does not
            take is hidden, and `modality_dropout` is done here, since it belongs before the
            encoders: that share of windows with both loses one, evenly face or voice.
        seed: of the order and of what is hidden. drop: whether to drop modalities.
    """

    def __init__(
        self, bank: Bank, config: ContractConfig, *, seed: int = 0, drop: bool = False
    ) -> None:
        self.bank, self.config, self.seed = bank, config, seed
        both = config.enable_video and config.enable_audio
        self.share = config.modality_dropout if drop and both else 0.0
        digest = hashlib.sha256(repr((seed, self.share, bank.origins)).encode())
        self.data_hash = digest.hexdigest()

    def batches(self, epoch: int, size: int) -> list[list[Hashable]]:
        """(epoch, place) of each window; the last batch may be smaller."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.bank))
        keys: list[Hashable] = [(epoch, int(place)) for place in order]
        return [keys[i : i + size] for i in range(0, len(keys), size)]

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Place, whether its face is hidden, whether its voice is."""
        epoch, place = key
        random = np.random.default_rng([self.seed, epoch, place])
        inputs = self.bank.inputs
        both = bool(inputs.frame_mask[place].any() and inputs.speech_mask[place].any())
        hidden = both and random.random() < self.share
        face = random.random() < 0.5
        return place, hidden and face, hidden and not face

    def shown(self, first: int, last: int) -> Encoded:
        """Windows `first` to `last`, with nothing dropped."""
        places = range(first, min(last, len(self.bank)))
        return self._inputs([(place, False, False) for place in places])

    def collate(self, items: list[tuple[int, bool, bool]]) -> Batch:
        """Items to a batch of `Encoded`."""
        part = self.bank.chosen(place for place, _, _ in items)
        return Batch(self._inputs(items), part.targets, part.origins)

    def _inputs(self, items: list[tuple[int, bool, bool]]) -> Encoded:
        config = self.config
        face = torch.tensor([hidden or not config.enable_video for _, hidden, _ in items])
        voice = torch.tensor([hidden or not config.enable_audio for _, _, hidden in items])
        encoded = self.bank.chosen(place for place, _, _ in items).inputs
        if not config.enable_audio:  # such a network has no tokens at all
            encoded = encoded._replace(
                speech=encoded.speech[:, :0], speech_mask=encoded.speech_mask[:, :0]
            )
        return Encoded(
            encoded.appearance.float(),
            encoded.frame_mask & ~face[:, None],
            encoded.speech.float(),
            encoded.speech_mask & ~voice[:, None],
        )
