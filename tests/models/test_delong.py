"""Areas under ROC curves have DeLong's covariance, and its intervals cover what they promise."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from oculard_models.data.octa_cohort import painted_faz_cohort, planted_aucs
from oculard_models.evaluate.delong import Areas, areas_of, auc_figure, difference
from oculard_models.evaluate.measures import CannotMeasure, auc


def slowly(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute areas and covariance pair by pair, as DeLong et al. 1988 write them."""
    of_ones, of_zeros = scores[:, truth == 1], scores[:, truth == 0]
    won = (of_ones[:, :, None] > of_zeros[:, None, :]) + 0.5 * (of_ones[:, :, None] == of_zeros[:, None, :])
    ones, zeros = np.cov(won.mean(axis=2)), np.cov(won.mean(axis=1))
    return won.mean(axis=(1, 2)), ones / of_ones.shape[1] + zeros / of_zeros.shape[1]


def cases(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Draw a truth and three scores with many ties."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < 0.4).astype(np.float64)
    return truth, np.round(rng.normal(truth * np.array([[0.0], [0.7], [1.5]]), 1.0), 1)


def holds(areas: Areas, value: float) -> bool:
    """Tell whether the first area's interval holds a value."""
    figure = auc_figure(areas, 0)
    assert figure.low is not None
    assert figure.high is not None
    return figure.low <= value <= figure.high


@pytest.mark.parametrize("seed", range(5))
def test_fast_algorithm_agrees_with_the_definition(seed: int):
    """Areas and covariances are those of all pairs, ties included."""
    truth, scores = cases(seed)
    found = areas_of(truth, scores)
    aucs, covariance = slowly(truth, scores)

    np.testing.assert_allclose(found.aucs, aucs, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(found.aucs, [auc(truth, score) for score in scores], atol=1e-12)


def test_case_that_can_be_computed_by_hand():
    """Zeros 1, 3, ones 2, 4: shares won 1/2, 1 and 1, 1/2; variances 1/8 each, halved and added: 1/8."""
    found = areas_of(np.array([0.0, 1.0, 0.0, 1.0]), np.array([[1.0, 2.0, 3.0, 4.0]]))

    assert found.aucs[0] == 0.75
    assert found.covariance[0, 0] == pytest.approx(0.125)
    figure = auc_figure(found, 0)
    assert figure.low == pytest.approx(0.75 - 1.959964 * sqrt(0.125))
    assert figure.high == 1.0


def test_paired_test_is_that_of_the_difference():
    """z is the difference over its standard error; swapping the two changes only the sign."""
    truth, scores = cases(1)
    found = areas_of(truth, scores)
    there, back = difference(found, 2, 0), difference(found, 0, 2)
    error = sqrt(np.array([-1.0, 0.0, 1.0]) @ slowly(truth, scores)[1] @ np.array([-1.0, 0.0, 1.0]))

    assert there.auc.value is not None
    assert there.auc.low == pytest.approx(there.auc.value - 1.959964 * error)
    assert there.p == back.p
    assert there.auc.value == -(back.auc.value or 0.0)
    assert there.p is not None
    assert 0.0 < there.p < 0.01


def test_where_nothing_varies_there_is_no_interval():
    """Classes without any overlap have no variance after DeLong: an interval of no width would lie."""
    truth = np.repeat([0.0, 1.0], 5)
    found = areas_of(truth, np.stack([np.arange(10.0), np.arange(10.0)]))

    assert auc_figure(found, 0).value == 1.0
    assert auc_figure(found, 0).low is None
    assert "variance is 0" in auc_figure(found, 0).why
    assert difference(found, 0, 1).p is None


@pytest.mark.parametrize("truth", [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
def test_one_case_of_a_class_is_too_few(truth: list[float]):
    """The spread of one is not known."""
    with pytest.raises(CannotMeasure, match="fewer than two"):
        areas_of(np.array(truth), np.arange(3.0)[None])


def test_interval_covers_the_planted_area_for_eyes_of_different_people_and_not_for_pairs():
    """Over 150 cohorts of 100 people the interval holds in 95 % with one eye each, less often with both eyes.

    One eye: not below 95 % by more than 3.5 binomial standard errors, 0.888. Both eyes: they are alike, which DeLong's
    variance does not know; in the same cohorts the interval holds at least a twentieth of them less often.
    """
    planted, single, pairs = planted_aucs()["area"], 0, 0
    for seed in range(150):
        cohort = painted_faz_cohort(seed, 100)
        truth = np.array([float(one.glaucoma) for one in cohort])
        area = np.array([one.area for one in cohort])
        single += holds(areas_of(truth[::2], area[None, ::2]), planted)
        pairs += holds(areas_of(truth, area[None]), planted)

    assert single / 150 >= 0.888
    assert pairs <= single - 150 / 20
