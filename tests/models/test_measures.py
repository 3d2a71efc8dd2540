"""Measures of agreement."""

from __future__ import annotations

import numpy as np
import pytest

from oculard_models.evaluate import measures
from oculard_models.evaluate.figures import Figure, figures_of

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


def interval(figure: Figure) -> tuple[float, float, float]:
    """The lower end, the value and the upper end of a figure that has all three."""
    assert figure.low is not None
    assert figure.value is not None
    assert figure.high is not None
    return figure.low, figure.value, figure.high


def test_interval_contains_its_measure_and_is_repeatable():
    """The bootstrap is seeded."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=200)
    estimate = truth + rng.normal(size=200)
    persons = np.array([f"p{k:03d}" for k in range(200)])
    first = figures_of({"r2": measures.r2}, truth, estimate, persons, seed=1)

    assert first == figures_of({"r2": measures.r2}, truth, estimate, persons, seed=1)
    low, value, high = interval(first["r2"])
    assert low < value < high


def test_two_photographs_of_a_person_are_no_two_persons():
    """Doubling everybody's rows changes no interval when persons are drawn, and narrows it when rows are."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=80)
    estimate = truth + rng.normal(size=80)
    persons = np.array([f"p{k:02d}" for k in range(80)])
    twice = np.tile(truth, 2), np.tile(estimate, 2)
    rows = np.array([f"r{k:03d}" for k in range(160)])
    mae = {"mae": measures.mae}
    once = interval(figures_of(mae, truth, estimate, persons, seed=1)["mae"])
    by_person = interval(figures_of(mae, *twice, np.tile(persons, 2), seed=1)["mae"])
    by_row = interval(figures_of(mae, *twice, rows, seed=1)["mae"])

    assert by_person == pytest.approx(once, abs=1e-12)
    assert by_row[2] - by_row[0] < 0.85 * (once[2] - once[0])


def test_area_under_the_curve_is_the_area_under_its_curve():
    """The drawn curve and the number agree, ties included."""
    rng = np.random.default_rng(4)
    truth = (rng.random(300) < 0.4).astype(float)
    score = np.round(truth + rng.normal(size=300), 1)
    wrongly, rightly = measures.roc(truth, score)

    assert (wrongly[0], rightly[0], wrongly[-1], rightly[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert np.trapezoid(rightly, wrongly) == pytest.approx(measures.auc(truth, score))


def test_bold_probabilities_have_a_slope_below_one():
    """Probabilities whose logits are twice what they should be need half of it."""
    rng = np.random.default_rng(5)
    logit = rng.normal(0.5, 1.5, 20_000)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(float)
    slope, intercept = measures.logistic_line(truth, 1 / (1 + np.exp(-2 * logit)))

    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(0.0, abs=0.05)


def test_who_is_called_what_depends_on_the_threshold():
    """A case at the threshold is called one."""
    truth, probability = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.5, 0.5, 0.1])

    assert measures.sensitivity(truth, probability, 0.5) == 1.0
    assert measures.specificity(truth, probability, 0.5) == 0.5
    assert measures.accuracy(truth, probability, 0.6) == 0.75
    assert measures.brier(truth, probability) == pytest.approx((0.01 + 0.25 + 0.25 + 0.01) / 4)


def test_share_within_a_limit_counts_the_limit():
    """An error of exactly five is within five."""
    assert measures.within(np.zeros(4), np.array([1.0, 5.0, -5.0, 6.0]), 5.0) == 0.75


@pytest.mark.parametrize(
    ("measure", "truth", "estimate", "why"),
    [
        (measures.auc, [1.0, 1.0], [0.2, 0.7], "one class"),
        (measures.roc, [0.0, 0.0], [0.2, 0.7], "one class"),
        (measures.logistic_line, [0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.8, 0.9], "without any error"),
        (measures.r2, [5.0, 5.0], [4.0, 6.0], "true value is the same"),
        (measures.pearson, [4.0, 6.0], [5.0, 5.0], "estimate is the same"),
        (measures.calibration_slope, [4.0, 6.0], [5.0, 5.0], "estimate is the same"),
        (measures.limits_of_agreement, [4.0], [5.0], "fewer than two"),
        (measures.mae, [], [], "no case"),
        (measures.accuracy, [], [], "no case"),
        (measures.bias, [], [], "no case"),
    ],
)
def test_what_is_not_defined_says_why(measure, truth, estimate, why: str):
    """No measure gives NaN: it says in plain words why there is no number."""
    with pytest.raises(measures.CannotMeasure, match=why):
        measure(np.array(truth), np.array(estimate))
