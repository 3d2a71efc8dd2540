"""What can be said without any picture: the median, and a straight line through sex and age.

An error means nothing without theirs. Neither may know the person that it is measured on: both come from other people
where those are given, else from the other folds of the same people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.data.split import folds
from oculard_models.evaluate.measures import CannotMeasure, Numbers

FOLDS = 5
PERSONS_MIN = 10
Persons = npt.NDArray[np.str_]
Fitted = Callable[[Numbers], Numbers]  # covariates (rows x few) -> guesses (rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Others:
    """True values of people who are not measured, one row a person, by target; NaN where not known."""

    words: str  # who they are, for the report
    values: Mapping[str, Numbers]

    def known(self, names: Sequence[str]) -> Numbers:
        """Return the persons of whom all of some targets are known, persons x targets."""
        table = np.column_stack([self.values[name] for name in names])
        return np.asarray(table[np.isfinite(table).all(axis=1)])


def others_of(rows: Iterable[tuple[str, Mapping[str, float]]], names: Sequence[str], words: str) -> Others:
    """Gather people from (person, known values) pairs, many of one person; her values are averaged."""
    people: dict[str, list[Mapping[str, float]]] = {}
    for person, values in rows:
        people.setdefault(person, []).append(values)
    means = {name: np.array([_mean(seen, name) for seen in people.values()], dtype=np.float64) for name in names}
    return Others(words=words, values=means)


def covariates_for(name: str) -> tuple[str, ...]:
    """Return what the line may know: sex and age, but never the target itself."""
    return tuple(known for known in ("sex", "age") if known != name)


def share_of(truth: Numbers, name: str, others: Others | None) -> Numbers:
    """Guess the share of ones for every row: of other people where they are given, else of these. Raises CannotMeasure.

    These may know themselves: the more frequent of two classes is no secret, and from folds of a balanced sample the
    guess would be wrong more often than right.
    """
    known = truth if others is None else others.known([name])
    _enough(len(known), f"of {others.words}" if others is not None else "")
    return np.full(len(truth), float(known.mean()))


def median_of(truth: Numbers, persons: Persons, name: str, others: Others | None, *, seed: int) -> Numbers:
    """Guess the median of other people for every row. Raises CannotMeasure."""
    if others is not None:
        known = others.known([name])
        _enough(len(known), f"of {others.words}")
        return np.full(len(truth), float(np.median(known)))
    guess = np.empty(len(truth))
    for held in _folds(persons, seed=seed):
        guess[held] = np.median(truth[~held])
    return guess


def line_of(
    truth: Numbers, covariates: Numbers, persons: Persons, name: str, others: Others | None, *, seed: int
) -> Numbers:
    """Guess every row by a straight line through the sex and age of other people. Raises CannotMeasure."""
    if others is not None:
        known = others.known([*covariates_for(name), name])
        _enough(len(known), f"of {others.words}")
        return _line(known[:, :-1], known[:, -1])(covariates)
    guess = np.empty(len(truth))
    for held in _folds(persons, seed=seed):
        guess[held] = _line(covariates[~held], truth[~held])(covariates[held])
    return guess


def _folds(persons: Persons, *, seed: int) -> list[npt.NDArray[np.bool_]]:
    """Part rows into folds so that all rows of a person are in one. Raises CannotMeasure where there are too few."""
    everyone = np.unique(persons).tolist()
    _enough(len(everyone), "")
    return [np.isin(persons, held) for _, held in folds(everyone, FOLDS, seed)]


def _line(covariates: Numbers, truth: Numbers) -> Fitted:
    """Fit a straight line by least squares."""
    weights, *_ = np.linalg.lstsq(np.column_stack([covariates, np.ones(len(truth))]), truth, rcond=None)
    return lambda rows: np.asarray(np.column_stack([rows, np.ones(len(rows))]) @ weights)


def _enough(count: int, whose: str) -> None:
    """Refuse to learn from a handful."""
    if count < PERSONS_MIN:
        raise CannotMeasure(f"{count} persons {whose} are too few".replace("  ", " "))


def _mean(seen: Sequence[Mapping[str, float]], name: str) -> float:
    """Average what is known of one person; NaN where nothing is."""
    known = [values[name] for values in seen if name in values]
    return sum(known) / len(known) if known else float("nan")
