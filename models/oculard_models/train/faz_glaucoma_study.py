"""What the avascular zone says of glaucoma in one table: areas under the curve, paired tests, the fitted model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oculard_models.evaluate import measures
from oculard_models.evaluate.delong import Difference, areas_of, auc_figure, difference
from oculard_models.evaluate.figures import Figure, figures_of
from oculard_models.evaluate.measures import Numbers
from oculard_models.manifest import Logistic
from oculard_models.train.faz_glaucoma_table import MEASURES, Eyes

MODEL, WITH_AGE = "logistic", "logistic-age"
# Which way each measure points is fixed beforehand: turning it by the data would flatter it.
SIGNS: Mapping[str, float] = MappingProxyType({"area": 1.0, "perimeter": 1.0, "circularity": -1.0, "age": 1.0})
PENALTY = 1.0  # scikit-learn's C, on standardised measures: weak, but area, perimeter and circularity go together


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One score: its area with DeLong's interval over eyes, and with the bootstrap's over persons."""

    delong: Figure
    by_person: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two scores on the same eyes: by DeLong over eyes, and the bootstrap's interval over persons."""

    first: str
    second: str
    delong: Difference
    by_person: Figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Everything that was found in a table. Scores of the models are those of persons that did not train them."""

    eyes: Eyes
    scores: Mapping[str, Numbers]  # by name, one an eye; the larger, the more like glaucoma
    curves: Mapping[str, Curve]
    compared: tuple[Compared, ...]
    figures: Mapping[str, Figure]  # of the model's probability: accuracy, Brier score, calibration, ...
    logistic: Logistic  # fitted on all rows, in mm2, mm and 1
    folds: int
    seed: int


def study_of(eyes: Eyes, *, seed: int, folds: int) -> Study:
    """Measure each measure alone and the logistic model of all three; the same seed gives the same numbers."""
    known = (*MEASURES, *(("age",) if "age" in eyes.values else ()))
    scores = {name: SIGNS[name] * eyes.values[name] for name in known}
    scores[MODEL] = held_out_logits(eyes, MEASURES, seed=seed, folds=folds)
    if "age" in known:
        scores[WITH_AGE] = held_out_logits(eyes, known, seed=seed, folds=folds)
    pairs = [(MODEL, "area"), *([(WITH_AGE, "age")] if "age" in known else [])]
    return Study(
        eyes=eyes,
        scores=scores,
        curves=_curves(eyes, scores, seed=seed),
        compared=tuple(_compared(eyes, scores, *pair, seed=seed) for pair in pairs),
        figures=_figures(eyes, scores[MODEL], seed=seed),
        logistic=fitted(eyes),
        folds=folds,
        seed=seed,
    )


def held_out_logits(eyes: Eyes, names: tuple[str, ...], *, seed: int, folds: int) -> Numbers:
    """Return every eye's logit from a model of `names` that was fitted without any eye of its person."""
    values = eyes.matrix(names)
    logits = np.full(len(eyes.truth), np.nan)
    parts = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for others, these in parts.split(values, eyes.truth, groups=eyes.persons):
        logits[these] = _model().fit(values[others], eyes.truth[others]).decision_function(values[these])
    assert np.isfinite(logits).all(), "every eye is held out once"
    return logits


def fitted(eyes: Eyes) -> Logistic:
    """Fit the model on all rows and write it in the measures' own units."""
    model = _model().fit(eyes.matrix(MEASURES), eyes.truth)
    scaler, line = model[0], model[1]
    slopes = line.coef_[0] / scaler.scale_
    intercept = float(line.intercept_[0] - (slopes * scaler.mean_).sum())
    return Logistic(intercept=intercept, coefficients=dict(zip(MEASURES, map(float, slopes), strict=True)))


def _model() -> Any:
    """Standardise, then a logistic model with a weak penalty: it stays finite where the classes part without error."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))


def _curves(eyes: Eyes, scores: Mapping[str, Numbers], *, seed: int) -> dict[str, Curve]:
    """Measure every score's area in both ways."""
    areas = areas_of(eyes.truth, np.stack(list(scores.values())))
    return {
        name: Curve(
            delong=auc_figure(areas, at),
            by_person=figures_of({"auc": measures.auc}, eyes.truth, score, eyes.persons, seed=seed)["auc"],
        )
        for at, (name, score) in enumerate(scores.items())
    }


def _compared(eyes: Eyes, scores: Mapping[str, Numbers], first: str, second: str, *, seed: int) -> Compared:
    """Compare two scores in both ways."""
    both = np.stack([scores[first], scores[second]])

    def apart(truth: Numbers, pair: Numbers) -> float:
        return measures.auc(truth, pair[:, 0]) - measures.auc(truth, pair[:, 1])

    drawn = figures_of({"apart": apart}, eyes.truth, both.T, eyes.persons, seed=seed)["apart"]
    return Compared(first=first, second=second, delong=difference(areas_of(eyes.truth, both), 0, 1), by_person=drawn)


def _figures(eyes: Eyes, logits: Numbers, *, seed: int) -> dict[str, Figure]:
    """Measure the held-out probability of glaucoma."""
    probability = 1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0)))
    wanted: dict[str, measures.Measure] = {
        "accuracy": lambda t, p: measures.accuracy(t, p, 0.5),
        "sensitivity": lambda t, p: measures.sensitivity(t, p, 0.5),
        "specificity": lambda t, p: measures.specificity(t, p, 0.5),
        "brier": measures.brier,
        "calibration_slope": lambda t, p: measures.logistic_line(t, p)[0],
        "calibration_intercept": lambda t, p: measures.logistic_line(t, p)[1],
    }
    return figures_of(wanted, eyes.truth, probability, eyes.persons, seed=seed)
