"""How well made and found fakes are told from real clips of people that no fit knew.

Every score comes from a fit without the clip's people. Fakes made here are judged by kind and by
rate factor against controls of the same; fakes by others are judged against whole real clips, and
nothing, neither weights nor calibration, was fitted on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from aura.evaluation.clips import family_of, labelled_clips
from aura.training.intervals import auc_entry, share_entry
from aura.training.temporal.fakes import CONTROLS, KINDS
from aura.training.temporal.fit import Windows, fit, load
from aura.training.temporal.prepare import CRFS, WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

NOTE = (
    "label 1 = fake. By clip, mean over its windows of 2 s; every score by a fit without the "
    "clip's people (or whole source); made fakes and their controls (the same pictures as they "
    "were, and softened) coded as H.264 at CRF 23, 32 or 40; fakes by others against whole real "
    "clips, nothing fitted on them; 95 % intervals by bootstrap over people"
)
FALSE_ALARMS = 0.05


def evaluate(data: Path, out: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of the card, the calibration and the data, from cross-fitted scores."""
    rows = load(data, out)
    methods = {clip.path.stem: clip.method for clip in labelled_clips(data / "clips" / "dev")}
    items, scores = by_item(rows, held_out(rows, rows.group, config))
    _, strict = by_item(rows, held_out(rows, rows.source, config))
    clip = calibration(items, scores, config)
    own, other = (clip["slope"] * one + clip["bias"] for one in (scores, strict))
    real = rows.clip[(rows.label == 0) & (rows.kind == WHOLE)]
    made = np.isin(rows.kind, KINDS)
    return {
        "parameters": {"clip": clip, "share": config["share_of_fakes"]},
        "data": f"{len(set(real))} real clips for tuning, {len(set(rows.item[made]))} fakes made "
        f"of {len(set(rows.clip[made]))} of them; photos of LFW and FFHQ",
        "metrics": {
            "note": NOTE,
            "made fakes, people held out": kinds_table(items, scores),
            "made fakes, whole source held out": kinds_table(items, strict),
            "made fakes, people and the kind held out": without_kinds(rows, config),
            "fakes by others, people held out": found_table(items, scores, methods),
            "above one half, people held out": at_threshold(items, own),
            "above one half, whole source held out": at_threshold(items, other),
        },
    }


def held_out(rows: Windows, by: NDArray[np.str_], config: Mapping[str, Any]) -> Floats:
    """Scores of all windows, each by a fit on made fakes without those that share its `by`."""
    scores = np.full(len(rows.label), np.nan)
    for name in sorted(set(by)):
        tested = by == name
        network = fit(rows, ~tested & ~rows.others, config)
        scores[tested] = network(rows.values[tested])
    return scores


def by_item(rows: Windows, scores: Floats) -> tuple[Windows, Floats]:
    """One row a clip: its mean score."""
    _, first, place = np.unique(rows.item, return_index=True, return_inverse=True)
    mean = np.bincount(place, scores) / np.bincount(place)
    return rows.take(first), mean


def kinds_table(items: Windows, scores: Floats) -> dict[str, Any]:
    """AUC of each made kind against the controls, all rates together and each alone."""
    controls = np.isin(items.kind, CONTROLS)
    table: dict[str, Any] = {}
    for kind in KINDS:
        mine = items.kind == kind
        if not mine.any():
            continue
        entry = _area(items, scores, controls | mine)
        for crf in CRFS:
            entry[f"CRF {crf}"] = _area(items, scores, (controls | mine) & (items.crf == crf))
        table[kind] = entry
    return table


def found_table(items: Windows, scores: Floats, methods: dict[str, str]) -> dict[str, Any]:
    """AUC of fakes by others against whole real clips, together and by kind of manipulation."""
    real = (items.kind == WHOLE) & (items.label == 0)
    fake = items.others
    family = np.array([family_of(1, methods.get(clip, "")) for clip in items.clip])
    table = {"all": _area(items, scores, real | fake)}
    for name in sorted(set(family[fake])):
        table[name] = _area(items, scores, real | (fake & (family == name)))
    return table


def _area(items: Windows, scores: Floats, chosen: Mask) -> dict[str, Any]:
    entry = auc_entry(items.label[chosen], scores[chosen], items.group[chosen])
    return {**entry, "fakes": int(items.label[chosen].sum())}


def without_kinds(rows: Windows, config: Mapping[str, Any]) -> dict[str, Any]:
    """AUC of each kind by fits that knew neither the kind nor the people."""
    table = {}
    for kind in config["kinds"]:
        known = {name: share for name, share in config["kinds"].items() if name != kind}
        items, mean = by_item(rows, held_out(rows, rows.group, {**config, "kinds": known}))
        table[kind] = _area(items, mean, np.isin(items.kind, (*CONTROLS, kind)))
    return table


def calibration(items: Windows, scores: Floats, config: Mapping[str, Any]) -> dict[str, float]:
    """Slope and bias of logit P(manipulated) against the held-out score.

    The slope by real clips and made fakes; the bias so that `FALSE_ALARMS` of real ones, whole
    clips and controls alike, lie above 0.
    """
    mine = ~items.others & np.isin(items.kind, (WHOLE, *CONTROLS, *config["kinds"]))
    model = LogisticRegression(C=100.0, class_weight="balanced").fit(
        scores[mine, None], items.label[mine]
    )
    slope = max(float(model.coef_[0, 0]), 0.0)
    real = mine & (items.label == 0)
    edges = [
        float(np.quantile(scores[real & (items.kind == kind)], 1 - FALSE_ALARMS))
        for kind in (WHOLE, *CONTROLS)
    ]
    return {"slope": round(slope, 4), "bias": round(-slope * max(edges), 4)}


def at_threshold(items: Windows, logits: Floats) -> dict[str, Any]:
    """How often the calibrated score passes one half."""
    alarms = logits > 0
    table = {}
    for kind in (WHOLE, *CONTROLS):
        mine = (items.kind == kind) & (items.label == 0)
        table[f"real, {kind}"] = share_entry(alarms[mine])
        if kind != WHOLE:
            for crf in CRFS:
                table[f"real, {kind}, CRF {crf}"] = share_entry(alarms[mine & (items.crf == crf)])
    for kind in KINDS:
        table[kind] = share_entry(alarms[items.kind == kind])
    table["fakes by others"] = share_entry(alarms[items.others])
    return table
