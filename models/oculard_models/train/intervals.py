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
    return {
        name: Width(
            one=_width(*_one_each(predictions, k), level),
            both=_width(*_both(predictions, k), level),
        )
        for k, name in enumerate(predictions.names)
        if name != "sex"
    }


def _width(truth: Numbers, estimate: Numbers, level: float) -> float | None:
    """Return the half width, or None where there are too few people for the level."""
    try:
        width = conformal_half_width(truth, estimate, level)
    except ValueError:
        return None
    return width if width > 0 else None


def _one_each(predictions: Predictions, k: int) -> tuple[Numbers, Numbers]:
    """Take one photograph a person, right and left eyes in turn: errors of one person are no two new cases."""
    rows = _rows(predictions, k)
    chosen = [at[min(turn % 2, len(at) - 1)] for turn, at in enumerate(rows.values())]
    return predictions.truth[chosen, k], predictions.estimate[chosen, k]


def _both(predictions: Predictions, k: int) -> tuple[Numbers, Numbers]:
    """Average the photographs of each eye, then both eyes, of the people who have both."""
    truth, estimate = [], []
    for at in _rows(predictions, k).values():
        eyes = predictions.eyes[at]
        if {"R", "L"} <= set(eyes.tolist()):
            guess = predictions.estimate[at, k]
            estimate.append((guess[eyes == "R"].mean() + guess[eyes == "L"].mean()) / 2)
            truth.append(predictions.truth[at, k].mean())
    return np.array(truth), np.array(estimate)


def _rows(predictions: Predictions, k: int) -> dict[str, list[int]]:
    """Group the rows where a value is known by person: a right eye first, then a left one, then what else there is."""
    known = np.flatnonzero(np.isfinite(predictions.truth[:, k]) & np.isfinite(predictions.estimate[:, k]))
    rows: dict[str, list[int]] = {}
    for row in sorted(known.tolist(), key=lambda row: (str(predictions.persons[row]), predictions.eyes[row] != "R")):
        rows.setdefault(str(predictions.persons[row]), []).append(row)
    for person, at in rows.items():
        left = next((row for row in at if predictions.eyes[row] == "L"), None)
        if left is not None and len(at) > 2:
            rows[person] = [at[0], left, *(row for row in at[1:] if row != left)]
    return rows
