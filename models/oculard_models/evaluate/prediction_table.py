"""Predictions as a CSV file: person, eye, and for every target its truth and its estimate."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from oculard_models.data.table import TARGETS
from oculard_models.evaluate.measures import Numbers
from oculard_models.evaluate.predictions import COVARIATES, Predictions, PredictionsWrong

SUFFIX = "_estimate"  # of the column beside a target's own
FILE_MAX_BYTES = 64 << 20
FIELD_MAX = 256  # characters


def write_csv(predictions: Predictions, path: Path) -> None:
    """Write one row a photograph; an empty cell is a value that is not known. Read back it is the same to the bit."""
    columns: dict[str, Numbers] = {}
    for k, name in enumerate(predictions.names):
        columns |= {name: predictions.truth[:, k], name + SUFFIX: predictions.estimate[:, k]}
    columns |= predictions.beside
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["person", "eye", *columns])
        for row in range(len(predictions)):
            cells = [_cell(float(column[row])) for column in columns.values()]
            writer.writerow([predictions.persons[row], predictions.eyes[row], *cells])


def read_csv(path: Path) -> Predictions:
    """Read what `write_csv` wrote, or anybody else in that form. Raises PredictionsWrong."""
    header, *lines = _lines(path) or [[]]
    if not lines:
        raise PredictionsWrong(f"{path} has no rows; hint: a line of column names, then one line a photograph")
    names = _names(path, header)
    keys: list[tuple[str, str]] = []
    numbers: list[list[float]] = []
    for row, cells in enumerate(lines, start=1):
        keys.append(_key(path, row, header, cells))
        numbers.append([_number(path, row, header[k], cells[k]) for k in range(2, len(cells))])
    column = dict(zip(header[2:], np.array(numbers, dtype=np.float64).T, strict=True))
    try:
        return Predictions(
            persons=np.array([person for person, _ in keys], dtype=np.str_),
            eyes=np.array([eye for _, eye in keys], dtype=np.str_),
            names=names,
            truth=np.stack([column[name] for name in names], axis=1),
            estimate=np.stack([column[name + SUFFIX] for name in names], axis=1),
            beside={name: column[name] for name in COVARIATES if name in column and name not in names},
        )
    except PredictionsWrong as why:
        raise PredictionsWrong(f"{path}: {why}") from why


def _lines(path: Path) -> list[list[str]]:
    """Read the cells of a file of sane size."""
    try:
        size = path.stat().st_size
        if size > FILE_MAX_BYTES:
            raise PredictionsWrong(f"{path} has {size} bytes, {FILE_MAX_BYTES} are allowed")
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [cells for cells in csv.reader(file, strict=True) if cells]
    except OSError as why:
        raise PredictionsWrong(f"{path} cannot be read: {why.strerror}") from why
    except (UnicodeDecodeError, csv.Error) as why:
        raise PredictionsWrong(f"{path} is no CSV file in UTF-8: {why}") from why


def _names(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """Read the targets off the column names: each has its truth and its estimate; age and sex may stand alone."""
    names = tuple(column.removesuffix(SUFFIX) for column in header[2:] if column.endswith(SUFFIX))
    allowed = {*names, *(name + SUFFIX for name in names), *COVARIATES}
    sound = len(set(header)) == len(header) and {*names} <= {*header} <= {"person", "eye"} | allowed
    if list(header[:2]) != ["person", "eye"] or not names or not sound or not set(names) <= set(TARGETS):
        said = ", ".join(header)[:FIELD_MAX]
        raise PredictionsWrong(f"{path} has the columns {said}; hint: person, eye, then pairs like age, age{SUFFIX}")
    return names


def _key(path: Path, row: int, header: Sequence[str], cells: Sequence[str]) -> tuple[str, str]:
    """Read person and eye of a row that is as long as it must be."""
    if len(cells) != len(header):
        raise PredictionsWrong(f"{path}, row {row}: {len(cells)} cells under {len(header)} column names")
    person, eye = cells[0].strip(), cells[1].strip()
    if not person or len(person) > FIELD_MAX:
        raise PredictionsWrong(
            f"{path}, row {row}, column `person`: it has {len(person)} characters, 1 to {FIELD_MAX} are allowed"
        )
    if eye not in ("R", "L"):
        raise PredictionsWrong(f"{path}, row {row}, column `eye`: `{eye[:FIELD_MAX]}`; hint: R or L")
    return person, eye


def _cell(value: float) -> str:
    """Write a number so that it is read back the same; nothing where it is not known."""
    return repr(value) if isfinite(value) else ""


def _number(path: Path, row: int, column: str, cell: str) -> float:
    """Read a cell; empty means not known."""
    if not cell.strip():
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise PredictionsWrong(
            f"{path}, row {row}, column `{column}`: `{cell[:FIELD_MAX]}` is no number; hint: leave unknown cells empty"
        )
    return value
