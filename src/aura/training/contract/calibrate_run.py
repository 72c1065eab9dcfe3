"""Temperature and bias of a trained network, fitted on people who chose nothing else.

The validation people are in two parts (`people.val_parts`): one picks the checkpoint, the other,
this one, calibrates it. What is calibrated is the clip's logit, the mean over its windows, as the
detector computes it.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from aura.batch import write_whole
from aura.calibration import (
    Calibration,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from aura.errors import UsageError, WeightsError
from aura.training.contract.checkpoint import BEST, LATEST, load_checkpoint
from aura.training.contract.dataset import AS_IT_IS, Making, Recipe, WindowSet
from aura.training.contract.known_faces import KnownFaces
from aura.training.contract.network import Windows
from aura.training.contract.people import val_parts
from aura.training.data.prepared import open_prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.contract.checkpoint import CheckpointInfo
    from aura.training.contract.dataset import Unit
    from aura.training.contract.network import ContractNetwork
    from aura.training.data.prepared import PreparedSet

FORMAT = 1  # the newest layout of calibration.json that this version reads
CALIBRATION = "calibration.json"
# Of each class. Two numbers are fitted, and with fewer clips they tell more of these clips than of
# the network; the figures below this many are noted as rough.
FEWEST = 5
ROUGH = 30
BATCH = 8  # windows at once


class Clips(NamedTuple):
    """Raw logits and labels (1 = fake) of clips, and how many of the fakes were made here."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    made: int


