"""Measures of agreement between estimates and truth, each with a bootstrap interval over persons. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Measure = Callable[[Numbers, Numbers], float]  # truth, estimate
ROUNDS = 500  # of the bootstrap


class CannotMeasure(ValueError):
    """A measure is not defined for these cases; the message says why in words that a reader of the report sees."""


def auc(truth: Numbers, score: Numbers) -> float:
    """Area under the ROC curve of `score` for `truth` (0 or 1); ties count half."""
    _both_classes(truth)
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    positive = truth > 0.5
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - ones * (ones + 1) / 2.0) / (ones * zeros))


def roc(truth: Numbers, score: Numbers) -> tuple[Numbers, Numbers]:
    """Return share of zeros above, and share of ones above, for every threshold from the highest to the lowest."""
    _both_classes(truth)
    order = np.argsort(-score, kind="stable")
    ones = truth[order] > 0.5
    last = np.append(np.diff(score[order]) != 0, True)  # ties are passed at once
    above, wrongly = np.cumsum(ones)[last] / ones.sum(), np.cumsum(~ones)[last] / (~ones).sum()
    return np.concatenate([[0.0], wrongly]), np.concatenate([[0.0], above])


def accuracy(truth: Numbers, score: Numbers, threshold: float = 0.0) -> float:
    """Share of cases on the right side of a threshold: 0 of a logit, 0.5 of a probability."""
    _some(truth)
    return float(np.mean((truth > 0.5) == (score >= threshold)))


def sensitivity(truth: Numbers, score: Numbers, threshold: float) -> float:
    """Share of the ones that are at or above the threshold."""
    ones = truth > 0.5
    if not ones.any():
        raise CannotMeasure("nobody is of this class")
    return float(np.mean(score[ones] >= threshold))


def specificity(truth: Numbers, score: Numbers, threshold: float) -> float:
    """Share of the zeros that are below the threshold."""
    zeros = truth <= 0.5
    if not zeros.any():
        raise CannotMeasure("nobody is of the other class")
    return float(np.mean(score[zeros] < threshold))


def brier(truth: Numbers, probability: Numbers) -> float:
    """Mean squared distance of a probability from what happened; 0 is best, 0.25 is what saying 0.5 gets."""
    _some(truth)
    return float(np.mean(np.square(probability - truth)))


def logistic_line(truth: Numbers, probability: Numbers) -> tuple[float, float]:
    """Slope and intercept of truth on the logit of its probability: 1 and 0 where probabilities are what they say.

    A slope below 1: too bold; above 1: too timid. Newton's method on two numbers.
    """
    _both_classes(truth)
    bounded = np.clip(probability, 1e-6, 1.0 - 1e-6)
    terms = np.column_stack([np.log(bounded / (1.0 - bounded)), np.ones(len(truth))])
    line = np.zeros(2)
    for _ in range(50):
        guess = 1.0 / (1.0 + np.exp(-np.clip(terms @ line, -30.0, 30.0)))
        curve = (terms * (guess * (1.0 - guess))[:, None]).T @ terms
        if np.linalg.cond(curve) > 1e12:
            raise CannotMeasure("the estimates part the two classes without any error, or are all the same")
        step = np.linalg.solve(curve, terms.T @ (truth - guess))
        line = line + step
        if np.abs(step).max() < 1e-8:
            return float(line[0]), float(line[1])
    raise CannotMeasure("the estimates part the two classes without any error")


def mae(truth: Numbers, estimate: Numbers) -> float:
    """Mean absolute error."""
    _some(truth)
    return float(np.mean(np.abs(estimate - truth)))


def rmse(truth: Numbers, estimate: Numbers) -> float:
    """Root of the mean squared error."""
    _some(truth)
    return float(np.sqrt(np.mean(np.square(estimate - truth))))


def r2(truth: Numbers, estimate: Numbers) -> float:
    """Share of the variance that is explained; 0 for the mean, below 0 for worse than the mean."""
    _vary(truth, "the true value")
    return float(1.0 - np.sum(np.square(estimate - truth)) / np.sum(np.square(truth - truth.mean())))


def pearson(truth: Numbers, estimate: Numbers) -> float:
    """Linear correlation."""
    _vary(truth, "the true value")
    _vary(estimate, "the estimate")
    return float(np.corrcoef(truth, estimate)[0, 1])


def calibration_line(truth: Numbers, estimate: Numbers) -> tuple[float, float]:
    """Slope and intercept of truth on estimate; 1 and 0 where estimates are neither too timid nor too bold."""
    _vary(estimate, "the estimate")
    middle = estimate.mean()  # as centred numbers the squares lose no digits
    slope = float(np.sum((estimate - middle) * (truth - truth.mean())) / np.sum(np.square(estimate - middle)))
    return slope, float(truth.mean() - slope * middle)


def calibration_slope(truth: Numbers, estimate: Numbers) -> float:
    """Slope of truth on estimate; above 1 where estimates are too timid."""
    return calibration_line(truth, estimate)[0]


def bias(truth: Numbers, estimate: Numbers) -> float:
    """Mean of estimate - truth (Bland-Altman)."""
    _some(truth)
    return float(np.mean(estimate - truth))


def limits_of_agreement(truth: Numbers, estimate: Numbers) -> tuple[float, float]:
    """Bias -+ 1.96 standard deviations of the differences (Bland-Altman)."""
    if len(truth) < 2:
        raise CannotMeasure("fewer than two cases")
    spread = 1.96 * float(np.std(estimate - truth, ddof=1))
    middle = bias(truth, estimate)
    return middle - spread, middle + spread


def within(truth: Numbers, estimate: Numbers, limit: float) -> float:
    """Share of cases whose estimate is at most `limit` away."""
    _some(truth)
    return float(np.mean(np.abs(estimate - truth) <= limit))


def coverage(truth: Numbers, estimate: Numbers, half_width: float | Numbers) -> float:
    """Share of cases whose truth lies within estimate -+ half_width, one for all or each its own."""
    _some(truth)
    return float(np.mean(np.abs(estimate - truth) <= half_width))


def conformal_half_width(truth: Numbers, estimate: Numbers, level: float) -> float:
    """Half width that covers a new case with probability `level`, whatever the errors' distribution.

    Split conformal prediction: the ceil((n + 1) * level)-th smallest absolute error of persons that neither trained
    nor chose the network. Raises ValueError where there are too few of them for the level.
    """
    errors = np.sort(np.abs(estimate - truth))
    place = ceil((len(errors) + 1) * level)
    if place > len(errors):
        raise ValueError(f"{len(errors)} persons are too few for an interval of {level:.0%}")
    return float(errors[place - 1])


def draws(persons: npt.NDArray[np.str_], *, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    """Draw as many persons as there are, with replacement, `ROUNDS` times; yield the rows of the drawn.

    All rows of a person come together: two photographs of one person are no two persons.
    """
    rng = np.random.default_rng(seed)
    _, of_row, sizes = np.unique(persons, return_inverse=True, return_counts=True)
    rows = np.argsort(of_row, kind="stable")  # person by person
    starts = np.cumsum(sizes) - sizes
    for _ in range(ROUNDS):
        drawn = rng.integers(0, len(sizes), len(sizes))
        size = sizes[drawn]
        shift = starts[drawn] - (np.cumsum(size) - size)
        yield rows[np.repeat(shift, size) + np.arange(size.sum())]


def _some(values: Numbers) -> None:
    """Nothing can be said about nobody."""
    if not len(values):
        raise CannotMeasure("no case has both a true value and an estimate")


def _vary(values: Numbers, what: str) -> None:
    """Refuse what is the same for all: no spread can be explained."""
    _some(values)
    if np.ptp(values) == 0:
        raise CannotMeasure(f"{what} is the same for everybody")


def _both_classes(truth: Numbers) -> None:
    """Refuse cases of one class only."""
    _some(truth)
    ones = truth > 0.5
    if ones.all() or not ones.any():
        raise CannotMeasure("everybody is of one class")
