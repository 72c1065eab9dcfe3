"""Held-out people: how well blends and drawn faces are told apart, under which treatment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aura.runtime import OpenVinoSession
from aura.training.intervals import auc_entry, gain_entry
from aura.training.visual import clips
from aura.training.visual.bank import FACE, MOVED, WHOLE
from aura.training.visual.crops import load
from aura.training.visual.export import converted
from aura.training.visual.network import HEADS
from aura.training.visual.pairs import heldout_blends, heldout_generated, heldout_redrawn
from aura.training.visual.redrawn import Generators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.visual.crops import Crops

    Image = NDArray[np.uint8]
    Logits = Callable[[Image], NDArray[np.float32]]

PAIRS = 80  # in each set: generators take their time on a CPU
VIEWS = 4  # treatments of each held-out portrait
BATCH = 8


class Pictures(NamedTuple):
    """A set to measure on: `images` (N, 224, 224, 3), `labels` and `groups` (N,), and whose head
    it is for.
    """

    title: str
    head: int
    images: Image
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]


def evaluate(
    run: Path, folder: Path, out: Path, videos: Path | None = None, against: Path | None = None
) -> dict[str, Any]:
    """Measure on the dev split (people never trained on) and write the figures as JSON.

    The treatment is drawn with other seeds than in training.

    Args:
        run: a network's folder, with the file that `convert` wrote: that is judged.
        folder: what `prepare` and `generators` wrote.
        out: the JSON file to write. videos: labelled clips, of whose real ones fakes are made as
            well, see `clips.py`. against: an ONNX file to compare with, on the same pictures.
    """
    judges: list[Logits] = [_onnx(converted(run))]
    if against is not None:
        judges.append(_onnx(against))
    generators = Generators(folder)
    result: dict[str, Any] = {
        "command": f"python -m aura.training.visual evaluate --out RUNS --network {run.name} "
        "--clips CLIPS",
        "note": "people of the dev split; 'treated': codecs, scaling and noise, 'worn': the "
        "harshest of them (H.264 at CRF 34 to 44, coded twice, or both), 'as photographed': none. "
        "Intervals resample photos, or clips. 'before' and 'gain' (with the interval of the "
        "paired bootstrap) compare with the weights shipped before, on the same pictures.",
    }
    for pictures in _sets(load(folder), generators):
        scores = [judge(pictures.images)[:, pictures.head] for judge in judges]
        title = f"visual_{HEADS[pictures.head]}: {pictures.title}"
        result[title] = _entry(pictures.labels, scores, pictures.groups)
    if videos is not None:
        made = clips.make_clips(videos, generators)
        count = len(made.names)
        labels, groups = np.repeat([0, 1], count), np.tile(np.arange(count), 2)
        found = [clips.clip_scores(judge, made) for judge in judges]
        for kind in made.made:
            title = f"visual_{HEADS[made.head[kind]]}: real clips against {kind}"
            result[title] = _entry(labels, [scores[kind] for scores in found], groups)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _entry(
    labels: NDArray[Any], scores: list[NDArray[Any]], groups: NDArray[Any]
) -> dict[str, Any]:
    entry = auc_entry(labels, scores[0], groups)
    if len(scores) > 1:
        entry |= gain_entry(labels, scores[1], scores[0], groups)
    return entry


def _onnx(path: Path) -> Logits:
    session = OpenVinoSession(path)

    def logits(images: Image) -> NDArray[np.float32]:
        parts = [
            session.run({"images": images[i : i + BATCH].transpose(0, 3, 1, 2).astype(np.float32)})
            for i in range(0, len(images), BATCH)
        ]
        return np.concatenate([part["logits"] for part in parts])

    return logits


def _sets(crops: Crops, generators: Generators) -> Iterator[Pictures]:
    """Every set, one after the other: together they would not fit a small machine."""
    images = heldout_blends(crops, PAIRS, seed=11, treated=False)
    yield _paired("self-blends, as photographed", 0, images)
    for name, other in (("self-blends", 0.0), ("blends of two people", 1.0)):
        images = heldout_blends(crops, PAIRS, seed=11, other_share=other)
        yield _paired(f"{name}, treated", 0, images)
    images = heldout_blends(crops, PAIRS, seed=11, worn=1.0)
    yield _paired("self-blends, worn", 0, images)
    for kind, head, name in (
        (FACE, 0, "faces drawn by generators left out of training"),
        (WHOLE, 1, "whole pictures drawn by generators left out of training"),
        (MOVED, 1, "pictures moved and drawn by generators left out of training"),
    ):
        images = heldout_redrawn(crops, generators, PAIRS, seed=13, kind=kind)
        yield _paired(f"{name}, treated", head, images)
    images, labels = heldout_generated(crops, VIEWS, seed=12)
    title = "StyleGAN2 portraits against photos, treated"
    yield Pictures(title, 1, images, labels, np.arange(len(labels)) // VIEWS)


def _paired(title: str, head: int, images: Image) -> Pictures:
    numbers = np.arange(len(images))
    return Pictures(title, head, images, numbers % 2, numbers // 2)
