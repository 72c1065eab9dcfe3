"""A small speech encoder that ships with the package: the first blocks of Whisper tiny.en.

The log-mel is that of `aura.hearing`, written with PyTorch so that it exports and takes batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.errors import UsageError
from aura.hearing import (
    DYNAMIC_RANGE,
    EDGE,
    FFT_SIZE,
    FLOOR,
    HOP,
    MELS,
    PEAK,
    QUIETEST_PEAK,
    WIDTH,
    mel_filters,
)
from aura.training.contract.encoder import Encoder
from aura.training.contract.shipped import STEM, whisper_constants
from aura.training.sync.stem import Block, positions

if TYPE_CHECKING:
    from aura.training.contract.config import Speech

MOST_LAYERS = 2  # blocks that the package ships
STEP = 2 * HOP  # samples between tokens: 20 ms
LONGEST = 1500  # tokens: 30 s, what Whisper's positions were trained for
SPEECH_SHARE = 0.5  # a token counts as speech when half of its samples do


class LogMel(nn.Module):
    """Whisper's log-mel, each row brought to one loudness: (B, N) to (B, 80, N / 160).

    The Fourier transform is a product with its matrix: 201 frequencies of 400 samples, which every
    engine runs.
    """

    cosines: Tensor
    sines: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        turns = np.outer(np.arange(FFT_SIZE), np.arange(FFT_SIZE // 2 + 1)) / FFT_SIZE
        window = np.hanning(FFT_SIZE + 1)[:-1, None]
        for name, wave in (("cosines", np.cos), ("sines", np.sin)):
            kernel = (window * wave(2 * np.pi * turns)).T.astype(np.float32)
            self.register_buffer(name, torch.from_numpy(kernel[:, None]), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters()), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """Loudest cell at `PEAK`, 80 dB below it are kept."""
        padded = F.pad(sound, (EDGE, EDGE - HOP))[:, None]
        real = F.conv1d(padded, self.cosines, stride=HOP)
        imaginary = F.conv1d(padded, self.sines, stride=HOP)
        power = torch.matmul(self.filters, real.square() + imaginary.square())
        level = power.clamp(min=FLOOR).log10()
        peak = level.amax(dim=(1, 2), keepdim=True).clamp(min=QUIETEST_PEAK)
        level = (level - peak).clamp(min=-DYNAMIC_RANGE) + PEAK
        return (level + 4.0) / 4.0


class WhisperStem(Encoder):
    """Two convolutions and one or two transformer blocks: sound (B, N) to states (B, S, 384).

    50 tokens a second. Sound that is no speech enters as silence, and its tokens are attended by
    none.
    """

    places: Tensor

    def __init__(self, config: Speech) -> None:
        super().__init__()
        if config.hidden != WIDTH or not 1 <= config.layers <= MOST_LAYERS or config.architecture:
            raise UsageError(
                f"speech encoder whisper has hidden {WIDTH}, 1 to {MOST_LAYERS} layers and no "
                f"architecture; this one asks for {config.hidden} and {config.layers}"
            )
        self.log_mel = LogMel()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(config.layers))
        self.register_buffer("places", torch.from_numpy(positions(LONGEST)), persistent=False)
        if config.pretrained is not None:
            if config.pretrained.source != STEM:
                raise UsageError(f"speech encoder whisper takes its weights from {STEM} alone")
            whisper_constants(self.blocks, self.conv1, self.conv2)
        if config.frozen_layers:
            self.freeze(self.conv1, self.conv2, *list(self.blocks)[: config.frozen_layers])

    def token_mask(self, speech: Tensor) -> Tensor:
        """Which tokens are speech: (B, N) bool to (B, S) bool.

        Raises:
            UsageError: shorter than one token, or longer than `LONGEST`.
        """
        if not STEP <= speech.shape[1] <= LONGEST * STEP:
            raise UsageError(f"{speech.shape[1]} samples of sound are not {STEP} to 480000")
        share = F.avg_pool1d(speech.float()[:, None], STEP, STEP)[:, 0]
        return share >= SPEECH_SHARE

    def forward(self, sound: Tensor, speech: Tensor) -> tuple[Tensor, Tensor]:
        """Encode what is speech.

        Args:
            sound: (B, N) float32 in [-1, 1]. speech: (B, N) bool, from voice activity detection.

        Returns:
            States (B, S, 384) and which of them are speech (B, S); the others mean nothing.
        """
        tokens = self.token_mask(speech)
        length = tokens.shape[1] * STEP
        attended = tokens | ~tokens.any(dim=1, keepdim=True)
        mel = self.log_mel(torch.where(speech, sound, 0.0)[:, :length])
        states = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        states = states + self.places[: states.shape[1]]
        for block in self.blocks:
            states = block(states, attended)
        return states, tokens
