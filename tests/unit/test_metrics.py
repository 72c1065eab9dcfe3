"""Metrics against scikit-learn and written-out references, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest

from aura.calibration import brier_score, expected_calibration_error
from aura.evaluation.localisation import localisation_ap, overlap
from aura.evaluation.trust import reliability, risk_coverage
from aura.metadata_baseline import mixed_folds, out_of_fold_scores
from aura.metrics import (
    Confusion,
    Curve,
    Ranking,
    auc,
    auc_interval,
    average_precision,
    equal_error_rate,
    fpr_at_tpr,
    share_interval,
    tpr_at_fpr,
)

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'train'")

SEEDS = range(6)


def made_up(seed, count=80, ties=True):
    """Labels and P(fake), many of them equal."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    scores = 1 / (1 + np.exp(-random.normal(labels - 0.5, 1.2)))
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("seed", SEEDS)
def test_areas_agree_with_scikit_learn_with_ties(seed):
    labels, scores = made_up(seed)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    expected = metrics.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_curve_points_agree_with_scikit_learn_with_ties(seed):
    labels, scores = made_up(seed)
    curve = Curve.of(labels, scores)
    fpr, tpr, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr[1:])
    np.testing.assert_allclose(curve.tpr, tpr[1:])
    np.testing.assert_allclose(curve.thresholds, thresholds[1:])
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.precision, precision[-2::-1])
    np.testing.assert_allclose(curve.tpr, recall[-2::-1])


@pytest.mark.parametrize("seed", SEEDS)
def test_rates_agree_with_the_roc_curve(seed):
    labels, scores = made_up(seed, 200)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert tpr_at_fpr(labels, scores, 0.05) == pytest.approx(tpr[fpr <= 0.05].max())
    assert fpr_at_tpr(labels, scores, 0.95) == pytest.approx(fpr[tpr >= 0.95].min())


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_error_rate_agrees_with_a_root_search_on_the_roc_curve(seed):
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is in the extra 'train'")
    labels, scores = made_up(seed, 150, ties=seed % 2 == 0)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    # On the ROC polyline, walked by its length so that vertical parts are no trouble.
    way = np.r_[0, np.cumsum(np.hypot(np.diff(fpr), np.diff(tpr)))]
    place = optimize.brentq(
        lambda t: np.interp(t, way, fpr) - 1 + np.interp(t, way, tpr), 0, way[-1], xtol=1e-14
    )
    assert equal_error_rate(labels, scores) == pytest.approx(np.interp(place, way, fpr))


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_at_a_threshold_agree_with_scikit_learn(seed):
    labels, scores = made_up(seed)
    called = (scores >= 0.5).astype(int)
    cut = Confusion.of(labels, scores)
    assert cut.accuracy == pytest.approx(metrics.accuracy_score(labels, called))
    assert cut.precision == pytest.approx(metrics.precision_score(labels, called))
    assert cut.recall == pytest.approx(metrics.recall_score(labels, called))
    assert cut.f1 == pytest.approx(metrics.f1_score(labels, called))
    table = metrics.confusion_matrix(labels, called)
    assert [[cut.passed, cut.alarms], [cut.missed, cut.found]] == table.tolist()
    assert brier_score(scores, labels) == pytest.approx(metrics.brier_score_loss(labels, scores))


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_count_an_entry_as_often_as_they_say(seed):
    labels, scores = made_up(seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(labels))
    curve = Ranking(labels, scores).curve(weights.astype(float))
    many, several = np.repeat(labels, weights), np.repeat(scores, weights)
    assert curve.auc == pytest.approx(metrics.roc_auc_score(many, several))
    assert curve.average_precision == pytest.approx(metrics.average_precision_score(many, several))
    assert curve.equal_error_rate == pytest.approx(equal_error_rate(many, several))
    assert curve.tpr_at(0.1) == pytest.approx(tpr_at_fpr(many, several, 0.1))
    bins = reliability(labels, scores, weights.astype(float))
    assert bins.error == pytest.approx(expected_calibration_error(several, many))


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_error_agrees_with_a_written_out_reference(seed):
    labels, scores = made_up(seed, ties=False)
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (scores >= low) & (scores < low + 0.1)
        if inside.any():
            gap = abs(scores[inside].mean() - labels[inside].mean())
            expected += inside.sum() / len(labels) * gap
    assert reliability(labels, scores).error == pytest.approx(expected)
    assert expected_calibration_error(scores, labels) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_risk_against_coverage_agrees_with_a_written_out_reference(seed):
    labels, scores = made_up(seed, ties=False)
    order = sorted(range(len(labels)), key=lambda i: -max(scores[i], 1 - scores[i]))
    wrong = [(scores[i] >= 0.5) != labels[i] for i in order]
    risks = [sum(wrong[: n + 1]) / (n + 1) for n in range(len(wrong))]
    curve = risk_coverage(labels, scores)
    np.testing.assert_allclose(curve.risk, risks)
    np.testing.assert_allclose(curve.coverage, np.arange(1, len(labels) + 1) / len(labels))
    assert curve.area == pytest.approx(np.mean(risks))


