"""What is measured of an estimated class, which here is the probability of male."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from oculard_models.evaluate import measures
from oculard_models.evaluate.baselines import Others, share_of
from oculard_models.evaluate.figures import Figure, figure_of, figures_of
from oculard_models.evaluate.measures import CannotMeasure, Measure, Numbers
from oculard_models.evaluate.predictions import Predictions

HALF = 0.5  # from here on the daemon says M
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What happens where M is said from a probability of male on."""

    threshold: float
    sensitivity: Figure  # of men
    specificity: Figure  # of women
    positive_value: Figure  # share of men among those called M
    negative_value: Figure  # share of women among those called F
    accuracy: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Cases with about the same probability of male, and how many of them are men."""

    rows: int
    probability: float  # mean of what was said
    share: float  # of men


def class_figures(cases: Predictions, name: str, others: Others | None, *, seed: int) -> dict[str, Figure]:
    """Measure the probability of male, beside what the share of men alone gets."""
    truth, estimate = cases.of(name)
    wanted: dict[str, Measure] = {
        "auc": measures.auc,
        "accuracy": partial(measures.accuracy, threshold=HALF),
        "sensitivity": partial(measures.sensitivity, threshold=HALF),
        "specificity": partial(measures.specificity, threshold=HALF),
        "brier": measures.brier,
    }
    line: tuple[Callable[[Numbers, Numbers], float], ...] = (
        lambda t, p: measures.logistic_line(t, p)[0],
        lambda t, p: measures.logistic_line(t, p)[1],
    )
    return {
        **figures_of(wanted, truth, estimate, cases.persons, seed=seed),
        "calibration_slope": figure_of(line[0], truth, estimate),
        "calibration_intercept": figure_of(line[1], truth, estimate),
        **_share_figures(cases, name, others, seed=seed),
    }


def operating_table(truth: Numbers, probability: Numbers) -> tuple[Threshold, ...]:
    """Say for every threshold who is called what."""
    rows = []
    for threshold in THRESHOLDS:
        called = probability >= threshold
        rows.append(
            Threshold(
                threshold=threshold,
                sensitivity=figure_of(partial(measures.sensitivity, threshold=threshold), truth, probability),
                specificity=figure_of(partial(measures.specificity, threshold=threshold), truth, probability),
                positive_value=_share(truth[called], "nobody is called M"),
                negative_value=_share(1.0 - truth[~called], "nobody is called F"),
                accuracy=figure_of(partial(measures.accuracy, threshold=threshold), truth, probability),
            )
        )
    return tuple(rows)


def reliability(truth: Numbers, probability: Numbers) -> tuple[Bin, ...]:
    """Part the cases by their probability in tenths; empty tenths are left out."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(
            rows=int((place == k).sum()),
            probability=float(probability[place == k].mean()),
            share=float(truth[place == k].mean()),
        )
        for k in range(BINS)
        if (place == k).any()
    )


def _share_figures(cases: Predictions, name: str, others: Others | None, *, seed: int) -> dict[str, Figure]:
    """Measure the share of men as if it were everybody's probability."""
    truth, _ = cases.of(name)
    wanted: dict[str, Measure] = {
        "accuracy_of_share": partial(measures.accuracy, threshold=HALF),
        "brier_of_share": measures.brier,
    }
    try:
        guess = share_of(truth, name, others)
    except CannotMeasure as why:
        return {key: Figure(why=str(why)) for key in wanted}
    return figures_of(wanted, truth, guess, cases.persons, seed=seed)


def _share(hits: Numbers, otherwise: str) -> Figure:
    """Average hits, or say why there are none."""
    return Figure(value=float(hits.mean())) if len(hits) else Figure(why=otherwise)
