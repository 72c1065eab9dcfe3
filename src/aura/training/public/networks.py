"""Each layout of a public checkpoint as one network (`aura.training.public.inputs`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aura.errors import WeightsError
from aura.training.public import efficientnet
from aura.training.public.archive import read_checkpoint
from aura.training.public.efficientnet_of_transformers import MeanPooled, side_and_normalisation
from aura.training.public.inputs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    GenD,
    Pictures,
    VideoLogits,
    Voice,
)
from aura.training.public.labels import fake_index
from aura.training.public.reading import build, read_json, weights_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.hub.catalogue import Source

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SAMPLE_RATE = 16_000
CLIP_HEAD_WIDTH = 64  # of every attention head of CLIP's vision towers
MAX_SIDE, MAX_FRAMES = 1024, 64


@dataclass(frozen=True)
class Public:
    """A network made of a checkpoint: (input) to (logit); what its card says; inputs to compare on.

    `examples` are batches of several shapes; `axes` name the input's dimensions that stay open.
    """

    network: nn.Module
    input_name: str
    input_told: str
    axes: dict[int, str]
    examples: Sequence[NDArray[Any]]
    architecture: str
    parameters: dict[str, Any]
    limits: tuple[str, ...] = ()
    exact: dict[str, Any] = field(default_factory=dict)


def read_network(
    source: Source, folder: Path, settings: Mapping[str, str], fake_label: str | None = None
) -> Public:
    """Make the network of a checkpoint.

    Args:
        source: what it is. folder: its files. settings: what it does not say, by name.
        fake_label: the label that means fake, where names don't tell.

    Raises:
        WeightsError: broken, of another layout, or it does not say what has to be known.
    """
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    weights = weights_in(folder)
    own = {**{key: str(value) for key, value in source.settings.items()}, **settings}
    if source.layout == "efficientnet" and config.get("model_type") == "efficientnet":
        return _efficientnet_of_transformers(folder, config, settings, fake_label)
    if source.layout == "efficientnet":
        return _efficientnet(weights, config, own, fake_label)
    if source.layout == "gend":
        return _gend(weights, config)
    return _of_transformers(source.layout, folder, weights, config, fake_label)


def _noise(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Smooth made-up pictures: what a network meets, unlike plain noise."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(0, 255, (math.prod(shape[:-3]), 3, 9, 9)))
    smooth = F.interpolate(coarse, size=shape[-3:-1], mode="bilinear")
    return smooth.permute(0, 2, 3, 1).reshape(shape).to(torch.uint8).numpy()


def _efficientnet(
    weights: Path, config: dict[str, Any], settings: Mapping[str, str], fake_label: str | None
) -> Public:
    checkpoint = read_checkpoint(weights)
    network = efficientnet.build(checkpoint, str(weights), settings)
    outputs = network.head.out_features
    if outputs > 2:
        raise WeightsError(f"{weights} tells {outputs} classes apart; two or one are wanted")
    fake = fake_index(config, "config.json", fake_label) if outputs == 2 else None
    side = int(settings.get("side", 380))
    if not 32 <= side <= MAX_SIDE:
        raise WeightsError(f"pictures of {side} pixels a side make no sense")
    same = isinstance(network.conv_stem, efficientnet.SameConv)
    return Public(
        network=Pictures(network, fake).eval(),
        input_name="images",
        input_told=f"(N, {side}, {side}, 3) uint8 RGB: a face's box, resized with antialiasing",
        axes={0: "faces"},
        examples=[_noise((2, side, side, 3), 1), _noise((1, side, side, 3), 2)],
        architecture=f"EfficientNet ({'uneven' if same else 'even'} padding, batch norm epsilon "
        f"{network.bn1.eps:g}), rebuilt from a timm checkpoint",
        parameters={"side": side, "threshold": float(settings.get("threshold", 0.5))},
    )


def _efficientnet_of_transformers(
    folder: Path, config: dict[str, Any], settings: Mapping[str, str], fake_label: str | None
) -> Public:
    """By transformers' own class: it pads otherwise than timm, and adds other blocks' inputs."""
    weights = weights_in(folder)
    fake = fake_index(config, f"{folder}/config.json", fake_label)
    side, mean, std = side_and_normalisation(folder, settings.get("side"))
    if not 32 <= side <= MAX_SIDE:
        raise WeightsError(f"pictures of {side} pixels a side make no sense")
    model = _built("EfficientNetForImageClassification", config, weights)
    return Public(
        network=Pictures(MeanPooled(model), fake, mean, std).eval(),
        input_name="images",
        input_told=f"(N, {side}, {side}, 3) uint8 RGB: a face's box, resized with antialiasing",
        axes={0: "faces"},
        examples=[_noise((2, side, side, 3), 1), _noise((1, side, side, 3), 2)],
        architecture=f"EfficientNet of transformers, width {model.config.width_coefficient:g}, "
        f"depth {model.config.depth_coefficient:g}",
        parameters={"side": side, "labels": config["id2label"], "fake_index": fake},
        limits=("The profile's threshold is facetorch's, and this is another checkpoint.",),
    )


def _gend(weights: Path, config: dict[str, Any]) -> Public:
    from transformers import CLIPVisionConfig, CLIPVisionModel  # noqa: PLC0415 - seconds to import

    if "clip" not in str(config.get("backbone", "")).lower():
        raise WeightsError(
            f"{weights.parent} is a GenD on {config.get('backbone')!r}; only those on CLIP are read"
        )
    head_kind = config.get("head", "linear")
    if head_kind not in {"linear", "LinearNorm"}:
        raise WeightsError(f"{weights.parent}: a head of kind {head_kind!r} is not known")
    tensors = read_checkpoint(weights).tensors
    begins = "feature_extractor.vision_model."
    tower = {k[len(begins) :]: v.float() for k, v in tensors.items() if k.startswith(begins)}
    try:
        head_weight, head_bias = (tensors[f"model.linear.{one}"] for one in ("weight", "bias"))
        patch = tower["embeddings.patch_embedding.weight"]
        places = tower["embeddings.position_embedding.weight"]
        layers = 1 + max(int(k.split(".")[2]) for k in tower if k.startswith("encoder.layers."))
        wide = tower["encoder.layers.0.mlp.fc1.weight"]
        grid = round(math.sqrt(len(places) - 1))
        width, size = int(patch.shape[0]), int(patch.shape[-1])
        linear = nn.Linear(width, 2)
        linear.load_state_dict({"weight": head_weight.float(), "bias": head_bias.float()})
        model = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=int(wide.shape[0]),
                num_hidden_layers=layers,
                num_attention_heads=max(1, width // CLIP_HEAD_WIDTH),
                image_size=grid * size,
                patch_size=size,
                attn_implementation="eager",
            )
        )
        # Older and newer versions of transformers call the tower's parts with and without a prefix.
        prefix = (
            "vision_model."
            if any(k.startswith("vision_model.") for k in model.state_dict())
            else ""
        )
        tower = {f"{prefix}{k}": v for k, v in tower.items() if not k.endswith("position_ids")}
        model.load_state_dict(tower)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{weights} is no GenD on CLIP ({str(error)[:160]})") from None
    side = grid * size
    network = GenD(model, linear, normalise=head_kind == "LinearNorm")
    return Public(
        network=Pictures(network, 1, CLIP_MEAN, CLIP_STD).eval(),  # its authors: index 1 is fake
        input_name="images",
        input_told=f"(N, {side}, {side}, 3) uint8 RGB: faces aligned by GenD's template, scale 1.3",
        axes={0: "faces"},
        examples=[_noise((2, side, side, 3), 1), _noise((1, side, side, 3), 2)],
        architecture=f"GenD: CLIP's tower of {layers} layers, {width} wide, linear head on the "
        f"{'normalised ' if network.normalise else ''}feature",
        parameters={"side": side},
    )


def _of_transformers(
    layout: str, folder: Path, weights: Path, config: dict[str, Any], fake_label: str | None
) -> Public:
    """wav2vec2 and VideoMAE, by transformers' own classes; nothing that the config names is run."""
    name = {
        "wav2vec2": "Wav2Vec2ForSequenceClassification",
        "videomae": "VideoMAEForVideoClassification",
    }[layout]
    stated = config.get("architectures") or [name]
    if name not in stated:
        raise WeightsError(
            f"{folder}/config.json is of a {stated[0]}, which has no trained classifier; a "
            f"fine-tuned {name} is wanted"
        )
    fake = fake_index(config, f"{folder}/config.json", fake_label)
    model = _built(name, config, weights)
    prepares = folder / "preprocessor_config.json"
    prepared = read_json(prepares) if prepares.is_file() else {}
    labels = {"labels": config["id2label"], "fake_index": fake}
    if layout == "wav2vec2":
        return _voice(model.eval(), fake, prepared, labels)
    return _video(model.eval(), fake, prepared, labels)


