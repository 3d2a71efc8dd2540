"""Finds out what a file does not say by trying: pixel range, colours and class order against labelled photographs.

Every candidate sees the same photographs. One is taken only if it is clearly best: better than each other candidate,
and better than a constant, in nearly every resample of the persons. Otherwise the user must say it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from oculard_models.importers.keras_head import Unsaid

if TYPE_CHECKING:
    from oculard_models.data.table import Photograph

Numbers = npt.NDArray[np.float64]

PERSONS_MIN = 10  # with fewer, resampling says nothing
EACH_SEX_MIN = 3
RESAMPLES, SEED = 2000, 1
SURE = 0.99  # share of the resamples in which the best must be better
TRUST = (0.01, 0.99)  # probabilities are cut to this: one sure mistake must not decide


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One way to feed the network and to read it. `turned`: the classes are M, F (never so for values)."""

    range: str
    colour: str
    turned: bool = False

    def row(self) -> dict[str, object]:
        """As the printed table has it."""
        return {"range": self.range, "colour": self.colour, "classes": "M,F" if self.turned else "F,M"}


@dataclass(frozen=True, slots=True)
class Tried:
    """What the trial found: one row a candidate, best first, and the best if it is clearly so."""

    rows: tuple[dict[str, object], ...]
    best: Candidate | None
    photographs: int
    persons: int


def probe(
    candidates: Sequence[Candidate],
    photographs: Sequence[Photograph],
    names: Sequence[str],
    estimate: Callable[[Candidate, Sequence[Photograph]], Numbers],
) -> Tried:
    """Try every candidate. `estimate` gives photographs x names: values in units, for sex the probability of M.

    Raises Unsaid where there are too few labelled photographs.
    """
    labelled = [one for one in photographs if all(name in one.values for name in names)]
    truth = np.array([[one.values[name] for name in names] for one in labelled]).reshape(len(labelled), len(names))
    persons = np.unique([one.person for one in labelled], return_inverse=True)[1]
    _must_suffice(truth, persons, names)
    found = [(candidate, estimate(candidate, labelled)) for candidate in candidates]
    losses = np.stack([_by_person(_loss(said, truth, names), persons) for _, said in found])
    order = np.argsort(losses.mean(axis=1), kind="stable")
    constant = _by_person(_loss(_constant(truth, names), truth, names), persons)
    clear = _is_clear(losses[order[0]], [*losses[order[1:]], constant])
    rows = tuple(
        found[k][0].row() | {"loss": round(float(losses[k].mean()), 4)} | _agreement(found[k][1], truth, names)
        for k in order
    )
    return Tried(rows, found[order[0]][0] if clear else None, len(labelled), len(losses[0]))


def _must_suffice(truth: Numbers, persons: npt.NDArray[np.intp], names: Sequence[str]) -> None:
    """See that there are enough persons, and of both sexes."""
    count = len(set(persons.tolist()))
    if count < PERSONS_MIN:
        raise Unsaid(
            f"the table has {count} persons with {', '.join(names)}; hint: a probe needs {PERSONS_MIN} or more"
        )
    if names[0] == "sex":
        fewest = min(len({*persons[truth[:, 0] == sex].tolist()}) for sex in (0.0, 1.0))
        if fewest < EACH_SEX_MIN:
            raise Unsaid(
                f"the table has {fewest} persons of one sex; hint: a probe needs {EACH_SEX_MIN} or more of each"
            )


def _loss(said: Numbers, truth: Numbers, names: Sequence[str]) -> Numbers:
    """How wrong each photograph is: log loss for sex, for values the error in shares of the median's mean error."""
    if names[0] == "sex":
        sure = np.clip(np.nan_to_num(said[:, 0], nan=0.5), *TRUST)
        return np.asarray(-np.where(truth[:, 0] == 1.0, np.log(sure), np.log1p(-sure)))
    unit = np.maximum(np.abs(truth - np.median(truth, axis=0)).mean(axis=0), 1e-9)
    errors = np.minimum(np.nan_to_num(np.abs(said - truth), nan=np.inf, posinf=np.inf) / unit, 100.0)
    return np.asarray(errors.mean(axis=1))


def _constant(truth: Numbers, names: Sequence[str]) -> Numbers:
    """Say the same of everybody: the share of men, or the median."""
    one = truth.mean(axis=0) if names[0] == "sex" else np.median(truth, axis=0)
    return np.broadcast_to(one, truth.shape)


def _by_person(losses: Numbers, persons: npt.NDArray[np.intp]) -> Numbers:
    """Average the photographs of each person."""
    return np.bincount(persons, weights=losses) / np.bincount(persons)


def _is_clear(best: Numbers, others: Iterable[Numbers]) -> bool:
    """Tell whether the best is better than every other in nearly every resample of the persons."""
    draws = np.random.default_rng(SEED).integers(0, len(best), (RESAMPLES, len(best)))
    return all(bool((other[draws].mean(axis=1) > best[draws].mean(axis=1)).mean() >= SURE) for other in others)


def _agreement(said: Numbers, truth: Numbers, names: Sequence[str]) -> dict[str, object]:
    """What a reader understands: how many sexes are right, or the mean error of each value."""
    if names[0] == "sex":
        return {"right": round(float(((said[:, 0] > 0.5) == (truth[:, 0] == 1.0)).mean()), 3)}
    return {f"mae_{name}": round(float(np.abs(said - truth)[:, k].mean()), 2) for k, name in enumerate(names)}
