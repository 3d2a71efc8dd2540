"""Measures of agreement between estimates and truth, each with a bootstrap interval over persons. numpy only."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Measure = Callable[[Numbers, Numbers], float]  # truth, estimate


def auc(truth: Numbers, score: Numbers) -> float:
    """Area under the ROC curve of `score` for `truth` (0 or 1); ties count half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    positive = truth > 0.5
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - ones * (ones + 1) / 2.0) / (ones * zeros))


def accuracy(truth: Numbers, score: Numbers) -> float:
    """Share of cases on the right side of score 0."""
    return float(np.mean((truth > 0.5) == (score > 0.0)))


def mae(truth: Numbers, estimate: Numbers) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(estimate - truth)))


def rmse(truth: Numbers, estimate: Numbers) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean(np.square(estimate - truth))))


def r2(truth: Numbers, estimate: Numbers) -> float:
    """Share of the variance that is explained; 0 for the mean, below 0 for worse than the mean."""
    return float(1.0 - np.sum(np.square(estimate - truth)) / np.sum(np.square(truth - truth.mean())))


def pearson(truth: Numbers, estimate: Numbers) -> float:
    """Linear correlation."""
    return float(np.corrcoef(truth, estimate)[0, 1])


def calibration_slope(truth: Numbers, estimate: Numbers) -> float:
    """Slope of truth on estimate; 1 where estimates are neither too timid nor too bold."""
    return float(np.polyfit(estimate, truth, 1)[0])


def bias(truth: Numbers, estimate: Numbers) -> float:
    """Mean of estimate - truth (Bland-Altman)."""
    return float(np.mean(estimate - truth))


def limits_of_agreement(truth: Numbers, estimate: Numbers) -> tuple[float, float]:
    """Bias -+ 1.96 standard deviations of the differences (Bland-Altman)."""
    spread = 1.96 * float(np.std(estimate - truth, ddof=1))
    middle = bias(truth, estimate)
    return middle - spread, middle + spread


def coverage(truth: Numbers, estimate: Numbers, half_width: float) -> float:
    """Share of cases whose truth lies within estimate -+ half_width."""
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


def with_interval(
    measure: Measure, truth: Numbers, estimate: Numbers, *, seed: int, rounds: int = 500
) -> dict[str, float]:
    """Return a measure with its 95 % interval: bootstrap over persons (one row is one person)."""
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(truth), len(truth)) for _ in range(rounds))
    again = [measure(truth[draw], estimate[draw]) for draw in draws]
    low, high = np.percentile(again, [2.5, 97.5])
    return {"value": round(measure(truth, estimate), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
