"""What is printed next to every estimated value: errors, agreement, and the baselines that put them into proportion."""

from __future__ import annotations

from functools import partial

import numpy as np

from oculard_models.evaluate import measures
from oculard_models.evaluate.measures import Numbers


def value_report(
    truth: Numbers, estimate: Numbers, covariates: Numbers, half_width: float, *, seed: int
) -> dict[str, object]:
    """Measure one value's estimates on people never seen, in the value's unit.

    `covariates` (persons x few) are what is known without any picture, such as sex and age: a mean absolute error says
    nothing without that of the median and that of a straight line through these.
    """
    line = _straight_line(truth, covariates)
    covers = partial(measures.coverage, half_width=half_width)
    low, high = measures.limits_of_agreement(truth, estimate)
    return {
        "r2": measures.with_interval(measures.r2, truth, estimate, seed=seed),
        "mae": measures.with_interval(measures.mae, truth, estimate, seed=seed),
        "rmse": round(measures.rmse(truth, estimate), 3),
        "pearson": round(measures.pearson(truth, estimate), 4),
        "calibration_slope": round(measures.calibration_slope(truth, estimate), 3),
        "bland_altman": {
            "bias": round(measures.bias(truth, estimate), 3),
            "low": round(low, 2),
            "high": round(high, 2),
        },
        "mae_of_median": round(measures.mae(truth, np.full_like(truth, np.median(truth))), 3),
        "mae_of_covariates": round(measures.mae(truth, line), 3),
        "half_width": round(half_width, 2),
        "coverage": measures.with_interval(covers, truth, estimate, seed=seed),
    }


def _straight_line(truth: Numbers, covariates: Numbers) -> Numbers:
    """Predict from the covariates alone: each half of the persons by a line through the other half."""
    terms = np.column_stack([covariates, np.ones(len(truth))])
    even = np.arange(len(truth)) % 2 == 0
    guess = np.empty_like(truth)
    for half in (even, ~even):
        weights, *_ = np.linalg.lstsq(terms[~half], truth[~half], rcond=None)
        guess[half] = terms[half] @ weights
    return guess
