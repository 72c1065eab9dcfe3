"""EfficientNet as transformers has it (`EfficientNetForImageClassification`), and its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aura.errors import WeightsError
from aura.training.public.reading import read_json

if TYPE_CHECKING:
    from pathlib import Path

PREPARES = "preprocessor_config.json"


class MeanPooled(nn.Module):
    """Its logits, with a mean over the last map: its own pooling layer is one no engine reads."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embeddings = model.efficientnet.embeddings
        self.encoder = model.efficientnet.encoder
        self.classifier = model.classifier
        self.pool = torch.amax if model.config.pooling_type == "max" else torch.mean

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 2)."""
        logits: Tensor = self.classifier(
            self.pool(self.encoder(self.embeddings(x)).last_hidden_state, dim=(2, 3))
        )
        return logits


def side_and_normalisation(
    folder: Path, side: str | None
) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Pixels a side, and mean and spread by colour of values in [0, 1], as the checkpoint says.

    transformers' processor may rescale to [-1, 1] first (`rescale_offset`) and divide by the spread
    twice (`include_top`); both are folded into the two.

    Args:
        folder: of the checkpoint. side: what a person says instead.

    Raises:
        WeightsError: it does not say.
    """
    if not (folder / PREPARES).is_file():
        raise WeightsError(
            f"{folder} has no {PREPARES}, so nobody knows how its pictures were normalised"
        )
    told = read_json(folder / PREPARES)
    try:
        zero, one = (0.0,) * 3, (1.0,) * 3
        spread = [float(value) for value in told["image_std"]]
        once = told.get("do_normalize", True)
        mean = [float(value) for value in told["image_mean"]] if once else zero
        # The class divides twice where nothing is said.
        own = str(told.get("image_processor_type", "")).startswith("EfficientNet")
        twice = told.get("include_top", own)
        std = [
            a * b for a, b in zip(spread if once else one, spread if twice else one, strict=True)
        ]
        scale = float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0
        offset = 1.0 if told.get("rescale_offset", False) else 0.0
        size = told["crop_size" if told.get("do_center_crop", False) else "size"]
        pixels = int(side) if side else int(size["height"] if isinstance(size, dict) else size)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder / PREPARES} can't be understood ({error!r})") from None
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or scale <= 0:
        raise WeightsError(f"{folder / PREPARES} normalises pictures in a way that makes no sense")
    unit = scale * 255
    return (
        pixels,
        tuple((value + offset) / unit for value in mean),
        tuple(value / unit for value in std),
    )
