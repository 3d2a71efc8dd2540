"""Agreement of what was said with what is so, for several classes: Cohen's kappa and two accuracies, by person.

Several trials (random splits of one cohort) are averaged. Their test sets share persons: so persons of the whole cohort
are drawn, and every trial is measured on those of its test set that were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.measures import Numbers

ROUNDS = 1000  # of the bootstrap
Whole = npt.NDArray[np.int64]
Table = Numbers  # classes x classes: rows what is so, columns what was said


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One test set: which eyes of the cohort, what they are, what was said of them."""

    rows: Whole
    truth: Whole
    said: Whole

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.truth) == len(self.said) or not len(self.rows):
            raise ValueError("a trial needs one truth and one answer for each of its eyes, and some eyes")


def confusion(truth: Whole, said: Whole, classes: int, weights: Numbers | None = None) -> Table:
    """Count what was said of what is so."""
    flat = np.bincount(truth * classes + said, weights=weights, minlength=classes * classes)
    return flat.astype(np.float64).reshape(classes, classes)


def kappa(table: Table) -> float:
    """Cohen's kappa, unweighted; NaN where chance alone agrees wholly."""
    total = table.sum()
    by_chance = float(table.sum(0) @ table.sum(1)) / total**2
    return float((np.trace(table) / total - by_chance) / (1.0 - by_chance)) if by_chance < 1.0 else float("nan")


def accuracy(table: Table) -> float:
    """Share of the eyes that were called rightly: every class weighs as much as it has eyes."""
    return float(np.trace(table) / table.sum())


def balanced_accuracy(table: Table) -> float:
    """Mean over the classes of the share that was called rightly: every class that occurs weighs alike."""
    sizes = table.sum(1)
    return float(np.mean(np.diag(table)[sizes > 0] / sizes[sizes > 0]))


MEASURES: Mapping[str, Callable[[Table], float]] = MappingProxyType(
    {"kappa": kappa, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
)


def drawn(trials: Sequence[Trial], persons: npt.NDArray[np.str_], classes: int, *, seed: int) -> dict[str, Numbers]:
    """Measure the mean over the trials on every draw of persons of the cohort; one row a draw."""
    _, of_eye = np.unique(persons, return_inverse=True)
    count = int(of_eye.max()) + 1
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for _ in range(ROUNDS):
        often = np.bincount(rng.integers(0, count, count), minlength=count)[of_eye].astype(np.float64)
        tables = [confusion(one.truth, one.said, classes, often[one.rows]) for one in trials]
        for name, measure in MEASURES.items():
            found[name].append(float(np.mean([measure(table) for table in tables if table.sum()] or [np.nan])))
    return {name: np.asarray(values) for name, values in found.items()}


def figures(trials: Sequence[Trial], persons: npt.NDArray[np.str_], classes: int, *, seed: int) -> dict[str, Figure]:
    """Give every measure as the mean over the trials, with its interval over persons."""
    tables = [confusion(one.truth, one.said, classes) for one in trials]
    again = drawn(trials, persons, classes, seed=seed)
    return {
        name: _figure(float(np.mean([measure(table) for table in tables])), again[name])
        for name, measure in MEASURES.items()
    }


def difference(
    first: Sequence[Trial],
    second: Sequence[Trial],
    persons: npt.NDArray[np.str_],
    classes: int,
    *,
    seed: int,
) -> Figure:
    """Kappa of the first less that of the second on the same eyes, paired: both are measured on the same draws."""
    for one, other in zip(first, second, strict=True):
        if not np.array_equal(one.rows, other.rows):
            raise ValueError("a paired difference needs the same eyes on both sides")

    def mean(trials: Sequence[Trial]) -> float:
        return float(np.mean([kappa(confusion(one.truth, one.said, classes)) for one in trials]))

    pair = [drawn(trials, persons, classes, seed=seed)["kappa"] for trials in (first, second)]
    return _figure(mean(first) - mean(second), pair[0] - pair[1])


def _figure(value: float, again: Numbers) -> Figure:
    """Put value and interval together."""
    if not np.isfinite(value):
        return Figure(why="one class only")
    finite = again[np.isfinite(again)]
    if len(finite) < 0.9 * len(again):
        return Figure(value=value, why="no interval: too few of the bootstrap's draws have a value")
    low, high = np.percentile(finite, [2.5, 97.5])
    return Figure(value=value, low=float(low), high=float(high))
