"""Who trains and who tests in the study of disc types: by person, by number of eyes; fractions and folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.train.settings import TrainingWrong

Rows = npt.NDArray[np.int64]
STREAMS = {"test": 711, "fraction": 712, "folds": 713}  # of random numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """Rows of the eyes that train and of those that test; no person is in both."""

    training: Rows
    test: Rows


def parts_of(persons: npt.NDArray[np.str_], test: int, *, seed: int, split: int) -> Parts:
    """Draw persons at random until `test` eyes are set aside. Raises TrainingWrong where nobody would remain."""
    if not 0 < test < len(persons):
        raise TrainingWrong(f"{test} of {len(persons)} eyes cannot be set aside to test on")
    rng = np.random.default_rng([STREAMS["test"], seed, split])
    chosen = _fill(persons, np.arange(len(persons)), test, rng)
    return Parts(training=np.setdiff1d(np.arange(len(persons)), chosen), test=chosen)


def fraction_of(training: Rows, persons: npt.NDArray[np.str_], share: float, *, seed: int, split: int) -> Rows:
    """Take a share of the training eyes, whole persons; a smaller share is part of a larger one."""
    if share >= 1.0:
        return training
    rng = np.random.default_rng([STREAMS["fraction"], seed, split])
    return _fill(persons, training, round(share * len(training)), rng)


def folds_of(
    rows: Rows, persons: npt.NDArray[np.str_], labels: npt.NDArray[np.int64], count: int, *, seed: int
) -> list[Rows]:
    """Divide eyes into folds by person, each with its share of every class. Raises TrainingWrong."""
    order = np.random.default_rng([STREAMS["folds"], seed, count]).permutation(len(rows))
    first = {persons[row]: labels[row] for row in rows[order][::-1]}  # a person's class: that of one of their eyes
    names = sorted({persons[row]: None for row in rows[order]}, key=lambda name: first[name])  # stable: shuffled
    if count < 2 or len(names) < count:
        raise TrainingWrong(f"{len(names)} persons cannot be divided into {count} folds")
    fold = {name: place % count for place, name in enumerate(names)}
    return [np.asarray([row for row in rows if fold[persons[row]] == k], dtype=np.int64) for k in range(count)]


def must_have_all(labels: npt.NDArray[np.int64], parts: Sequence[Rows], classes: int) -> None:
    """See that every class occurs wherever a network learns. Raises TrainingWrong."""
    for rows in parts:
        missing = set(range(classes)) - set(labels[rows].tolist())
        if missing:
            raise TrainingWrong(
                f"{len(rows)} eyes to learn from lack {len(missing)} of {classes} classes;"
                " hint: more eyes, fewer folds, or a larger fraction"
            )


def _fill(persons: npt.NDArray[np.str_], rows: Rows, wanted: int, rng: np.random.Generator) -> Rows:
    """Take persons in random order until exactly `wanted` eyes are there, or as many as whole persons allow."""
    eyes: dict[str, list[int]] = {}
    for row in rows[rng.permutation(len(rows))]:
        eyes.setdefault(persons[row], []).append(int(row))
    taken: list[int] = []
    for of_person in eyes.values():
        if len(taken) + len(of_person) <= wanted:
            taken += of_person
    return np.sort(np.asarray(taken, dtype=np.int64))
