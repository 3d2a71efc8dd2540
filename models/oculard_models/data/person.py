"""Invented people: the attributes that are planted into painted eyes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from types import MappingProxyType
from typing import Literal

import numpy as np

Sex = Literal["F", "M"]

STREAM = 101  # of random numbers: see data/paint.py
VALUES = ("age", "sbp", "dbp", "glucose", "waist", "bmi")  # the numbers of a Person, in the order of every table

# Lower and upper end, mean and standard deviation of each number. They resemble a Japanese health check-up of
# adults; they were chosen by us and are nobody's statistics.
LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "age": (20.0, 90.0),  # a
        "sbp": (80.0, 200.0),  # mm[Hg]
        "dbp": (45.0, 125.0),  # mm[Hg]
        "glucose": (65.0, 220.0),  # mg/dL
        "waist": (55.0, 125.0),  # cm
        "bmi": (15.0, 40.0),  # kg/m2
    }
)
CENTRE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "age": (55.0, 15.0),
        "sbp": (125.0, 16.0),
        "dbp": (76.0, 11.0),
        "glucose": (99.0, 18.0),
        "waist": (83.5, 10.0),
        "bmi": (23.2, 3.6),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Seven attributes of an invented person: years, mmHg, mg/dL, cm, kg/m2."""

    age: float
    sex: Sex
    sbp: float
    dbp: float
    glucose: float
    waist: float
    bmi: float

    def __post_init__(self) -> None:
        if self.sex not in ("F", "M"):
            raise ValueError(f"expected sex `F` or `M`, got `{self.sex}`")
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be within {low:g} to {high:g}, got {getattr(self, name):g}")

    def standard(self, name: str) -> float:
        """Return a number as its distance from the mean in standard deviations."""
        mean, deviation = CENTRE[name]
        return (float(getattr(self, name)) - mean) / deviation


def sample_person(rng: np.random.Generator) -> Person:
    """Draw one person. The attributes depend on each other as they do in life: loosely."""
    male = bool(rng.random() < 0.5)
    age = 20.0 + 70.0 * rng.beta(2.3, 2.3)
    old = (age - 55.0) / 15.0
    weight, pressure, rest, girth, sugar = rng.standard_normal(5)
    bmi = 23.0 * exp(0.15 * weight) + (0.5 if male else -0.3)
    heavy = (bmi - 23.2) / 3.6
    sbp = 125.0 + 16.0 * (0.35 * old + 0.20 * heavy + 0.91 * pressure)
    dbp = 76.0 + 11.0 * (0.55 * (sbp - 125.0) / 16.0 + 0.10 * heavy - 0.15 * old + 0.82 * rest)
    waist = 83.5 + 2.2 * (bmi - 23.2) + (2.5 if male else -2.5) + 1.5 * old + 5.0 * girth
    glucose = 68.0 + exp(3.3 + 0.15 * old + 0.12 * heavy + 0.45 * sugar)
    drawn = {"age": age, "sbp": sbp, "dbp": dbp, "glucose": glucose, "waist": waist, "bmi": bmi}
    kept = {name: round(float(np.clip(value, *LIMITS[name])), 1) for name, value in drawn.items()}
    return Person(sex="M" if male else "F", **kept)


def sample_people(count: int, seed: int) -> list[Person]:
    """Draw `count` people; the same seed gives the same people, and a longer list begins with the shorter one."""
    return [sample_person(np.random.default_rng([STREAM, seed, index])) for index in range(count)]