def _built(name: str, config: dict[str, Any], weights: Path) -> Any:
    model, missing = build(name, config, read_checkpoint(weights).tensors, str(weights))
    if missing:
        raise WeightsError(
            f"{weights} lacks {len(missing)} parts of a {name}, such as {missing[0]}; a fine-tuned "
            "one is wanted"
        )
    return model


def _voice(model: Any, fake: int, prepared: dict[str, Any], labels: dict[str, Any]) -> Public:
    rate = prepared.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise WeightsError(f"it was trained on sound at {rate} Hz; {SAMPLE_RATE} Hz is what is had")
    random = np.random.default_rng(0)
    examples = [
        random.normal(0, 0.1, (count, samples)).astype(np.float32)
        for count, samples in ((2, 64_000), (1, 40_000))
    ]
    normalise = bool(prepared.get("do_normalize", True))
    return Public(
        network=Voice(model, fake, normalise=normalise).eval(),
        input_name="sound",
        input_told="(B, n) float32 mono in [-1, 1] at 16 kHz, 2 s and more; normalised inside",
        axes={0: "windows", 1: "samples"},
        examples=examples,
        architecture=f"wav2vec2 of {model.config.num_hidden_layers} layers, "
        f"{model.config.hidden_size} wide, mean over time, linear classifier",
        parameters={**labels, "normalise": normalise},
    )


def _video(model: Any, fake: int, prepared: dict[str, Any], labels: dict[str, Any]) -> Public:
    frames, side = int(model.config.num_frames), int(model.config.image_size)
    if not (1 <= frames <= MAX_FRAMES and 32 <= side <= MAX_SIDE):
        raise WeightsError(f"clips of {frames} pictures of {side} pixels make no sense")
    mean = prepared.get("image_mean", IMAGENET_MEAN)
    std = prepared.get("image_std", IMAGENET_STD)
    return Public(
        network=Pictures(VideoLogits(model), fake, mean, std).eval(),
        input_name="clips",
        input_told=f"(B, {frames}, {side}, {side}, 3) uint8 RGB: successive faces of one person, "
        "aligned, five a second",
        axes={0: "clips"},
        examples=[_noise((2, frames, side, side, 3), 1), _noise((1, frames, side, side, 3), 2)],
        architecture=f"VideoMAE of {model.config.num_hidden_layers} layers, "
        f"{model.config.hidden_size} wide, mean over its tokens, linear classifier",
        parameters={**labels, "frames": frames, "side": side},
    )