def calibrate_run(
    run: Path,
    prepared: Path,
    *,
    command: str = "",
    hook: Callable[[str, float, float | None], None] | None = None,
) -> dict[str, Any]:
    """Fit temperature and bias and write them to RUN/calibration.json.

    Args:
        run: of `aura train`. prepared: the set that it was trained on. command: as it was typed.
        hook: told of progress, in batches.

    Returns:
        What was written.

    Raises:
        WeightsError: no checkpoint. InputError: no prepared set.
        UsageError: too few clips, one class only, logits that don't rise with the label, or a set
            that the network was not trained on.
    """
    network, info = load_checkpoint(run)
    clips = open_prepared(prepared)
    if info.data_hash and info.data_hash != clips.data_hash:
        raise UsageError(
            f"{prepared} is not the set that {run} was trained on (its hash differs), so its "
            "validation people may have been trained on; give the same prepared folder"
        )
    chosen, recipe = calibration_part(clips, info)
    found = clip_logits(network, _windows(clips, chosen, network, info, recipe), hook)
    fitted = fit(found)
    raw, after = Calibration().probability(found.logits), fitted.probability(found.logits)
    document = {
        "format": FORMAT,
        "temperature": round(fitted.temperature, 6),
        "bias": round(fitted.bias, 6),
        "weights_sha256": info.weights_sha256,
        "data_hash": clips.data_hash,
        "split": "val, the people that did not pick the checkpoint",
        "clips": len(found.labels),
        "fake": int(found.labels.sum()),
        "self_made": found.made,
        "aggregation": "mean of the windows' logits",
        "before": _figures(raw, found.labels),
        "after": _figures(after, found.labels),
        "after_note": "on the clips it was fitted on, so on the good side",
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(place_of(run), json.dumps(document, indent=2) + "\n")
    return document


def calibration_part(clips: PreparedSet, info: CheckpointInfo) -> tuple[list[int], Recipe]:
    """The clips that calibrate, and what is made of them.

    Where they hold no fake, fakes are made of them as they were for choosing the checkpoint.

    Raises:
        UsageError: nothing to calibrate on.
    """
    _, chosen = val_parts(clips.rows)
    if not chosen:
        raise UsageError(
            "the prepared set has no second part of validation people: give at least two people "
            "or groups the split val in the manifest, prepare it again and train on that"
        )
    kinds = tuple(info.training.get("pairs", ()))
    if kinds and not any(clips.rows[i].target for i in chosen):
        return chosen, Recipe(kinds)
    return chosen, AS_IT_IS


def fit(clips: Clips) -> Calibration:
    """Temperature and bias.

    Raises:
        UsageError: too few clips of a class, or logits that a temperature can't mend.
    """
    fakes = int(clips.labels.sum())
    reals = len(clips.labels) - fakes
    for name, count in (("fake", fakes), ("real", reals)):
        if count < FEWEST:
            raise UsageError(
                f"{count} {name} clips of the calibrating validation people are too few (at least "
                f"{FEWEST} of each class): put more {name} clips of more people into the split "
                "val, prepare again and train on that"
                + (", or train with --pairs all" if name == "fake" and not count else "")
            )
    try:
        return fit_temperature(clips.logits, clips.labels)
    except ValueError as error:
        raise UsageError(
            f"no calibration fits: {error}; the network has learned nothing that carries over to "
            "these people: train longer or on more data"
        ) from None


def clip_logits(
    network: ContractNetwork,
    windows: WindowSet,
    hook: Callable[[str, float, float | None], None] | None = None,
) -> Clips:
    """Mean logit over the windows of each clip in which anything is seen or heard.

    Args:
        network: in evaluation mode, on the CPU.
    """
    look = KnownFaces(network)
    sums: dict[tuple[int, str], list[float]] = {}
    labels: dict[tuple[int, str], int] = {}
    batches = windows.batches(0, BATCH)
    for number, keys in enumerate(batches):
        batch = windows.collate([windows[cast("Unit", key)] for key in keys])
        for first in range(0, len(batch), BATCH):
            part = batch.part(first, first + BATCH)
            with torch.inference_mode():
                found = network.decide(network.encode(Windows(*part.inputs), look))
            logits = (found.logits[:, 1] - found.logits[:, 0]).tolist()
            judged = (found.has_video | found.has_audio).tolist()
            for origin, logit, counts in zip(part.origins, logits, judged, strict=True):
                if counts:
                    key = (origin.clip, origin.kind)
                    sums.setdefault(key, []).append(logit)
                    labels[key] = origin.label
        if hook is not None:
            hook("calibrate", number + 1, len(batches))
    return Clips(
        np.array([np.mean(values) for values in sums.values()]),
        np.array([labels[key] for key in sums], np.int64),
        sum(bool(kind) for _, kind in sums),
    )


def _windows(
    clips: PreparedSet,
    chosen: list[int],
    network: ContractNetwork,
    info: CheckpointInfo,
    recipe: Recipe,
) -> WindowSet:
    making = None
    if recipe.kinds:
        from aura.training.augment import augment  # noqa: PLC0415
        from aura.training.pairs import applicable, make_control, make_pair  # noqa: PLC0415

        making = Making(applicable, make_pair, make_control, augment)
    seed = int(info.training.get("seed", 0))
    return WindowSet(clips, chosen, network.config, recipe, seed=seed, making=making)


def _figures(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    return {
        "nll": round(negative_log_likelihood(scores, labels), 4),
        "ece": round(expected_calibration_error(scores, labels), 4),
    }


def place_of(run: Path) -> Path:
    """Where a run's calibration lies; that of a checkpoint lies beside it."""
    return (run.parent if run.name in {BEST, LATEST} else run) / CALIBRATION


def read_calibration(run: Path, weights_sha256: str) -> dict[str, Any]:
    """The calibration of these weights.

    Raises:
        UsageError: there is none, or it belongs to other weights. WeightsError: damaged, or of a
            newer format.
    """
    path = place_of(run)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{run} is not calibrated: run `aura calibrate {run} PREPARED` first, or export it "
            "--uncalibrated"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read ({error}); calibrate again") from None
    fits = False
    with contextlib.suppress(TypeError, KeyError, AttributeError, ValueError):
        if isinstance(raw["format"], int) and raw["format"] > FORMAT:
            raise WeightsError(
                f"{path} has format {raw['format']}, this version reads up to {FORMAT}: upgrade "
                "aura-veracity"
            )
        fits = float(raw["temperature"]) > 0 and np.isfinite(float(raw["bias"]))
    if not fits:
        raise WeightsError(f"{path} is no calibration; calibrate again")
    if raw.get("weights_sha256") != weights_sha256:
        raise UsageError(
            f"{path} belongs to other weights than the checkpoint of {run} has now; run `aura "
            "calibrate` again"
        )
    return dict(raw)
