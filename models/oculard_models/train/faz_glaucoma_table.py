"""The table of the study of glaucoma and the avascular zone: a row an eye, read whole or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, pi
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from oculard_models.data.table_file import Cells, TableWrong, read_cells
from oculard_models.evaluate.measures import Numbers

MEASURES = ("area", "perimeter", "circularity")  # as the bundle calls them
PERSONS = ("person", "patient_id")  # either name
LABELS = ("label", "glaucoma")
KNOWN = frozenset({*PERSONS, *LABELS, "eye", "age", *MEASURES})
PERSONS_MIN = 20  # of each class: about as many as a model of three measures needs to be fitted and tested at all
RANGES: Mapping[str, tuple[float, float, str]] = MappingProxyType(  # beyond lies another unit, or no zone
    {
        "area": (0.02, 3.0, "it is wanted in mm2; pixels times the height and width of one in mm"),
        "perimeter": (0.4, 15.0, "it is wanted in mm"),
        "circularity": (0.05, 1.000001, "4 pi area / perimeter squared: a circle has 1"),
        "age": (0.0, 120.0, "it is wanted in years"),
    }
)
AGREE = 0.1  # how far circularity may be from 4 pi area / perimeter squared, as a share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Eyes:
    """All eyes of a table, one a row: `truth` is 1 for glaucoma, `values` are by name, in mm2, mm, 1 and years."""

    persons: npt.NDArray[np.str_]
    truth: Numbers
    values: Mapping[str, Numbers]
    name: str
    sha256: str
    ignored: tuple[str, ...]

    def matrix(self, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
        """Return eyes x names."""
        return np.column_stack([self.values[name] for name in names])

    def persons_of(self, label: int) -> int:
        """Count the persons with an eye of a class."""
        return len(np.unique(self.persons[self.truth == label]))


def read_eyes(path: Path) -> Eyes:
    """Read and check the table. Raises TableWrong, which names the row; never a person.

    Columns: `person` or `patient_id`, `eye` (R, L), `label` or `glaucoma` (0, 1), MEASURES, and `age` if it is known.
    """
    cells = read_cells(path, KNOWN)
    person, label = _one_of(path, cells, PERSONS), _one_of(path, cells, LABELS)
    for name in ("eye", *MEASURES):
        if name not in cells.columns:
            raise TableWrong(path.name, "the column is not there", column=name, hint="measure the eyes first")
    _must_be_new(path, cells, person)
    names = [*MEASURES, *(["age"] if "age" in cells.columns else [])]
    eyes = Eyes(
        persons=np.array(cells.columns[person], dtype=np.str_),
        truth=np.array([_label(path, cells, label, at) for at in range(cells.rows)], dtype=np.float64),
        values={name: np.array([_value(path, cells, name, at) for at in range(cells.rows)]) for name in names},
        name=path.name,
        sha256=cells.sha256,
        ignored=cells.ignored,
    )
    _must_agree(path, eyes)
    _must_be_enough(path, eyes, label)
    return eyes


def _one_of(path: Path, cells: Cells, names: tuple[str, str]) -> str:
    """Return which of two names of a column is there."""
    there = [name for name in names if name in cells.columns]
    if len(there) != 1:
        words = "neither column is there" if not there else "both columns are there, and mean the same"
        raise TableWrong(path.name, words, column="` or `".join(names), hint="one of them")
    return there[0]


def _must_be_new(path: Path, cells: Cells, person: str) -> None:
    """Refuse an eye that stands in two rows: it would count twice, or be its own test."""
    seen: dict[tuple[str, str], int] = {}
    for at in range(cells.rows):
        who, eye = cells.columns[person][at], cells.columns["eye"][at].upper()
        if not who:
            raise TableWrong(
                path.name, "nobody is named", row=at + 1, column=person, hint="any text that tells people apart"
            )
        if eye not in ("R", "L"):
            raise TableWrong(path.name, "is no eye", row=at + 1, column="eye", value=eye, hint="R or L")
        if (who, eye) in seen:
            words = f"the same eye of the same person as row {seen[who, eye]}"
            raise TableWrong(path.name, words, row=at + 1, hint="keep one measurement of an eye")
        seen[who, eye] = at + 1


def _label(path: Path, cells: Cells, column: str, at: int) -> float:
    """Read one label."""
    text = cells.columns[column][at]
    if text not in ("0", "1"):
        raise TableWrong(path.name, "is no label", row=at + 1, column=column, value=text, hint="1 glaucoma, 0 none")
    return float(text)


def _value(path: Path, cells: Cells, name: str, at: int) -> float:
    """Read one number."""
    text, (low, high, hint) = cells.columns[name][at], RANGES[name]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        words = "is no number"
        raise TableWrong(path.name, words, row=at + 1, column=name, value=text, hint="leave out what was not measured")
    if not low <= value <= high:
        words = f"is not within {low:g} and {high:.6g}"
        raise TableWrong(path.name, words, row=at + 1, column=name, value=text, hint=hint)
    return value


def _must_agree(path: Path, eyes: Eyes) -> None:
    """Refuse measures that contradict each other: one of them has another unit, or another definition than ours."""
    ours = 4.0 * pi * eyes.values["area"] / np.square(eyes.values["perimeter"])
    wrong = np.flatnonzero(np.abs(eyes.values["circularity"] / ours - 1.0) > AGREE)
    if len(wrong):
        at = int(wrong[0])
        words = (
            f"area and perimeter make a circularity of {ours[at]:.3f}, the table says"
            f" {eyes.values['circularity'][at]:.3f}; so in {len(wrong)} of {len(ours)} rows"
        )
        raise TableWrong(path.name, words, row=at + 1, hint="mm2 and mm? and all three by the bundle's own measuring")


def _must_be_enough(path: Path, eyes: Eyes, column: str) -> None:
    """Refuse one class alone, and too few people of either."""
    for label, words in ((1, "with glaucoma"), (0, "without")):
        if eyes.persons_of(label) < PERSONS_MIN:
            raise TableWrong(
                path.name,
                f"{eyes.persons_of(label)} persons {words} are too few",
                column=column,
                hint=f"at least {PERSONS_MIN} with and {PERSONS_MIN} without glaucoma",
            )
