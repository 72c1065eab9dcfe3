"""What a run leaves: RUN/best for `aura weights`, RUN/latest to go on from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from aura.errors import UsageError, WeightsError
from aura.training.contract.folders import begin, give_up, partial_of, put_in_place
from aura.training.videomae.start import PREPARES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aura.training.videomae.start import Start

TOLD, STATE = "tuning.json", "state.pt"
PARTS = ("weights", "optimiser", "progress")


def write_model(folder: Path, told: dict[str, Any], start: Start) -> None:
    """The network as transformers has it, its normalisation, and `told` of how it was made.

    Raises:
        UsageError: the folder can't be written; what was there stays.
    """

    def fill(partial: Path) -> None:
        start.model.save_pretrained(partial)
        (partial / PREPARES).write_text(json.dumps(start.prepares) + "\n", encoding="utf-8")

    _write(folder, told, fill)


def write_state(folder: Path, told: dict[str, Any], state: dict[str, Any]) -> None:
    """Tensors and plain values to go on from.

    Raises:
        UsageError: the folder can't be written; what was there stays.
    """
    _write(folder, told, lambda partial: torch.save(state, partial / STATE))


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """With what a run was begun (`identity` of what is told), and the state; nothing is executed.

    Raises:
        WeightsError: damaged, or more than tensors and plain values.
    """
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        return dict(told["identity"]), {name: state[name] for name in PARTS}
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        raise WeightsError(
            f"{folder} can't be read ({type(error).__name__}), so training can't go on from it; "
            "name a new folder for the run"
        ) from error


def _write(folder: Path, told: dict[str, Any], fill: Callable[[Path], object]) -> None:
    try:
        begin(folder)
        fill(partial_of(folder))
        text = json.dumps(told, indent=2) + "\n"
        (partial_of(folder) / TOLD).write_text(text, encoding="utf-8")
        put_in_place(folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        give_up(folder)
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"{folder} can't be written ({reason[0] if reason else error}); what was there before "
            "is kept: make room, then resume"
        ) from error
