"""Invents people with and without glaucoma whose avascular zones differ by a planted, overlapping effect.

Logarithms of area and circularity are normal, of one spread in both groups, and independent of each other; the two
eyes of a person are alike. So every AUC that a study of these people should find is known (`planted_aucs`). The
effect's size is invented. It says nothing about glaucoma.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import erf, hypot, pi, sqrt

import numpy as np

STREAM = 108  # of random numbers
AREA_MM2, AREA_SPREAD, AREA_EFFECT = 0.30, 0.30, 0.22  # median without glaucoma; then of the logarithm
ROUND, ROUND_SPREAD, ROUND_EFFECT = 0.76, 0.10, 0.08  # circularity; glaucoma's is lower
ROUND_MAX = 0.985  # a drawn value above is set to it: 0.5 % of the eyes without glaucoma
ALIKE = 0.7  # correlation of a person's eyes within a group
AGE, AGE_SPREAD = 62.0, 9.0  # the same in both groups


@dataclass(frozen=True, slots=True, kw_only=True)
class FazEye:
    """One eye of an invented person and its zone: mm2, mm, 1. `seed` paints it (data/paint_octa.py)."""

    person: str
    eye: str
    glaucoma: int
    age: float
    area: float
    perimeter: float
    circularity: float
    seed: int


def painted_faz_cohort(seed: int, people: int, *, share: float = 0.5) -> tuple[FazEye, ...]:
    """Draw so many people, the first `share` of them with glaucoma, right eye before left; same seed, same people."""
    rng = np.random.default_rng([STREAM, seed])
    eyes: list[FazEye] = []
    for number in range(people):
        glaucoma = int(number < round(share * people))
        age = round(float(np.clip(rng.normal(AGE, AGE_SPREAD), 40.0, 90.0)), 1)
        common = rng.standard_normal(2)
        for side, eye in enumerate("RL"):
            size, roundness = sqrt(ALIKE) * common + sqrt(1.0 - ALIKE) * rng.standard_normal(2)
            area = AREA_MM2 * float(np.exp(AREA_EFFECT * glaucoma + AREA_SPREAD * size))
            circularity = min(ROUND_MAX, ROUND * float(np.exp(ROUND_SPREAD * roundness - ROUND_EFFECT * glaucoma)))
            eyes.append(
                FazEye(
                    person=f"painted-{seed}-{number}",
                    eye=eye,
                    glaucoma=glaucoma,
                    age=age,
                    area=area,
                    perimeter=sqrt(4.0 * pi * area / circularity),
                    circularity=circularity,
                    seed=2 * (seed * 1_000_000 + number) + side,
                )
            )
    return tuple(eyes)


def planted_aucs() -> Mapping[str, float]:
    """Return the AUC that is planted: of each measure alone, and the best that any rule of them can have.

    For two normal groups of one spread whose means are d spreads apart the AUC is Phi(d / sqrt(2)). The logarithm of
    the perimeter is half of (log area - log circularity).
    """
    apart = {
        "area": AREA_EFFECT / AREA_SPREAD,
        "perimeter": (AREA_EFFECT + ROUND_EFFECT) / hypot(AREA_SPREAD, ROUND_SPREAD),
        "circularity": ROUND_EFFECT / ROUND_SPREAD,
        "best": hypot(AREA_EFFECT / AREA_SPREAD, ROUND_EFFECT / ROUND_SPREAD),
    }
    return {name: 0.5 * (1.0 + erf(d / 2.0)) for name, d in apart.items()}
