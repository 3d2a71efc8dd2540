"""How well the optic disc is found: against masks, against experts' centres and diameters, against boxes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, nan, pi, sqrt
from pathlib import Path
from statistics import fmean

import numpy as np

from oculard_models.contract import Measured, Shape
from oculard_models.data.masked import Mask, read_picture
from oculard_models.evaluate.masks import dice, hausdorff95
from oculard_models.preprocess import Pixels
from oculard_models.train.settings import TrainingWrong

Place = tuple[float, float]  # x, y in pixels of the photograph
Find = Callable[[Pixels], Measured]

# The second expert's y of this photograph has lost a digit: 110 where the first has 1107.
MISTYPED = {("02_g.jpg", 2)}
IN_PLACE = 0.5  # disc diameters: nearer than this the middle of what was found lies in the disc


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One photograph of known disc. Lengths in disc diameters; area is that of what was found / the true one.

    What was not found has Dice 0 where there is a mask, and no lengths.
    """

    name: str
    found: bool
    centre_dd: float | None
    area_ratio: float | None
    dice: float | None = None
    hausdorff95_px: float | None = None
    hausdorff95_dd: float | None = None
    reason: str = ""


def against_mask(name: str, truth: Mask, measured: Measured) -> Found:
    """Compare what was found with a mask that a person drew."""
    if measured.shape is None:
        return Found(name=name, found=False, centre_dd=None, area_ratio=None, dice=0.0, reason=measured.reason)
    ours, theirs = _around(measured.shape.mask, truth)
    diameter = 2.0 * sqrt(truth.sum() / pi)
    apart = hausdorff95(theirs, ours)
    return Found(
        name=name,
        found=True,
        centre_dd=_apart(middle(measured.shape), _centroid(truth)) / diameter,
        area_ratio=float(measured.shape.mask.sum() / truth.sum()),
        dice=dice(theirs, ours),
        hausdorff95_px=apart,
        hausdorff95_dd=apart / diameter,
        reason=measured.reason,
    )


def against_circle(name: str, centre: Place, diameter: float, measured: Measured) -> Found:
    """Compare what was found with a centre and a diameter."""
    if measured.shape is None:
        return Found(name=name, found=False, centre_dd=None, area_ratio=None, reason=measured.reason)
    return Found(
        name=name,
        found=True,
        centre_dd=_apart(middle(measured.shape), centre) / diameter,
        area_ratio=float(measured.shape.mask.sum() / (pi / 4.0 * diameter**2)),
        reason=measured.reason,
    )


def hrf(folder: Path, find: Find) -> dict[str, object]:
    """Measure on HRF, whose discs two experts marked: every centre that is no slip of the pen, mean diameter."""
    marks, found, people = _marks(folder), [], []
    for name, mark in marks.items():
        centre = (fmean(x for x, _ in mark.centres), fmean(y for _, y in mark.centres))
        found.append(against_circle(name, centre, mark.diameter, find(read_picture(folder / name))))
        if len(mark.centres) == 2:
            people.append(_apart(*mark.centres) / mark.diameter)
    return summed(found) | {
        "experts_apart_dd": round(fmean(people), 3) if people else None,
        "experts_apart_photographs": len(people),
        "left_out": "expert 2 on 02_g.jpg: y is 110 where expert 1 has 1107",
    }


def csdi(folder: Path, find: Find) -> dict[str, object]:
    """Measure on CSDI: is a disc found where graders saw one, and does its middle lie in their box?"""
    seen: list[Found] = []
    in_box, absent, silent = 0, 0, 0
    for row in _rows(folder / "labels.csv"):
        name, measured = row["image"], find(read_picture(folder / row["image"]))
        if row["optic_disc_visible"] != "visible":
            absent += 1
            silent += measured.shape is None
            continue
        left, top, right, bottom = (_number(row, f"disc_{key}", folder) for key in ("x1", "y1", "x2", "y2"))
        centre, sides = ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top)
        seen.append(against_circle(name, centre, sqrt(sides[0] * sides[1]), measured))
        x, y = (nan, nan) if measured.shape is None else middle(measured.shape)
        in_box += left <= x <= right and top <= y <= bottom
    return summed(seen) | {
        "centre_in_box": in_box,
        "not_visible": absent,
        "not_visible_and_none_found": silent,
        "visible": len(seen),
        "visible_and_found": sum(one.found for one in seen),
    }


def summed(found: Sequence[Found]) -> dict[str, object]:
    """Summarise photographs; figures over those where a disc was found, Dice over all."""
    some = [one for one in found if one.found]
    return {
        "photographs": len(found),
        "found": len(some),
        "in_place": sum(one.centre_dd is not None and one.centre_dd < IN_PLACE for one in found),
        "centre_dd": _spread(one.centre_dd for one in some),
        "area_ratio": _spread(one.area_ratio for one in some),
        "dice": _spread(one.dice for one in found),
        "hausdorff95_px": _spread(one.hausdorff95_px for one in some),
        "hausdorff95_dd": _spread(one.hausdorff95_dd for one in some),
    }


def middle(shape: Shape) -> Place:
    """Return the centroid of what was found."""
    return _centroid(shape.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """Where experts saw a disc."""

    centres: tuple[Place, ...]
    diameter: float


def _marks(folder: Path) -> dict[str, _Mark]:
    """Read the experts' marks of the photographs that have any."""
    marks = {}
    for row in _rows(folder / "labels.csv"):
        name = row["image"]
        experts = [k for k in (1, 2) if row.get(f"disc_x_expert{k}")]
        centres = tuple(
            (_number(row, f"disc_x_expert{k}", folder), _number(row, f"disc_y_expert{k}", folder))
            for k in experts
            if (name, k) not in MISTYPED
        )
        if centres:
            diameter = fmean(_number(row, f"disc_diameter_expert{k}", folder) for k in experts)
            marks[name] = _Mark(centres=centres, diameter=diameter)
    return marks


def _rows(path: Path) -> list[dict[str, str]]:
    """Read a table of labels. Raises TrainingWrong."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise TrainingWrong(f"{path} cannot be read: {why}; hint: --data names the folder above fundus/") from why


def _number(row: Mapping[str, str], key: str, folder: Path) -> float:
    """Read one number of a table. Raises TrainingWrong."""
    try:
        return float(row[key])
    except (ValueError, KeyError, TypeError):
        raise TrainingWrong(f"{folder / 'labels.csv'}: `{key}` of {row['image']} is no number") from None


def _around(one: Mask, two: Mask) -> tuple[Mask, Mask]:
    """Cut two masks to what they cover together: photographs are large, distances between borders stay the same."""
    both = one | two
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return one[part], two[part]


def _centroid(mask: Mask) -> Place:
    """Return the mean of the middles of a mask's pixels."""
    rows, columns = np.nonzero(mask)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def _apart(one: Place, two: Place) -> float:
    return hypot(one[0] - two[0], one[1] - two[1])


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Return mean, deviation, least and most of what is known."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {
        "mean": round(fmean(known), 4),
        "sd": round(float(np.std(known, ddof=1)), 4) if len(known) > 1 else 0.0,
        "least": round(min(known), 4),
        "most": round(max(known), 4),
    }
