"""How well synthetic voices are told from real ones when generator and speaker are both new.

Every score comes from a fit that saw neither the speaker nor the generator: once with whole
families of generators left out, once with a whole source left out. The clip's score is the mean
over its seconds of speech.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from aura.metrics import equal_error_rate
from aura.training.audio.baselines import gmm_scores, lfcc, trivial
from aura.training.audio.fit import REAL, Sounds, fit, folds_of_voices, load
from aura.training.audio.prepare import CLEAN, CONDITIONS, WORN
from aura.training.audio.sounds import FAMILIES, Recording, read_samples, recordings
from aura.training.intervals import auc_entry, share_entry
from aura.training.lite.certainty import threshold

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    # Scores of the rows of the second mask by a fit on those of the first.
    Scorer = Callable[[Mask, Mask], Floats]

MEASURED = (CLEAN, *CONDITIONS)


@dataclass(frozen=True)
class HeldOut:
    """Scores (families, n) of every row by fits without its voice and that family; nan elsewhere.

    Row f holds the fakes of family f and the real recordings.
    """

    sounds: Sounds
    scores: Floats

    def rows(self, family: int, condition: str) -> NDArray[np.intp]:
        """Rows with a score."""
        known = ~np.isnan(self.scores[family]) & (self.sounds.condition == condition)
        return np.flatnonzero(known)


def held_out(sounds: Sounds, folds: dict[str, int], scorer: Scorer) -> HeldOut:
    """Leave out each family and each fold of voices."""
    fold = np.array([folds[voice] for voice in sounds.voice])
    scores = np.full((len(FAMILIES), len(fold)), np.nan)
    for family in range(len(FAMILIES)):
        tested = ~sounds.remade & np.isin(sounds.family, (family, REAL))
        for one in sorted(set(folds.values())):
            mine = tested & (fold == one)
            scores[family, mine] = scorer(
                sounds.to_learn() & (sounds.family != family) & (fold != one), mine
            )
    return HeldOut(sounds, scores)


def areas(found: HeldOut, condition: str) -> dict[str, Any]:
    """AUC by family and their mean, EER, pairs, and within the fakes' own sources."""
    sounds = found.sounds
    by_family: dict[str, Any] = {}
    for index, family in enumerate(FAMILIES):
        rows = found.rows(index, condition)
        labels, scores = sounds.label[rows], found.scores[index, rows]
        real = {
            group: score
            for group, score, label in zip(sounds.group[rows], scores, labels, strict=True)
            if not label
        }
        pairs = [
            score > real[group]
            for group, score, label in zip(sounds.group[rows], scores, labels, strict=True)
            if label and group in real
        ]
        near = np.isin(sounds.source[rows], sounds.source[rows][labels == 1])
        by_family[family] = {
            **auc_entry(labels, scores, sounds.voice[rows]),
            "fakes": int(labels.sum()),
            "eer": round(equal_error_rate(labels, scores), 3),
            "auc_within_the_sources_of_the_fakes": auc_entry(
                labels[near], scores[near], sounds.voice[rows][near]
            ),
            "fake above its own original": share_entry(pairs),
        }
    return {
        "mean_auc_of_families": round(
            float(np.mean([entry["auc"] for entry in by_family.values()])), 3
        ),
        "all families together": pooled(found, condition),
        "families": by_family,
    }


def pooled(found: HeldOut, condition: str) -> dict[str, Any]:
    """Each fake by the fit without its family; each real by the mean of the fits."""
    labels, scores, rows = one_score(found, condition)
    return {
        **auc_entry(labels, scores, found.sounds.voice[rows]),
        "eer": round(equal_error_rate(labels, scores), 3),
    }


def one_score(found: HeldOut, condition: str) -> tuple[NDArray[np.int64], Floats, NDArray[Any]]:
    """Labels, scores and rows of one condition."""
    rows = np.unique(np.concatenate([found.rows(f, condition) for f in range(len(FAMILIES))]))
    return found.sounds.label[rows], np.nanmean(found.scores[:, rows], axis=0), rows


def by_second(
    sounds: Sounds, seconds: Sounds, folds: dict[str, int], config: dict[str, Any]
) -> dict[str, Any]:
    """AUC of single seconds of speech, each by fits without its voice and that family."""
    fold = {
        name: np.array([folds[voice] for voice in rows.voice])
        for name, rows in (("learn", sounds), ("test", seconds))
    }
    scores = np.full((len(FAMILIES), len(seconds.label)), np.nan)
    for family in range(len(FAMILIES)):
        tested = ~seconds.remade & np.isin(seconds.family, (family, REAL))
        for one in sorted(set(folds.values())):
            mine = tested & (fold["test"] == one)
            learned = sounds.to_learn() & (sounds.family != family) & (fold["learn"] != one)
            scores[family, mine] = fit(sounds, learned, config)(seconds.values[mine])
    return pooled(HeldOut(seconds, scores), CLEAN)


def without_source(sounds: Sounds, config: dict[str, Any]) -> dict[str, Any]:
    """AUC within each source that has both kinds, by fits without it and without its voices."""
    result = {}
    learn, clean = sounds.to_learn(), sounds.condition == CLEAN
    for source in sorted(set(sounds.source[sounds.family != REAL])):
        mine = sounds.source == source
        tested = mine & clean & ~sounds.remade
        rest = learn & ~mine & ~np.isin(sounds.voice, sounds.voice[mine])
        families = np.unique(sounds.family[tested & (sounds.family != REAL)])
        unknown = rest & ~np.isin(sounds.family, families)
        entry = {}
        for name, chosen in (("source", rest), ("source and its families", unknown)):
            if len(set(sounds.label[chosen])) == 2:
                scores = fit(sounds, chosen, config)(sounds.values[tested])
                entry[name] = auc_entry(sounds.label[tested], scores, sounds.group[tested])
        result[source] = entry
    return result