def test_a_model_that_is_surest_where_it_is_right_has_less_area_than_one_that_is_not():
    good = risk_coverage([1, 1, 0, 0], [0.99, 0.9, 0.1, 0.6])
    bad = risk_coverage([1, 1, 0, 0], [0.8, 0.9, 0.1, 0.99])
    assert good.risk[-1] == bad.risk[-1] == 0.25
    assert good.area < bad.area


def test_order_among_equally_sure_entries_changes_nothing():
    one = risk_coverage([1, 0, 1], [0.9, 0.9, 0.9])
    other = risk_coverage([0, 1, 1], [0.9, 0.9, 0.9])
    assert one.area == other.area == pytest.approx(1 / 3)


def test_overlap_of_stretches():
    assert overlap((0, 1), (2, 3)) == 0
    assert overlap((0, 4), (1, 3)) == 0.5
    assert overlap((0, 1), (0, 1)) == 1


def reference_ap(found, true, threshold):
    """As the definition reads: pool, sort, match greedily, then the interpolated precision."""
    pool = sorted(
        (
            (score, clip, (start, end))
            for clip, one in enumerate(found)
            for start, end, score in one
        ),
        key=lambda entry: -entry[0],
    )
    taken, hits = set(), []
    for _, clip, stretch in pool:
        rated = [
            (overlap(stretch, one), number)
            for number, one in enumerate(true[clip])
            if (clip, number) not in taken
        ]
        best = max(rated, default=(0, None))
        hits.append(best[0] >= threshold)
        if hits[-1]:
            taken.add((clip, best[1]))
    total, area, recall_before = sum(map(len, true)), 0.0, 0.0
    for rank in range(1, len(hits) + 1):
        recall = sum(hits[:rank]) / total
        best_later = max(sum(hits[:n]) / n for n in range(rank, len(hits) + 1))
        area += (recall - recall_before) * best_later
        recall_before = recall
    return area


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.95])
def test_localisation_agrees_with_a_written_out_reference(seed, threshold):
    random = np.random.default_rng(seed)
    true, found = [], []
    for _ in range(12):
        starts = np.sort(random.uniform(0, 20, 2)) + np.array([0, 3])
        true.append([(float(s), float(s + 2)) for s in starts])
        near = [(s + random.normal(0, 0.3), e + random.normal(0, 0.3)) for s, e in true[-1]]
        near += [(float(x), float(x + 1)) for x in random.uniform(0, 20, 2)]
        found.append([(float(s), float(e), float(random.uniform())) for s, e in near])
    expected = reference_ap(found, true, threshold)
    assert localisation_ap(found, true, threshold) == pytest.approx(expected)


def test_a_second_find_of_one_stretch_and_a_find_in_a_real_clip_are_wrong():
    one = [(0.0, 1.0)]
    assert localisation_ap([[(0, 1, 0.9), (0, 1, 0.8)]], [one], 0.5) == 1.0
    assert localisation_ap([[(0, 1, 0.8)], [(0, 1, 0.9)]], [one, []], 0.5) == 0.5
    assert localisation_ap([[]], [one], 0.5) == 0.0
    assert np.isnan(localisation_ap([[(0, 1, 0.8)]], [[]], 0.5))


def test_a_missing_class_gives_no_figure():
    assert np.isnan(auc([1, 1], [0.2, 0.3]))
    assert np.isnan(auc_interval([0, 0], [0.2, 0.3]).low)
    for figure in (average_precision, equal_error_rate):
        assert np.isnan(figure([0, 0], [0.2, 0.3]))
    assert np.isnan(tpr_at_fpr([0, 0], [0.2, 0.3], 0.05))
    assert np.isnan(auc([], []))


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
