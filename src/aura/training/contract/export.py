"""From checkpoint to a release: one ONNX file that answers as the network does, with its card."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aura.errors import MissingExtra, UsageError, WeightsError
from aura.registry import CARD
from aura.runtime import CARD_FORMAT, OpenVinoSession, load_onnxruntime, sha256_file
from aura.training.contract.calibrate_run import CALIBRATION, read_calibration
from aura.training.contract.checkpoint import CheckpointInfo, load_checkpoint
from aura.training.contract.config import IMAGE_SIDE
from aura.training.contract.graph import (
    INPUTS,
    OPSET,
    OUTPUTS,
    Inference,
    in_all_cases,
    made_up_batch,
    real_batch,
    write_onnx,
)
from aura.training.contract.samples import cut_sample
from aura.training.data.prepared import open_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.contract.config import ContractConfig
    from aura.training.contract.graph import Arrays
    from aura.training.contract.network import ContractNetwork
    from aura.training.contract.samples import Sample

NAME = "contract-v1"
MODEL_FILE = "model.onnx"
# Largest difference to the network, in any output that means something. Weights in float16 break it
# (0.002 in the small network, 0.018 in the quick one), so they are stored in float32.
PARITY = 1e-3
REAL_WINDOWS = 8  # of a prepared set that parity is checked on
# Detectors of the profile whose scores are this classifier's, and so calibrated as it is.
CALIBRATED = ("contract", "contract_face", "contract_voice")

LIMITS = (
    "The interval of a score covers the choice of moments, not unknown kinds of manipulation.",
    "Whether face and voice belong together is told by a head that was not calibrated.",
)
INPUTS_TOLD = {
    "images": "(U, 224, 224, 3) uint8 RGB, aligned faces, each once; normalised inside",
    "slots": "(B, T) int64, which image stands in each place of a window; any where masked",
    "motion": "(B, T, 2) float32, aura.detectors.contract_motion",
    "frame_mask": "(B, T) bool, a face is there",
    "sound": "(B, N) float32 in [-1, 1], 16 kHz; normalised inside",
    "speech_mask": "(B, N) bool, P(speech) >= 0.5",
}
OUTPUTS_TOLD = {
    "logits": "(B, 2) float32; index 0 = real, 1 = fake",
    "face_logits": "the same with the voice masked",
    "voice_logits": "the same with the face masked",
    "manipulation": "(B,) float32 logit",
    "disagreement": "(B,) float32 logit: face and voice don't belong together",
    "frame_scores": "(B, T) float32 logits, where frame_mask is true",
    "attention": "(B, T) float32 in [0, 1]: share of a frame's attention that went to sound",
    "has_video": "(B,) bool: anything was seen",
    "has_audio": "(B,) bool: anything was heard",
}


def largest_difference(
    network: ContractNetwork, path: Path, batches: Sequence[Arrays]
) -> dict[str, float]:
    """By engine the largest difference between file and network, over batches and outputs.

    Only what means something counts: frames that are there, disagreement where both are.

    Raises:
        MissingExtra: ONNX Runtime is not installed. WeightsError: an engine can't open the file.
    """
    try:
        onnxruntime = load_onnxruntime()
    except ImportError:
        raise MissingExtra("aura export", "train") from None
    try:
        second = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        first = OpenVinoSession(path)
    except Exception as error:  # engines raise what they like
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} can't be opened again ({reason}); not usable") from error
    inference = Inference(network).eval()
    worst = {"openvino": 0.0, "onnxruntime": 0.0}
    for batch in batches:
        with torch.no_grad():
            found = inference(*(torch.from_numpy(batch[name]) for name in INPUTS))
        wanted = dict(zip(OUTPUTS, (value.numpy() for value in found), strict=True))
        answers = {
            "openvino": first.run(batch),
            "onnxruntime": dict(zip(OUTPUTS, second.run(list(OUTPUTS), batch), strict=True)),
        }
        for engine, got in answers.items():
            for name in OUTPUTS:
                if got[name].shape != wanted[name].shape:
                    worst[engine] = np.inf
                    continue
                counts = _counts(name, wanted, batch)
                gap = np.abs(got[name].astype(np.float64) - wanted[name].astype(np.float64))[counts]
                # A difference that is no number is larger than any.
                largest = np.inf if np.isnan(gap).any() else float(gap.max(initial=0.0))
                worst[engine] = max(worst[engine], largest)
    return worst


def _counts(name: str, wanted: Arrays, batch: Arrays) -> NDArray[np.bool_]:
    """Which values of an output mean something."""
    seen, heard = wanted["has_video"], wanted["has_audio"]
    rows = {"has_video": seen | True, "has_audio": seen | True}
    rows |= {"disagreement": seen & heard, "face_logits": seen, "voice_logits": heard}
    if name in {"frame_scores", "attention"}:
        return np.asarray(batch["frame_mask"] & seen[:, None])
    return np.asarray(rows.get(name, seen | heard))


def export_run(
    run: Path,
    out: Path,
    *,
    prepared: Path | None = None,
    licence: str = "",
    uncalibrated: bool = False,
) -> tuple[Path, dict[str, float]]:
    """Write a release: `model.onnx`, `card.json` and `calibration.json`; whole or not at all.

    Args:
        run: of `aura train`, or one of its checkpoints. out: a folder that is made or replaced if
            it holds an earlier release. prepared: whose real windows parity is checked on, beside
            made-up ones. licence: terms of the weights. uncalibrated: without `aura calibrate`.

    Returns:
        The card's path, and the largest difference to the network by engine.

    Raises:
        WeightsError: no checkpoint, or the file answers differently from the network.
        UsageError: not calibrated, or the folder can't be written.
    """
    network, info = load_checkpoint(run)
    calibration = None if uncalibrated else read_calibration(run, info.weights_sha256)
    _check_target(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        path = partial / MODEL_FILE
        batches = _parity_batches(network.config, prepared)
        write_onnx(network, path)
        worst = largest_difference(network, path, batches)
        if max(worst.values()) > PARITY:
            told = ", ".join(f"{engine} by {value:.2g}" for engine, value in worst.items())
            raise WeightsError(
                f"the exported file answers differently from the network ({told}, allowed is "
                f"{PARITY:g}); nothing was written"
            )
        if calibration is not None:
            _write_json(partial / CALIBRATION, calibration)
        _write_json(
            partial / CARD,
            card_of(
                network,
                info,
                path,
                worst=worst,
                calibration=calibration,
                licence=licence,
                real_windows=prepared is not None,
            ),
        )
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    except OSError as error:
        raise UsageError(
            f"{out} can't be written ({error.strerror}); make room or name another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out / CARD, worst


def _parity_batches(config: ContractConfig, prepared: Path | None) -> list[Arrays]:
    fewest, most = config.window_frames
    made = [
        made_up_batch(config, windows=2, frames=fewest, seed=1),
        made_up_batch(config, windows=1, frames=most, seed=2),
    ]
    real = [] if prepared is None else _real_windows(config, prepared)
    return [in_all_cases(batch) for batch in (*made, *real)]


def _real_windows(config: ContractConfig, prepared: Path) -> list[Arrays]:
    """One window of each of some clips, evenly over the set, by frames in a window."""
    clips = open_prepared(prepared)
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(REAL_WINDOWS, len(clips))).astype(int))
    by_frames: dict[int, list[Sample]] = {}
    for index in chosen:
        start, end = clips.span_of(int(index))
        middle = max(start, (start + end - config.window_seconds) / 2)
        clip = clips.load(int(index), (middle, middle + config.window_seconds))
        sample = cut_sample(clip, int(index), "", middle, config)
        frames = len(sample.window.frame_mask)
        if config.window_frames[0] <= frames <= config.window_frames[1]:
            by_frames.setdefault(frames, []).append(sample)
    return [real_batch(samples) for samples in by_frames.values()]


def _check_target(out: Path) -> None:
    if out.exists() and not (out.is_dir() and ((out / CARD).is_file() or not any(out.iterdir()))):
        raise UsageError(f"{out} is there and is no earlier export; name another folder with --out")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def card_of(
    network: ContractNetwork,
    info: CheckpointInfo,
    path: Path,
    *,
    worst: dict[str, float],
    calibration: dict[str, Any] | None,
    licence: str,
    real_windows: bool,
) -> dict[str, Any]:
    """What is known about the exported weights, in the card's layout (`aura.runtime.ModelCard`)."""
    config = network.config
    fitted = {}
    if calibration is not None:
        own = {"temperature": calibration["temperature"], "bias": calibration["bias"]}
        fitted = {"calibration": dict.fromkeys(CALIBRATED, own)}
    return {
        "format": CARD_FORMAT,
        "name": NAME,
        # Until it is promoted under a version that a person chooses.
        "version": info.weights_sha256[:12],
        "file": path.name,
        "sha256": sha256_file(path),
        "architecture": _architecture(config),
        "licence": licence or "not stated; the terms of the training data apply",
        "inputs": INPUTS_TOLD,
        "outputs": OUTPUTS_TOLD,
        "parameters": {
            "count": sum(parameter.numel() for parameter in network.parameters()),
            "window_seconds": config.window_seconds,
            "window_frames": list(config.window_frames),
            "image_side": IMAGE_SIDE,
            "aggregation": "mean of the windows' logits",
            "opset": OPSET,
            "parity": {engine: float(f"{value:.2g}") for engine, value in worst.items()},
            "parity_windows": "prepared and made up" if real_windows else "made up",
            **fitted,
        },
        "training": {
            "weights_sha256": info.weights_sha256,
            "date": info.created,
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": "aura train, then calibrate, export",
            "git_commit": info.git_commit,
            "data_hash": info.data_hash,
            "split": "train; val people in two parts: one picked the checkpoint, one calibrated",
            "epoch": info.epoch,
            "step": info.step,
            "settings": info.training,
            "config": config.model_dump(mode="json"),
            "versions": info.versions,
        },
        "metrics": {
            "selection": {"part": "val, the people that picked the checkpoint", **info.metrics},
            "calibration": calibration or "not calibrated",
        },
        "limits": list(LIMITS)
        if calibration is not None
        else [*LIMITS, "Not calibrated: a score of 0.9 does not mean nine in ten."],
    }


def _architecture(config: ContractConfig) -> str:
    parts = []
    if config.enable_video:
        flow = " and flow" if config.enable_motion else ""
        kind = {"efficientnet": "EfficientNet", "lite2": "EfficientNet-lite2"}[
            config.appearance.kind
        ]
        parts.append(f"{kind}{flow}, {config.temporal.kind} over {config.window_seconds:g} s")
    if config.enable_audio:
        parts.append(f"{config.speech.kind} of {config.speech.layers} layers")
    if len(parts) == 2:
        parts.append(f"{config.fusion.kind}, {config.fusion.heads} heads")
    return f"{config.name}: {'; '.join(parts)}"