def calibration(found: HeldOut, prior_real: float) -> dict[str, float]:
    """Slope and bias of logit P(synthetic) against the held-out score, clean and coded."""
    parts = [one_score(found, condition) for condition in MEASURED]
    labels = np.concatenate([part[0] for part in parts])
    scores = np.concatenate([part[1] for part in parts])
    model = LogisticRegression(C=10.0, class_weight="balanced").fit(scores[:, None], labels)
    bias = float(model.intercept_[0] + np.log((1 - prior_real) / prior_real))
    return {"slope": round(float(model.coef_[0, 0]), 4), "bias": round(bias, 4)}


def at_threshold(found: HeldOut, folds: dict[str, int], false_alarms: float) -> dict[str, Any]:
    """Shares called synthetic by condition, and of the real ones by source.

    Each voice is called by a threshold that was set without it and the others of its fold.
    """
    fold = np.array([folds[voice] for voice in found.sounds.voice])
    edges = {one: _edge(found, false_alarms, fold != one) for one in np.unique(fold)}
    result: dict[str, Any] = {}
    for condition in MEASURED:
        labels, scores, rows = one_score(found, condition)
        called = scores > np.array([edges[one] for one in fold[rows]])
        result[condition] = {
            "real called synthetic": share_entry(called[labels == 0]),
            "synthetic found": share_entry(called[labels == 1]),
        }
        if condition == CLEAN:
            source = found.sounds.source[rows]
            result["real called synthetic by source, clean"] = {
                name: share_entry(called[(labels == 0) & (source == name)])
                for name in sorted(set(source[labels == 0]))
            }
    return result


def evaluate(data: Path, out: Path, config: dict[str, Any]) -> dict[str, Any]:
    """All figures of the card and the calibration."""
    found = recordings(data)
    sounds = load(out, found, (CLEAN, WORN, *CONDITIONS))
    folds = folds_of_voices(found, config["voice_folds"])

    def linear(learned: Mask, tested: Mask) -> Floats:
        return fit(sounds, learned, config)(sounds.values[tested])

    ours = held_out(sounds, folds, linear)
    clip = calibration(ours, config["prior_real"])
    everywhere = np.ones(len(sounds.label), bool)
    edge = _edge(ours, config["false_alarms"], everywhere)
    clip["bias"] = math.floor(-clip["slope"] * edge * 1e4) / 1e4
    return {
        "parameters": {"clip": clip},
        "data": sorted({f"{one.source} ({one.licence})" for one in found}),
        "metrics": {
            "note": "label 1 = synthetic; each score by a fit that saw neither the family of the "
            "generator nor the voice; 95 % intervals by bootstrap over voices, over recordings "
            "where a source is left out; aac at 96 kb/s, opus at 24 kb/s, phone = mu-law, 8 kHz; "
            "'at the threshold': by thresholds set without the voice",
            "held-out families and voices": {name: areas(ours, name) for name in MEASURED},
            "single seconds of held-out families and voices, clean": by_second(
                sounds, load(out, found, (CLEAN,), seconds=True), folds, config
            ),
            "held-out sources, clean": without_source(sounds, config),
            "at the threshold": at_threshold(ours, folds, config["false_alarms"]),
            "baselines on the same folds, clean": baselines(data, found, sounds, folds),
        },
    }


def _edge(found: HeldOut, false_alarms: float, known: Mask) -> float:
    """The score that the next real recording passes with at most this chance, under each condition.

    Args:
        known: (n,) rows that the threshold may be set with.
    """
    edges = []
    for condition in MEASURED:
        labels, scores, rows = one_score(found, condition)
        real = scores[(labels == 0) & known[rows]]
        edges.append(threshold(real.tolist(), false_alarms)[0])
    return max(edges)


def baselines(
    data: Path, found: list[Recording], sounds: Sounds, folds: dict[str, int]
) -> dict[str, Any]:
    """LFCC-GMM, and logistic regression on what no voice is needed for."""
    heard = [read_samples(data / one.path) for one in found]
    frames = [lfcc(samples) for samples in heard]
    plain = np.stack([trivial(samples) for samples in heard]).astype(np.float64)
    recording, clean = sounds.recording, (sounds.condition == CLEAN) & ~sounds.remade

    def mixture(learned: Mask, tested: Mask) -> Floats:
        chosen = np.flatnonzero(learned & clean)
        real, fake = (
            [frames[recording[row]] for row in chosen if sounds.label[row] == label]
            for label in (0, 1)
        )
        result = np.full(int(tested.sum()), np.nan)
        rows = np.flatnonzero(tested)
        mine = clean[rows]
        result[mine] = gmm_scores(real, fake, [frames[recording[row]] for row in rows[mine]])
        return result

    def control(learned: Mask, tested: Mask) -> Floats:
        chosen = learned & clean
        values = plain[recording]
        mean, spread = values[chosen].mean(axis=0), values[chosen].std(axis=0) + 1e-6
        model = LogisticRegression(max_iter=500).fit(
            (values[chosen] - mean) / spread, sounds.label[chosen]
        )
        return np.asarray(model.decision_function((values[tested] - mean) / spread))

    return {
        name: areas(held_out(sounds, folds, scorer), CLEAN)
        for name, scorer in (("LFCC-GMM", mixture), ("length, level, silence, band", control))
    }
