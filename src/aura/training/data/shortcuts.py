"""Can real and fake be told apart without looking or listening? Then the data set leaks.

The classifier is the one of `aura.metadata_baseline`, with two more features: the silence that a
clip begins with and how visible its codec's blocks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aura.metadata_baseline import (
    FEATURE_NAMES,
    FOLDS,
    metadata_features,
    out_of_fold_scores,
)
from aura.metrics import Estimate, auc, auc_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.training.data.looks import Look

NAMES = (*FEATURE_NAMES, "leading silence", "blockiness")
TOGETHER = "all together"
NEAR_CHANCE = 0.6  # an AUC that need not worry anybody
# With few clips an interval alone cries wolf, so an AUC must also be this many standard errors of
# Mann-Whitney's U away from chance: p < 0.01 for the one classifier, p < 0.0005 for each of the
# thirteen features.
TOGETHER_STANDS_OUT = 2.6
FEATURE_STANDS_OUT = 3.5
MIN_CLIPS = 10  # of each class; with fewer the intervals say nothing


@dataclass(frozen=True)
class Shortcut:
    """How well one figure, or all together, separates the classes: AUC, and whether it leaks.

    A single feature's AUC is turned so that it is at least 0.5; it has an interval only where it
    stands out.
    """

    name: str
    auc: Estimate
    leaks: bool


def find_shortcuts(
    looks: Sequence[Look], labels: Sequence[int], groups: Sequence[str]
) -> list[Shortcut]:
    """The trivial classifier, then each feature, the worst first.

    Args:
        looks: of N clips. labels: 1 = fake. groups: clips that share content.

    Returns:
        empty with fewer than `MIN_CLIPS` of a class.
    """
    y = np.asarray(labels)
    if min((y == 0).sum(), (y == 1).sum()) < MIN_CLIPS:
        return []
    table = np.array(
        [[*metadata_features(one.info), one.leading_silence, one.blockiness] for one in looks]
    )
    chance_error = float(np.sqrt((len(y) + 1) / (12 * (y == 0).sum() * (y == 1).sum())))
    scores = out_of_fold_scores(table, labels, group_folds(labels, groups))
    estimate = auc_interval(labels, scores, groups)
    clear = estimate.value - 0.5 > TOGETHER_STANDS_OUT * chance_error
    together = Shortcut(TOGETHER, estimate, clear and estimate.low > NEAR_CHANCE)
    single = [
        _single(name, labels, column, groups, FEATURE_STANDS_OUT * chance_error)
        for name, column in zip(NAMES, table.T.tolist(), strict=True)
    ]
    single.sort(key=lambda one: -one.auc.value)
    return [together, *single]


def group_folds(labels: Sequence[int], groups: Sequence[str], seed: int = 0) -> list[int]:
    """Folds that keep groups together and spread the classes evenly.

    A fake and the take that it was made of have the same container; were they in different folds,
    the one would teach the classifier to be wrong on the other, and hide a shortcut.
    """
    _, codes = np.unique(groups, return_inverse=True)
    share = np.bincount(codes, labels) / np.bincount(codes)
    order = np.lexsort((np.random.default_rng(seed).random(len(share)), share))
    fold_of = np.empty(len(share), int)
    fold_of[order] = np.arange(len(share)) % FOLDS
    return [int(fold) for fold in fold_of[codes]]


def _single(
    name: str,
    labels: Sequence[int],
    column: Sequence[float],
    groups: Sequence[str],
    stands_out: float,
) -> Shortcut:
    """One feature; `stands_out` is how far from 0.5 an AUC must be to be looked at closely."""
    values = np.asarray(column)
    value = auc(labels, values)
    if value < 0.5:
        values, value = -values, 1 - value
    if value - 0.5 <= stands_out:
        return Shortcut(name, Estimate(value, float("nan"), float("nan")), leaks=False)
    estimate = auc_interval(labels, values, groups)
    return Shortcut(name, estimate, estimate.low > NEAR_CHANCE)
