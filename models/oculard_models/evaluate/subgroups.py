"""How good the estimates are among some: women and men, decades of age, right and left eyes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from oculard_models.evaluate import measures
from oculard_models.evaluate.figures import Figure, figures_of
from oculard_models.evaluate.measures import Measure
from oculard_models.evaluate.predictions import Predictions

Rows = npt.NDArray[np.bool_]

OF_VALUE: Mapping[str, Measure] = {"mae": measures.mae, "bias": measures.bias, "r2": measures.r2}
OF_CLASS: Mapping[str, Measure] = {"accuracy": partial(measures.accuracy, threshold=0.5), "auc": measures.auc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some of the cases: by what they were chosen, which they are, how many, and their figures."""

    by: str  # sex, age, eye
    words: str  # as in `F`, `50 to 59`
    rows: int
    persons: int
    figures: Mapping[str, Figure]


def groups_of(cases: Predictions, name: str, *, seed: int) -> tuple[Group, ...]:
    """Report on every subgroup that has anybody in it; a split that puts everybody into one is left out."""
    wanted = OF_CLASS if name == "sex" else OF_VALUE
    groups = []
    for by, parts in (("sex", _sexes(cases)), ("age", _decades(cases)), ("eye", _eyes(cases))):
        filled = [(words, rows) for words, rows in parts if rows.any()]
        for words, rows in filled if len(filled) > 1 else ():
            some = cases.where(rows)
            figures = figures_of(wanted, *some.of(name), some.persons, seed=seed)
            persons = len(np.unique(some.persons))
            groups.append(Group(by=by, words=words, rows=len(some), persons=persons, figures=figures))
    return tuple(groups)


def _sexes(cases: Predictions) -> Iterator[tuple[str, Rows]]:
    """Part by true sex."""
    sex = cases.known("sex")
    yield from (("F", sex == 0.0), ("M", sex == 1.0), ("not known", np.isnan(sex)))


def _decades(cases: Predictions) -> Iterator[tuple[str, Rows]]:
    """Part by true age, decade by decade."""
    age = cases.known("age")
    decade = np.floor(age / 10.0) * 10.0
    for first in np.unique(decade[np.isfinite(decade)]).tolist():
        yield f"{first:.0f} to {first + 9:.0f}", decade == first
    yield "not known", np.isnan(age)


def _eyes(cases: Predictions) -> Iterator[tuple[str, Rows]]:
    """Part by eye; per person, those of whom only one was photographed are apart."""
    for eye, words in (("R", "right"), ("L", "left"), ("RL", "both")):
        yield words, cases.eyes == eye
