"""How fast the networks of the heavy public profiles run on a GPU, at full size, random weights.

    python -m benchmarks.public_gpu             # needs PyTorch with CUDA and transformers; a minute

In eager PyTorch, one network alone: neither decoding nor ONNX Runtime, which `aura analyze` uses,
is in these figures. They tell how many workers a GPU can feed, not how long an analysis takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 15
WARM_UP = 3
LIMIT_SECONDS = 120.0


class Tower(nn.Module):
    """GenD: CLIP's ViT-L/14, its output normalised, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        config = CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=224,
            patch_size=14,
        )
        self.network, self.head = CLIPVisionModel(config), nn.Linear(1024, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) to logits (B, 2)."""
        found = nn.functional.normalize(self.network(pixels).pooler_output, dim=1)
        logits: torch.Tensor = self.head(found)
        return logits


# Name, network, shape of one input, batches. EfficientNetConfig's widths and depths are B7's.
CASES: tuple[tuple[str, Callable[[], Any], tuple[int, ...], tuple[int, ...]], ...] = (
    (
        "EfficientNet-B7, a face of 380 pixels",
        lambda: EfficientNetForImageClassification(EfficientNetConfig(image_size=380)),
        (3, 380, 380),
        (1, 8, 32),
    ),
    (
        "VideoMAE-base, 16 faces",
        lambda: VideoMAEForVideoClassification(VideoMAEConfig()),
        (16, 3, 224, 224),
        (1, 4, 8),
    ),
    (
        "wav2vec2-base, 4 s of speech",
        lambda: Wav2Vec2ForSequenceClassification(Wav2Vec2Config()),
        (64_000,),
        (1, 4, 16),
    ),
    ("GenD, a face of 224 pixels", Tower, (3, 224, 224), (1, 8, 32)),
)


def measure(network: nn.Module, batch: torch.Tensor) -> tuple[float, float]:
    """Median milliseconds of a batch, and the peak of the GPU's memory in MB."""
    torch.cuda.reset_peak_memory_stats()
    times = []
    with torch.inference_mode():
        for turn in range(WARM_UP + REPEATS):
            torch.cuda.synchronize()
            began = time.perf_counter()
            network(batch)
            torch.cuda.synchronize()
            if turn >= WARM_UP:
                times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / (1 << 20)
    return sorted(times)[len(times) // 2] * 1000, peak


def main() -> int:
    """Print one table."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.public_gpu", description=__doc__
    ).parse_args()
    if not torch.cuda.is_available():
        print("PyTorch finds no CUDA device here", file=sys.stderr)
        return 2
    began = time.monotonic()
    print(f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}\n")
    print("| network | precision | batch | ms a batch | ms an item | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, make, shape, batches in CASES:
        torch.manual_seed(0)
        network = make().eval().to("cuda")
        for dtype in (torch.float32, torch.bfloat16):
            network.to(dtype)
            for count in batches:
                if time.monotonic() - began > LIMIT_SECONDS:
                    print(f"| {name} | left out: {LIMIT_SECONDS:.0f} s are over | | | | |")
                    continue
                took, peak = measure(
                    network, torch.randn(count, *shape, device="cuda", dtype=dtype)
                )
                kind = str(dtype).removeprefix("torch.")
                print(
                    f"| {name} | {kind} | {count} | {took:.1f} | {took / count:.2f} | {peak:.0f} |"
                )
        del network
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
