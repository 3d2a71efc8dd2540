"""Eyes to train disc types on: the views of each, what they were labelled, whose they are; painted, or from a table.

A table (CSV) has a row an eye: `image` (a grey PNG beside it with the views side by side, each as high as wide, in the
order that is asked for, as right eyes), `person`, `label` (one of the five types) and, where it is known for certain,
`disc_type` (what the eye is); `eye` and others are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.data.table_file import read_cells
from oculard_models.volumes.types import DISC_TYPES

EYES_MAX = 100_000
NEEDED = ("image", "person", "label")


class EyesWrong(ValueError):
    """A table of eyes that cannot be used. The message names the row, and no person."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Eyes:
    """Many eyes. `labels` is what somebody called them, `truth` what they are; where that is not known, the same."""

    names: tuple[str, ...]  # of the views
    views: npt.NDArray[np.uint8]  # eyes x views x side x side
    persons: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64] | None = None  # nine of each, where they are known

    def __post_init__(self) -> None:
        count = len(self.views)
        if self.views.ndim != 4 or self.views.shape[1] != len(self.names) or self.views.dtype != np.uint8:
            raise ValueError(f"expected eyes x {len(self.names)} views of uint8: {self.views.shape}")
        if not len(self.persons) == len(self.labels) == len(self.truth) == count:
            raise ValueError("every eye needs a person and a label")


def read_eyes(path: Path, names: Sequence[str], size_px: int) -> Eyes:
    """Read a table and its pictures. Raises EyesWrong, TableWrong."""
    rows = _rows(path)
    views = np.stack([_strip(path.parent / row["image"], len(names), size_px, at) for at, row in enumerate(rows, 1)])
    labels = np.asarray([_label(row["label"], at) for at, row in enumerate(rows, 1)], dtype=np.int64)
    persons = np.asarray([row["person"] for row in rows])
    kinds = [_label(row.get("disc_type") or row["label"], at) for at, row in enumerate(rows, 1)]
    truth = np.asarray(kinds, dtype=np.int64)
    return Eyes(names=tuple(names), views=views, persons=persons, labels=labels, truth=truth)


def as_strip(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Put the views of one eye side by side."""
    return np.concatenate(list(views), axis=1)


def as_bytes(views: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """From 0..1 to whole numbers of a picture, as the bundle's own golden picture has them."""
    return np.round(np.clip(views, 0.0, 1.0) * 255.0).astype(np.uint8)


def _rows(path: Path) -> list[dict[str, str]]:
    """Read the rows; every one has what is needed. Raises TableWrong, EyesWrong."""
    columns = read_cells(path, (*NEEDED, "disc_type")).columns
    if missing := [name for name in NEEDED if name not in columns]:
        raise EyesWrong(f"{path.name} has no column {', '.join(missing)}; hint: a row an eye")
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if not 0 < len(rows) <= EYES_MAX:
        raise EyesWrong(f"{path.name} has {len(rows)} rows, from 1 to {EYES_MAX} can be used")
    for at, row in enumerate(rows, 1):
        if empty := [name for name in NEEDED if not row[name]]:
            raise EyesWrong(f"{path.name}, row {at}: no {', '.join(empty)}")
    return rows


def _label(text: str, at: int) -> int:
    """Read a type."""
    if text not in DISC_TYPES:
        raise EyesWrong(f"row {at}: `{text[:32]}` is no type; hint: one of {', '.join(DISC_TYPES)}")
    return DISC_TYPES.index(text)


def _strip(path: Path, views: int, size_px: int, at: int) -> npt.NDArray[np.uint8]:
    """Read the views of one eye, and make each as large as is asked for."""
    try:
        with Image.open(path) as picture:
            if picture.size != (picture.height * views, picture.height) or picture.mode != "L":
                raise EyesWrong(f"row {at}: {path.name} is {picture.size} {picture.mode}, not {views} grey squares")
            resized = picture.resize((views * size_px, size_px), Image.Resampling.BOX)
    except (OSError, SyntaxError, Image.DecompressionBombError) as why:
        raise EyesWrong(f"row {at}: {path.name} cannot be read: {why}") from why
    return np.stack(np.split(np.asarray(resized), views, axis=1))
