"""The encoder that fine-tuning begins from, under a classifier that knows nothing yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aura.errors import WeightsError
from aura.runtime import sha256_file
from aura.training.public.archive import read_checkpoint
from aura.training.public.inputs import IMAGENET_MEAN, IMAGENET_STD, Pictures, VideoLogits
from aura.training.public.reading import build, read_json, weights_in
from aura.training.videomae.rows import Shape

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from aura.training.videomae.settings import TuneSettings

LABELS = ("real", "fake")  # outputs of the classifier, in their order
PREPARES = "preprocessor_config.json"
NEW = ("classifier.", "fc_norm.")  # parts that a pretrained checkpoint lacks


@dataclass(frozen=True)
class Start:
    """`model` of transformers; `network` of pictures to one logit around it; what else is kept.

    `prepares`: how pictures are normalised, for the folder that is written; `sha256`: of the
    checkpoint.
    """

    model: Any
    network: Pictures
    shape: Shape
    prepares: dict[str, Any]
    sha256: str


def load_start(folder: Path, layers: int) -> Start:
    """VideoMAE with a fresh classifier on the encoder of a checkpoint.

    Args:
        folder: `config.json`, weights (safetensors, or PyTorch's archive, whose pickle is not
            run). layers: how many of the encoder's last blocks shall learn.

    Raises:
        WeightsError: it holds no encoder of a VideoMAE.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} has no config.json; --start is the folder of a VideoMAE checkpoint, such as "
            "MCG-NJU/videomae-base"
        )
    config, weights = read_json(folder / "config.json"), weights_in(folder)
    if config.get("model_type") != "videomae":
        raise WeightsError(
            f"{folder}/config.json is of a {config.get('model_type')!r}; give the folder of a "
            "VideoMAE checkpoint, such as MCG-NJU/videomae-base"
        )
    config |= {
        "architectures": ["VideoMAEForVideoClassification"],
        "id2label": {str(index): label for index, label in enumerate(LABELS)},
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }
    # Neither the decoder of pretraining nor a classifier of something else is of use here.
    tensors = {
        name: value.float()
        for name, value in read_checkpoint(weights).tensors.items()
        if name.startswith(("videomae.", "fc_norm."))
    }
    model, missing = build("VideoMAEForVideoClassification", config, tensors, str(weights))
    lacks = [name for name in missing if not name.startswith(NEW)]
    if lacks:
        raise WeightsError(
            f"{weights} lacks {len(lacks)} parts of the encoder, such as {lacks[0]}; give the "
            "folder of a VideoMAE checkpoint, such as MCG-NJU/videomae-base"
        )
    prepares = read_json(folder / PREPARES) if (folder / PREPARES).is_file() else {}
    mean = prepares.get("image_mean", IMAGENET_MEAN)
    std = prepares.get("image_std", IMAGENET_STD)
    _choose(model, layers)
    return Start(
        model=model,
        network=Pictures(VideoLogits(model), LABELS.index("fake"), mean, std),
        shape=Shape(int(model.config.num_frames), int(model.config.image_size)),
        prepares={"image_mean": list(mean), "image_std": list(std)},
        sha256=sha256_file(weights),
    )


def _choose(model: Any, layers: int) -> None:
    """Let the classifier and the last blocks learn, and nothing else."""
    model.requires_grad_(False)
    blocks = model.videomae.encoder.layer
    for block in blocks[max(0, len(blocks) - layers) :]:
        block.requires_grad_(True)
    for part in (model.fc_norm, model.classifier):
        if part is not None:
            part.requires_grad_(True)


def parameter_groups(model: Any, settings: TuneSettings) -> list[dict[str, Any]]:
    """As `contract.schedule.parameter_groups`: what is new has a rate of its own."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            groups.setdefault((name.startswith(NEW), value.ndim > 1), []).append(value)
    return [
        {
            "params": values,
            "full_rate": settings.learning_rate if new else settings.encoder_learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (new, decays), values in sorted(groups.items())
    ]
