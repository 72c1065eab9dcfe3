"""The front of the Whisper tiny.en encoder as ONNX, read from a CTranslate2 `model.bin`.

Only tensors are read: the format is a header, then name, shape, type and bytes of each variable.
Architecture: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aura.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH = 384
HEADS = 6
MELS = 80
BLOCKS = 2
SPEC = "WhisperSpec"
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a CTranslate2 model file by name.

    Raises:
        WeightsError: not such a file, or not a Whisper one.
    """
    with path.open("rb") as stream:
        try:
            _, name, _, count = (
                _number(stream, "I"),
                _text(stream),
                _number(stream, "I"),
                _number(stream, "I"),
            )
            if name != SPEC:
                raise WeightsError(f"{path} holds a {name!r}, not a {SPEC}; give Whisper's file")
            return dict(_variable(stream) for _ in range(count))
        except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} is no CTranslate2 model file ({error})") from None


def _number(stream: BinaryIO, code: str) -> int:
    return int(struct.unpack("<" + code, stream.read(struct.calcsize("<" + code)))[0])


def _text(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "H"))[:-1].decode("ascii")  # C string, with its zero


def _variable(stream: BinaryIO) -> tuple[str, NDArray[Any]]:
    name = _text(stream)
    shape = [_number(stream, "I") for _ in range(_number(stream, "B"))]
    dtype = DTYPES[_number(stream, "B")]
    data = stream.read(_number(stream, "I"))
    return name, np.frombuffer(data, dtype).reshape(shape)


class Block(nn.Module):
    """One pre-norm transformer block, written out: engines run what they can't of PyTorch's own.

    Args:
        width: of a place, a multiple of `heads`. dropout: share, in training alone.
    """

    def __init__(self, width: int = WIDTH, heads: int = HEADS, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attended: Tensor | None = None) -> Tensor:
        """(B, T, width) to the same; only `attended` (B, T) places are looked at, if given."""
        batch, length, _ = x.shape
        parts = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, self.head_width)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * self.head_width**-0.5
        if attended is not None:
            scores = scores.masked_fill(~attended[:, None, None], -torch.inf)
        weights = self.dropout(scores.softmax(-1))
        answered = (weights @ value).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(answered))
        inner = self.dropout(functional.gelu(self.up(self.norm2(x))))
        y: Tensor = x + self.dropout(self.down(inner))
        return y


def positions(length: int) -> NDArray[np.float32]:
    """Whisper's sinusoids: (length, 384), sines then cosines, wavelengths 2 pi to 20000 pi."""
    half = WIDTH // 2
    rates = np.exp(-np.log(10_000) / (half - 1) * np.arange(half))
    angles = np.arange(length)[:, None] * rates[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class Stem(nn.Module):
    """Two convolutions and two transformer blocks: log-mel at 100 Hz in, features at 25 Hz out."""

    positions: Tensor

    def __init__(self, length: int) -> None:
        """`length`: mel frames in a chunk, a multiple of four."""
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.register_buffer("positions", torch.from_numpy(positions(length // 2)))

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 80, length) -> (B, length / 4, 384): output of the second block, pairs averaged."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel))))
        x = x.transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return x.reshape(x.shape[0], -1, 2, WIDTH).mean(2)


def load_stem(model_bin: Path, length: int) -> Stem:
    """The stem with Whisper's parameters.

    Raises:
        WeightsError: the file is not Whisper's, or of another size than tiny.
    """
    variables = read_variables(model_bin)
    names = {
        "norm1": "self_attention/layer_norm",
        "qkv": "self_attention/linear_0",
        "out": "self_attention/linear_1",
        "norm2": "ffn/layer_norm",
        "up": "ffn/linear_0",
        "down": "ffn/linear_1",
    }
    state: dict[str, Tensor] = {"positions": torch.from_numpy(positions(length // 2))}
    try:
        for conv in ("conv1", "conv2"):
            for part in ("weight", "bias"):
                state[f"{conv}.{part}"] = _tensor(variables[f"encoder/{conv}/{part}"])
        for index in range(BLOCKS):
            for ours, theirs in names.items():
                parts = ("gamma", "beta") if "norm" in ours else ("weight", "bias")
                for part, their_part in zip(("weight", "bias"), parts, strict=True):
                    key = f"encoder/layer_{index}/{theirs}/{their_part}"
                    state[f"blocks.{index}.{ours}.{part}"] = _tensor(variables[key])
        stem = Stem(length)
        stem.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{model_bin} is not Whisper tiny ({error}); give tiny.en") from None
    return stem.eval()


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
