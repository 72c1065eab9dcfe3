"""Held-out people: how well blends and generated faces are told apart, under which treatment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.training.intervals import auc_entry
from aura.training.visual.crops import load
from aura.training.visual.export import read_network
from aura.training.visual.loop import predict
from aura.training.visual.pairs import heldout_blends, heldout_generated

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = 600
VIEWS = 4  # treatments of each held-out portrait


def evaluate(run: Path, folder: Path, out: Path) -> dict[str, Any]:
    """Measure on the dev split (people never trained on) and write the figures as JSON.

    Pictures are treated as in training (codec, scale, noise), seeds differ from training's.
    """
    crops = load(folder)
    network = read_network(run)
    result: dict[str, Any] = {"command": "python -m aura.training.visual evaluate"}
    for name, other in (("self_blends", 0.0), ("blends_of_two_people", 1.0)):
        scores = predict(network, heldout_blends(crops, PAIRS, seed=11, other_share=other))[:, 0]
        labels = np.arange(len(scores)) % 2
        result[f"visual_blend, {name} of held-out identities"] = auc_entry(
            labels, scores, np.arange(len(scores)) // 2
        )
    images, labels = heldout_generated(crops, VIEWS, seed=12)
    scores = predict(network, images)[:, 1]
    result["visual_generated, held-out StyleGAN2 against FFHQ photos"] = auc_entry(
        labels, scores, np.arange(len(labels)) // VIEWS
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result
