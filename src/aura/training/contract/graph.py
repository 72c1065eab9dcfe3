"""The contract network as a graph that engines run, and batches to hold it against the original.

The graph takes each face of a batch once and lets windows point at theirs, because windows overlap
by half; and it answers three times, with everything, with the voice masked and with the face
masked, which costs next to nothing after the encoders.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.training.contract.config import IMAGE_SIDE, SAMPLE_RATE
from aura.training.contract.network import ContractNetwork, Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.contract.config import ContractConfig
    from aura.training.contract.samples import Sample

    Arrays = dict[str, NDArray[Any]]

BEYOND = 1e30  # no motion and no sound is that large
OPSET = 17  # the newest that the exporter, OpenVINO and ONNX Runtime all take
INPUTS = ("images", "slots", "motion", "frame_mask", "sound", "speech_mask")
OUTPUTS = (
    *("logits", "face_logits", "voice_logits", "manipulation", "disagreement"),
    *("frame_scores", "attention", "has_video", "has_audio"),
)


class Inference(nn.Module):
    """The network as it is run: faces once, windows by their numbers, three answers."""

    def __init__(self, network: ContractNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """`INPUTS` to `OUTPUTS`, in their order."""
        images, slots, motion, frame_mask, sound, speech_mask = inputs
        network, config = self.network, self.network.config
        # What a network does not look at stays an input all the same: engines drop inputs on which
        # nothing depends, and every network is to be run alike.
        never = (motion.amax() > BEYOND) | (sound.amax() > BEYOND) | (images.amax() < 0)
        seen = frame_mask & ~never
        if config.enable_video:
            appearance = network.appearance(images.permute(0, 3, 1, 2).float())[slots]
            appearance = network.beside_motion(appearance, motion, seen)
        else:
            seen = seen & (slots < 0)
            appearance = motion.new_zeros(*slots.shape, config.frame_width)
        if config.enable_audio:
            speech, heard = network.speech(sound, speech_mask)
        else:
            seen = seen & ~(speech_mask.any() & never)
            speech = sound.new_zeros(sound.shape[0], 0, config.speech.hidden)
            heard = speech_mask[:, :0]
        encoded = Encoded(appearance, seen, speech, heard)
        out = network.decide(encoded)
        face = network.decide(encoded._replace(speech_mask=heard & ~heard))
        voice = network.decide(encoded._replace(frame_mask=seen & ~seen))
        return (
            out.logits,
            face.logits,
            voice.logits,
            out.manipulation,
            out.disagreement,
            out.frame_scores,
            out.attention.sum(dim=2),
            out.has_video,
            out.has_audio,
        )


def write_onnx(network: ContractNetwork, path: Path) -> None:
    """Trace the network and write it; batch, frames of a window and number of faces stay open."""
    names = {"images": ("faces",), "slots": ("windows", "frames"), "sound": ("windows",)}
    names |= {"motion": names["slots"], "frame_mask": names["slots"], "speech_mask": ("windows",)}
    names |= dict.fromkeys(OUTPUTS, ("windows",))
    names |= {"frame_scores": names["slots"], "attention": names["slots"]}
    example = made_up_batch(network.config, windows=2, frames=network.config.window_frames[0])
    was_training = network.training
    network.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of every shape that it takes for a constant; parity on other shapes
        # shows that none of them was one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Inference(network),
            tuple(torch.from_numpy(example[name]) for name in INPUTS),
            str(path),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={name: dict(enumerate(axes)) for name, axes in names.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    network.train(was_training)


def made_up_batch(config: ContractConfig, *, windows: int, frames: int, seed: int = 0) -> Arrays:
    """Windows with smooth pictures and noise of changing loudness, in which all is there."""
    random = np.random.default_rng(seed)
    count = windows * frames
    coarse = torch.from_numpy(random.uniform(0, 255, (count, 3, 7, 7)))
    smooth = F.interpolate(coarse, size=IMAGE_SIDE, mode="bilinear")
    samples = round(config.window_seconds * SAMPLE_RATE)
    loudness = np.abs(np.sin(np.linspace(0, 20, samples))) * 0.2
    sound = random.standard_normal((windows, samples)) * loudness
    return {
        "images": smooth.permute(0, 2, 3, 1).to(torch.uint8).numpy(),
        "slots": np.arange(count, dtype=np.int64).reshape(windows, frames),
        "motion": random.uniform(0, 2, (windows, frames, 2)).astype(np.float32),
        "frame_mask": np.ones((windows, frames), np.bool_),
        "sound": sound.astype(np.float32),
        "speech_mask": np.ones((windows, samples), np.bool_),
    }


def real_batch(samples: Sequence[Sample]) -> Arrays:
    """Windows of prepared clips, equally many frames in each, as the graph takes them."""
    crops = np.concatenate([one.window.crops for one in samples])
    frames = len(samples[0].window.frame_mask)
    return {
        "images": crops,
        "slots": np.arange(len(crops), dtype=np.int64).reshape(-1, frames),
        "motion": np.stack([one.window.motion for one in samples]),
        "frame_mask": np.stack([one.window.frame_mask for one in samples]),
        "sound": np.stack([one.window.samples for one in samples]),
        "speech_mask": np.stack([one.window.speech_mask for one in samples]),
    }


def in_all_cases(batch: Arrays) -> Arrays:
    """Every window with everything, without face, without speech, with gaps in either and in both,
    and with nothing: the same faces in seven times as many rows.
    """
    seen, heard = batch["frame_mask"], batch["speech_mask"]
    some_seen, some_heard = seen.copy(), heard.copy()
    some_seen[:, 1::2] = False
    some_heard[:, : heard.shape[1] // 2] = False
    none_seen, none_heard = np.zeros_like(seen), np.zeros_like(heard)
    cases = (
        (seen, heard),
        (none_seen, heard),
        (seen, none_heard),
        (some_seen, heard),
        (seen, some_heard),
        (some_seen, some_heard),
        (none_seen, none_heard),
    )
    rows = {
        name: np.concatenate([batch[name]] * len(cases)) for name in ("slots", "motion", "sound")
    }
    masks = {
        "frame_mask": np.concatenate([case[0] for case in cases]),
        "speech_mask": np.concatenate([case[1] for case in cases]),
    }
    return {"images": batch["images"], **rows, **masks}
