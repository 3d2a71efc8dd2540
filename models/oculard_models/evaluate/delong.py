"""Areas under correlated ROC curves with their covariance, after DeLong et al. 1988, by the fast algorithm of Sun & Xu.

X. Sun, W. Xu: Fast Implementation of DeLong's Algorithm for Comparing the Areas Under Correlated Receiver Operating
Characteristic Curves. IEEE Signal Process Lett 21 (2014) 1389-1393.

Cases count as independent. Two eyes of a person are not: where the table holds both, these intervals are too narrow,
and a bootstrap over persons (evaluate/figures.py) belongs beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt
from scipy import stats

from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.measures import CannotMeasure, Numbers

NORMAL_95 = 1.959963984540054
NO_VARIANCE = "no interval: the estimated variance is 0, as where the classes are parted without any error"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Areas:
    """The areas of several scores on the same cases, and how they vary together."""

    aucs: Numbers  # scores
    covariance: npt.NDArray[np.float64]  # scores x scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much larger the first of two areas is, with DeLong's two-sided p; None where nothing varies."""

    auc: Figure
    p: float | None


def areas_of(truth: Numbers, scores: npt.NDArray[np.float64]) -> Areas:
    """Return the areas of `scores` (scores x cases) for `truth` (0 or 1); ties count half.

    Raises CannotMeasure with fewer than two cases of either class: nothing is known of their spread.
    """
    positive = truth > 0.5
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if min(ones, zeros) < 2:
        raise CannotMeasure("fewer than two cases of one class")
    ranks = stats.rankdata(scores, axis=1)
    of_ones = stats.rankdata(scores[:, positive], axis=1)
    of_zeros = stats.rankdata(scores[:, ~positive], axis=1)
    beaten = (ranks[:, positive] - of_ones) / zeros  # of each one: the share of zeros below it
    beating = 1.0 - (ranks[:, ~positive] - of_zeros) / ones  # of each zero: the share of ones above it
    covariance = np.atleast_2d(np.cov(beaten)) / ones + np.atleast_2d(np.cov(beating)) / zeros
    return Areas(aucs=beaten.mean(axis=1), covariance=covariance)


def auc_figure(areas: Areas, which: int) -> Figure:
    """Return one area with its 95 % interval, cut off at 0 and 1."""
    return _figure(float(areas.aucs[which]), float(areas.covariance[which, which]), 0.0)


def difference(areas: Areas, first: int, second: int) -> Difference:
    """Compare two areas on the same cases (DeLong's paired test)."""
    c = areas.covariance
    variance = float(c[first, first] + c[second, second] - 2.0 * c[first, second])
    apart = float(areas.aucs[first] - areas.aucs[second])
    figure = _figure(apart, variance, -1.0)
    return Difference(auc=figure, p=None if figure.low is None else erfc(abs(apart) / sqrt(variance) / sqrt(2.0)))


def _figure(value: float, variance: float, least: float) -> Figure:
    """Return value -+ 1.96 standard errors."""
    if variance <= 1e-15:
        return Figure(value=value, why=NO_VARIANCE)
    half = NORMAL_95 * sqrt(variance)
    return Figure(value=value, low=max(least, value - half), high=min(1.0, value + half))
