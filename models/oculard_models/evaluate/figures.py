"""One figure of an evaluation: a value with its interval, or the words why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from oculard_models.evaluate.measures import CannotMeasure, Measure, Numbers, draws

PERSONS_MIN = 10  # an interval over fewer would look more certain than it is
DEFINED_MIN = 0.9  # of the bootstrap's rounds in which a measure must be defined


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value with its 95 % interval over persons; `why` says what is missing: the value, or only the interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    def __post_init__(self) -> None:
        for number in (self.value, self.low, self.high):
            if number is not None and not isfinite(number):
                raise ValueError(f"a figure is not finite: {number}")
        if self.value is None and not self.why:
            raise ValueError("a figure needs a value, or the words why there is none")

    def text(self, decimals: int, factor: float = 1.0, unit: str = "") -> str:
        """Write the figure as a cell of a table."""
        if self.value is None:
            return f"cannot be computed: {self.why}"
        value = f"{self.value * factor:.{decimals}f}{unit}"
        if self.low is not None and self.high is not None:
            return f"{value} ({self.low * factor:.{decimals}f} to {self.high * factor:.{decimals}f})"
        return f"{value} ({self.why})" if self.why else value

    def to_json(self) -> dict[str, float | str]:
        """Write the figure for metrics.json; numbers that cannot be computed are left out, never NaN."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        said: dict[str, float | str] = {name: round(n, 4) for name, n in numbers.items() if n is not None}
        return said | ({"why": self.why} if self.why else {})


def figure_of(measure: Measure, truth: Numbers, estimate: Numbers) -> Figure:
    """Compute one measure without an interval."""
    try:
        value = measure(truth, estimate)
    except CannotMeasure as why:
        return Figure(why=str(why))
    return Figure(value=value) if isfinite(value) else Figure(why="the result is not a finite number")


def figures_of(
    measures: Mapping[str, Measure], truth: Numbers, estimate: Numbers, persons: npt.NDArray[np.str_], *, seed: int
) -> dict[str, Figure]:
    """Compute measures with their intervals, all on the same draws of persons."""
    plain = {name: figure_of(measure, truth, estimate) for name, measure in measures.items()}
    known = {name: measures[name] for name, figure in plain.items() if figure.value is not None}
    count = len(np.unique(persons))
    if count < PERSONS_MIN:
        why = f"no interval: {count} persons"
        return plain | {name: Figure(value=plain[name].value, why=why) for name in known}
    again: dict[str, list[float]] = {name: [] for name in known}
    rounds = 0
    for rows in draws(persons, seed=seed):
        rounds += 1
        drawn = truth[rows], estimate[rows]
        for name, measure in known.items():
            value = _value(measure, *drawn)
            if isfinite(value):
                again[name].append(value)
    return plain | {name: _with_interval(plain[name], values, rounds) for name, values in again.items()}


def _value(measure: Measure, truth: Numbers, estimate: Numbers) -> float:
    """Compute a measure on one draw; NaN where it is not defined."""
    try:
        return measure(truth, estimate)
    except CannotMeasure:
        return float("nan")


def _with_interval(plain: Figure, again: list[float], rounds: int) -> Figure:
    """Add the interval, where nearly every draw had a value."""
    if len(again) < DEFINED_MIN * rounds:
        return Figure(value=plain.value, why="no interval: too few of the bootstrap's draws have a value")
    low, high = np.percentile(again, [2.5, 97.5])
    return Figure(value=plain.value, low=float(low), high=float(high))
