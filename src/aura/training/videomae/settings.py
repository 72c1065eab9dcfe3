"""How VideoMAE is fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from aura.training.contract.config import Count, Part, Weight
from aura.training.contract.settings import Rate, checked, read_document

if TYPE_CHECKING:
    from pathlib import Path


class TuneSettings(Part):
    """All that decides what a run learns, beside the encoder that it begins from and the data.

    `layers`: how many of the encoder's last blocks learn beside the classifier, at
    `encoder_learning_rate`; 0 keeps the encoder as it is. `batch`: rows of faces in a step. The
    rest means what it means in `aura.training.contract.settings`. Nobody has tuned these values.
    """

    learning_rate: Rate = 1e-4
    encoder_learning_rate: Rate = 5e-5
    weight_decay: Weight = 0.05
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    batch: Count = 8
    epochs: Count = 10
    early_stop: Count = 3
    gradient_clip: Weight = 1.0
    layers: Annotated[int, Field(ge=0)] = 4
    amp: Literal["auto", "on", "off"] = "auto"
    augment: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def read_tune_settings(path: Path | None = None, **changes: object) -> TuneSettings:
    """The settings, with a JSON file laid over them, and then single values; None leaves as it is.

    Raises:
        UsageError: no such file, not JSON, an unknown name or a value out of range.
    """
    document: dict[str, Any] = {} if path is None else read_document(path)
    document |= {name: value for name, value in changes.items() if value is not None}
    return checked(TuneSettings, document)
