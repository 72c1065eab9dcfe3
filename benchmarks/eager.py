"""The same pictures the way it is commonly written: eager PyTorch, frame by frame, batch 1.

Run as a process of its own; prints JSON. For every sampled picture: RetinaFace on the whole
picture, the largest face aligned, EfficientNet on the crop. Same RetinaFace weights, same crops and
the same EfficientNet-lite2 architecture as ours, so that only the way of running them differs; no
tracking, no speech, no lip sync, no verdict.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

BEGAN = time.perf_counter()

# Threads that wait for each other asleep: on a machine that is busy with something else, spinning
# ones made this five times slower, which would flatter us.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402 - imports count

from aura import faces, media  # noqa: E402
from aura.runtime import weights_dir  # noqa: E402
from aura.training.visual.network import FaceNetwork  # noqa: E402
from benchmarks.onnx_eager import EagerOnnx  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TorchSession:
    """RetinaFace in eager PyTorch, for `FaceDetector`; counts its seconds."""

    def __init__(self) -> None:
        self._network = EagerOnnx(weights_dir() / "retinaface-mobilenet.onnx")
        self.seconds = 0.0

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run one picture."""
        began = time.perf_counter()
        found = self._network.run({n: torch.from_numpy(v) for n, v in inputs.items()})
        self.seconds += time.perf_counter() - began
        return {name: value.numpy() for name, value in found.items()}


@torch.inference_mode()
def analyse(path: str) -> dict[str, float]:
    """Score every sampled picture of a file; seconds by part and what was counted."""
    seconds: dict[str, float] = defaultdict(float)
    seconds["imports"] = time.perf_counter() - BEGAN
    session = TorchSession()
    detector = faces.FaceDetector(session)
    network = FaceNetwork().eval()  # the weights do not change its speed
    pictures, scores = 0, []
    with closing(media.decode(media.probe(path))) as decoded:
        for item in decoded:
            if not isinstance(item, media.Frame) or item.rgb is None:
                continue
            pictures += 1
            found = detector.detect(item.rgb, max_side=max(item.rgb.shape))
            if not found:
                continue
            face = max(found, key=lambda one: one.size)
            crop = faces.align(item.rgb, face.landmarks)
            began = time.perf_counter()
            batch = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
            scores.append(torch.sigmoid(network(batch))[0, 0].item())
            seconds["EfficientNet"] += time.perf_counter() - began
    seconds["RetinaFace"] = session.seconds
    seconds["whole"] = time.perf_counter() - BEGAN
    return {**seconds, "pictures": pictures, "scored": len(scores)}


if __name__ == "__main__":
    print(json.dumps(analyse(sys.argv[1])))
