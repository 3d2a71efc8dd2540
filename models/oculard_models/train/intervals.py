"""How wide the intervals must be: conformal half widths, for one photograph and for the mean of both eyes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oculard_models.evaluate.measures import Numbers, conformal_half_width
from oculard_models.evaluate.predictions import Predictions

LEVEL = 0.9  # of every interval that our trainings write


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Half widths in the value's unit, of one photograph and of both eyes' mean; None where too few people are."""

    one: float | None
    both: float | None


def half_widths(predictions: Predictions, level: float = LEVEL) -> Mapping[str, Width]:
    """Return the widths of every value (not of sex) from people who neither trained nor chose the network."""
    people = predictions.by_person()
    both = people.where(people.eyes == "RL")
    return {
        name: Width(one=_width(*_one_each(predictions, name), level), both=_width(*_known(both, name), level))
        for name in predictions.names
        if name != "sex"
    }


def _width(truth: Numbers, estimate: Numbers, level: float) -> float | None:
    """Return the half width, or None where there are too few people for the level."""
    try:
        width = conformal_half_width(truth, estimate, level)
    except ValueError:
        return None
    return width if width > 0 else None


def _known(predictions: Predictions, name: str) -> tuple[Numbers, Numbers]:
    """Keep the rows that have a truth and an estimate."""
    truth, estimate = predictions.of(name)
    known = np.isfinite(truth) & np.isfinite(estimate)
    return truth[known], estimate[known]


def _one_each(predictions: Predictions, name: str) -> tuple[Numbers, Numbers]:
    """Take one photograph a person, right and left eyes in turn: the errors of one person are no two new cases."""
    truth, estimate = predictions.of(name)
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(truth) & np.isfinite(estimate)).tolist():
        rows.setdefault(str(predictions.persons[row]), []).append(row)
    wanted = {person: "RL"[turn % 2] for turn, person in enumerate(sorted(rows))}
    chosen = [
        next((row for row in at if predictions.eyes[row] == wanted[person]), at[0]) for person, at in rows.items()
    ]
    return truth[chosen], estimate[chosen]
