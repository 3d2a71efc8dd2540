"""Measures of agreement."""

from __future__ import annotations

import numpy as np
import pytest

from oculard_models.evaluate import measures

TRUTH = np.array([1.0, 2.0, 3.0, 4.0])


def test_auc_counts_ties_half():
    """Two pairs right, one tied, one wrong."""
    assert measures.auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.5, 0.5, 0.9])) == pytest.approx(0.875)


def test_mean_as_estimate_explains_nothing():
    """R2 of the mean is 0, of the truth 1."""
    assert measures.r2(TRUTH, np.full(4, 2.5)) == 0.0
    assert measures.r2(TRUTH, TRUTH) == 1.0


def test_bias_and_limits_are_those_of_bland_and_altman():
    """A constant error is all bias."""
    assert measures.bias(TRUTH, TRUTH + 2.0) == 2.0
    assert measures.limits_of_agreement(TRUTH, TRUTH + 2.0) == (2.0, 2.0)


def test_timid_estimates_have_a_slope_above_one():
    """Estimates shrunk to half need a slope of two."""
    assert measures.calibration_slope(TRUTH, TRUTH / 2) == pytest.approx(2.0)


def test_conformal_half_width_covers_new_cases():
    """Whatever the errors look like, new ones are covered as often as promised."""
    rng = np.random.default_rng(3)
    errors = rng.standard_t(2, 20_000)
    half = measures.conformal_half_width(np.zeros(1000), errors[:1000], 0.9)

    assert measures.coverage(np.zeros(19_000), errors[1000:], half) == pytest.approx(0.9, abs=0.03)


def test_too_few_people_give_no_interval():
    """Five people cannot promise nine in ten."""
    with pytest.raises(ValueError, match="5 persons are too few"):
        measures.conformal_half_width(np.zeros(5), np.ones(5), 0.9)


def test_interval_contains_its_measure_and_is_repeatable():
    """The bootstrap is seeded."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=200)
    estimate = truth + rng.normal(size=200)
    first = measures.with_interval(measures.r2, truth, estimate, seed=1)

    assert first == measures.with_interval(measures.r2, truth, estimate, seed=1)
    assert first["low"] < first["value"] < first["high"]
