"""Metrics against scikit-learn, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest

from aura.metadata_baseline import mixed_folds, out_of_fold_scores
from aura.metrics import auc, auc_interval, share_interval, tpr_at_fpr

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'train'")


@pytest.mark.parametrize("seed", range(5))
def test_auc_agrees_with_scikit_learn_with_ties(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 60)
    scores = np.round(random.normal(labels * 0.5, 1), 1)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))


@pytest.mark.parametrize("seed", range(5))
def test_tpr_at_fpr_agrees_with_the_roc_curve(seed):
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 40)
    scores = random.normal(labels, 1)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert tpr_at_fpr(labels, scores, 0.05) == pytest.approx(tpr[fpr <= 0.05].max())


def test_a_missing_class_gives_no_figure():
    assert np.isnan(auc([1, 1], [0.2, 0.3]))
    assert np.isnan(auc_interval([0, 0], [0.2, 0.3]).low)
    assert np.isnan(tpr_at_fpr([0, 0], [0.2, 0.3], 0.05))


def test_intervals_hold_the_value_and_widen_when_files_come_in_groups():
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 60)
    scores = random.normal(labels * 0.8, 1)
    alone = auc_interval(labels, scores)
    copies = auc_interval(np.tile(labels, 4), np.tile(scores, 4), np.tile(np.arange(120), 4))
    naive = auc_interval(np.tile(labels, 4), np.tile(scores, 4))
    assert alone.low < alone.value < alone.high
    assert copies.high - copies.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert naive.high - naive.low < 0.7 * (copies.high - copies.low)


def test_wilson_interval_against_a_worked_example():
    # 15 of 148, from Wilson's interval as given by R's prop.test(correct = FALSE).
    estimate = share_interval(15, 148)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.0624, 0.1605)


def test_metadata_baseline_finds_a_bit_rate_shortcut_but_not_across_sources():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    shortcut = np.column_stack([random.normal(labels * 3, 1), random.normal(0, 1, 80)])
    mixed = out_of_fold_scores(shortcut, labels, mixed_folds(labels.tolist()))
    assert auc(labels, mixed) > 0.95
    # One feature names the source; within each source it tells nothing about the label.
    sources = np.tile(np.arange(8), 10)
    labels = np.array([(s + i // 8) % 4 == 0 for i, s in enumerate(sources)], int)
    by_source = out_of_fold_scores(random.normal(0, 1, (80, 2)), labels, sources)
    assert 0.2 < auc(labels, by_source) < 0.75
