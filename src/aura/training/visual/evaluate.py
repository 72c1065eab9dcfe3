"""Held-out people: how well blends and drawn faces are told apart, under which treatment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.runtime import OpenVinoSession
from aura.training.intervals import auc_entry
from aura.training.visual import clips
from aura.training.visual.crops import load
from aura.training.visual.export import read_network
from aura.training.visual.loop import export_front, predict
from aura.training.visual.network import HEADS
from aura.training.visual.pairs import heldout_blends, heldout_generated, heldout_redrawn
from aura.training.visual.redrawn import Generators

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

PAIRS = 300
VIEWS = 4  # treatments of each held-out portrait


def evaluate(run: Path, folder: Path, out: Path, videos: Path | None = None) -> dict[str, Any]:
    """Measure on the dev split (people never trained on) and write the figures as JSON.

    The treatment is drawn with other seeds than in training. `videos`: labelled clips, of whose
    real ones fakes are made as well, see `clips.measure`.
    """
    crops = load(folder)
    network = read_network(run)
    front = OpenVinoSession(export_front(folder / "front.onnx"), threads=1)

    def logits(images: Image, column: int) -> NDArray[np.float32]:
        return predict(network.tails[HEADS[column]], images, front)

    generators = Generators(folder, heldout=True)
    result: dict[str, Any] = {
        "command": "python -m aura.training.visual evaluate",
        "note": "people of the dev split; 'treated': codecs, scaling and noise as in training, "
        "'as photographed': none of them. Intervals resample photos, or clips.",
    }
    for treated in (False, True):
        how = "treated" if treated else "as photographed"
        for name, other in (("self-blends", 0.0), ("blends of two people", 1.0)):
            images = heldout_blends(crops, PAIRS, seed=11, other_share=other, treated=treated)
            scores = logits(images, 0)
            labels = np.arange(len(scores)) % 2
            result[f"visual_blend: {name}, {how}"] = auc_entry(
                labels, scores, np.arange(len(scores)) // 2
            )
        for whole, column, name in (
            (False, 0, "visual_blend: faces drawn by generators left out of training"),
            (True, 1, "visual_generated: whole pictures drawn by generators left out of training"),
        ):
            images = heldout_redrawn(
                crops, generators, PAIRS, seed=13, whole=whole, treated=treated
            )
            scores = logits(images, column)
            labels = np.arange(len(scores)) % 2
            result[f"{name}, {how}"] = auc_entry(labels, scores, np.arange(len(scores)) // 2)
        views = VIEWS if treated else 1
        images, labels = heldout_generated(crops, views, seed=12, treated=treated)
        scores = logits(images, 1)
        result[f"visual_generated: StyleGAN2 portraits against photos, {how}"] = auc_entry(
            labels, scores, np.arange(len(labels)) // views
        )
    if videos is not None:
        result |= clips.measure(logits, videos, generators)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result
