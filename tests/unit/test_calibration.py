"""Temperature scaling against a written-out search, and the measures of calibration."""

from __future__ import annotations

import numpy as np
import pytest

from aura.calibration import (
    Calibration,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    logit,
    negative_log_likelihood,
    sigmoid,
)


def overconfident_clips(count: int = 400, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true temperature is 3 and true bias -1: P(fake) = sigmoid(x / 3 - 1)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(2.0, 6.0, count)
    labels = (rng.random(count) < sigmoid(logits / 3 - 1)).astype(int)
    return logits, labels


def reference_loss(slope, offset, logits, labels, *, balanced):
    """Platt-smoothed cross-entropy, clip by clip in plain Python."""
    fakes, reals = int(sum(labels)), int(len(labels) - sum(labels))
    total = 0.0
    for x, y in zip(logits, labels, strict=True):
        p = 1 / (1 + np.exp(-(slope * x + offset)))
        t = (fakes + 1) / (fakes + 2) if y else 1 / (reals + 2)
        share = (0.5 / (fakes if y else reals)) if balanced else 1 / len(labels)
        total -= share * (t * np.log(p) + (1 - t) * np.log(1 - p))
    return total


@pytest.mark.parametrize("balanced", [True, False])
def test_fit_finds_the_minimum_of_the_written_out_loss(balanced):
    logits, labels = overconfident_clips(120)
    fitted = fit_temperature(logits, labels, balanced=balanced)
    slope, offset = 1 / fitted.temperature, fitted.bias
    best = reference_loss(slope, offset, logits, labels, balanced=balanced)
    for step in (1e-2, 1e-3):
        for d_slope, d_offset in ((step, 0), (-step, 0), (0, step), (0, -step), (step, -step)):
            nearby = reference_loss(
                slope + d_slope, offset + d_offset, logits, labels, balanced=balanced
            )
            assert nearby > best


def test_fit_recovers_the_temperature_and_bias_that_made_the_labels():
    logits, labels = overconfident_clips(20_000)
    fitted = fit_temperature(logits, labels, balanced=False)
    assert fitted.temperature == pytest.approx(3.0, rel=0.05)
    assert fitted.bias == pytest.approx(-1.0, abs=0.06)


def test_fitting_lowers_ece_and_log_loss_on_clips_not_fitted_on():
    fitted = fit_temperature(*overconfident_clips(seed=1), balanced=False)
    logits, labels = overconfident_clips(2000, seed=2)
    before, after = sigmoid(logits), fitted.probability(logits)
    assert expected_calibration_error(after, labels) < 0.05
    assert expected_calibration_error(before, labels) > 0.15
    assert negative_log_likelihood(after, labels) < negative_log_likelihood(before, labels)


def test_balanced_fit_ignores_how_many_clips_of_each_class_there_are():
    rng = np.random.default_rng(4)
    real, fake = rng.normal(-1, 1, 4000), rng.normal(1, 1, 4000)
    mixes = [(4000, 4000), (4000, 400)]
    fits = [
        fit_temperature(np.r_[real[:r], fake[:f]], np.r_[np.zeros(r), np.ones(f)]) for r, f in mixes
    ]
    assert abs(fits[0].bias) < 0.1
    assert abs(fits[1].bias) < 0.2
    skewed = fit_temperature(
        np.r_[real, fake[:400]], np.r_[np.zeros(4000), np.ones(400)], balanced=False
    )
    assert skewed.bias < -1.5


def test_perfectly_separated_clips_give_a_finite_temperature():
    fitted = fit_temperature([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1])
    assert 0 < fitted.temperature < 10
    assert fitted.bias == pytest.approx(0.0, abs=1e-6)


def test_huge_logits_do_not_upset_the_fit():
    logits, labels = overconfident_clips()
    plain = fit_temperature(logits, labels)
    scaled = fit_temperature(logits * 1e4 + 5e5, labels)
    assert scaled.temperature == pytest.approx(plain.temperature * 1e4, rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "complaint"),
    [
        ([1.0, 2.0], [1, 1], "both classes"),
        ([1.0, 2.0, 3.0], [0, 1], "3 logits for 2 labels"),
        ([1.0, float("nan")], [0, 1], "finite"),
        ([2.0, 1.0, -1.0, -2.0], [0, 0, 1, 1], "direction"),
        ([1.0, 1.0], [0, 1], "equal"),
        ([1.0, 2.0], [0, 2], "labels must be"),
    ],
)
def test_fit_refuses_what_cannot_be_calibrated(logits, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        fit_temperature(logits, labels)


def test_calibration_keeps_the_order_and_the_default_changes_nothing():
    raw = np.linspace(-5, 5, 11)
    assert np.allclose(Calibration().probability(raw), sigmoid(raw))
    assert (np.diff(Calibration(2.5, -0.7).probability(raw)) > 0).all()
    assert Calibration(2.0, 1.0).logits(4.0) == 3.0


def test_logit_undoes_sigmoid_and_stays_finite_at_the_ends():
    raw = np.linspace(-15, 15, 31)
    assert np.allclose(logit(sigmoid(raw)), raw, atol=1e-6)
    assert np.isfinite(logit([0.0, 1.0])).all()


def test_brier_and_ece_on_hand_computed_cases():
    assert brier_score([0.2, 0.7], [0, 1]) == pytest.approx((0.04 + 0.09) / 2)
    # bin [0.2, 0.3): mean .25, no fakes; bin [0.8, 0.9): mean .8, half fakes
    ece = expected_calibration_error([0.25, 0.25, 0.8, 0.8], [0, 0, 0, 1])
    assert ece == pytest.approx(0.5 * 0.25 + 0.5 * 0.3)
    assert expected_calibration_error([1.0, 1.0], [1, 1]) == 0.0
