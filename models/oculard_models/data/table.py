"""The one table of a study: a row a photograph, with its person, its eye, and what is known of the person."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from oculard_models.data.dicom_header import header_eye
from oculard_models.data.photographs import PICTURE_SUFFIXES, Unreadable, find_instances
from oculard_models.data.table_file import MISSING, Cells, TableWrong, read_cells
from oculard_models.dicom_pixels import Undecodable

__all__ = ["BOUNDS", "CONCEPTS", "TARGETS", "UNITS", "Photograph", "Table", "TableWrong", "must_know", "read_table"]

TARGETS = ("sex", "age", "sbp", "dbp", "glucose", "waist", "bmi")
UNITS: Mapping[str, str] = MappingProxyType(
    {"sex": "F/M", "age": "a", "sbp": "mm[Hg]", "dbp": "mm[Hg]", "glucose": "mg/dL", "waist": "cm", "bmi": "kg/m2"}
)
CONCEPTS: Mapping[str, str] = MappingProxyType(  # how a manifest and the daemon's table of codes name an estimate of it
    {
        "sex": "EST-SEX",
        "age": "EST-AGE",
        "sbp": "EST-SBP",
        "dbp": "EST-DBP",
        "glucose": "EST-GLU",
        "waist": "EST-WC",
        "bmi": "EST-BMI",
    }
)
# Wide on purpose: they catch a swapped column or another unit (mmol/L, inches), not an unusual person.
BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "age": (0.0, 120.0),
        "sbp": (50.0, 300.0),
        "dbp": (20.0, 200.0),
        "glucose": (20.0, 1000.0),
        "waist": (30.0, 250.0),
        "bmi": (8.0, 100.0),
    }
)
SEXES: Mapping[str, float] = MappingProxyType({"F": 0.0, "M": 1.0})
COLUMNS = ("path", "sop_instance_uid", "person", "eye", *TARGETS)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
PERSON_CHARS_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One photograph: its file, whose it is, which eye ("R" or "L"), and the known values (sex: 0 F, 1 M)."""

    path: Path
    person: str
    eye: str
    values: Mapping[str, float] = field(hash=False)

    def __post_init__(self) -> None:
        if self.eye not in ("R", "L"):
            raise ValueError(f"expected eye `R` or `L`, got `{self.eye}`")
        if not self.person:
            raise ValueError("a photograph is of a person")


@dataclass(frozen=True, kw_only=True)  # no slots: `persons` is kept once computed
class Table:
    """The photographs of a study, and the name and digest of the file that said so."""

    photographs: tuple[Photograph, ...]
    sha256: str
    name: str
    warnings: tuple[str, ...] = ()

    @cached_property
    def persons(self) -> tuple[str, ...]:
        """Everyone in the table, once, sorted."""
        return tuple(sorted({photograph.person for photograph in self.photographs}))

    def of(self, persons: Collection[str]) -> tuple[Photograph, ...]:
        """Return the photographs of these persons, in the table's order."""
        chosen = frozenset(persons)
        return tuple(photograph for photograph in self.photographs if photograph.person in chosen)


def read_table(path: Path, *, images: Path | None = None) -> Table:
    """Read a table and find its photographs below `images`, or below the table's own folder. Raises TableWrong.

    Columns: `path` (below that folder) or `sop_instance_uid` (found in the headers below it), `person`, `eye` (R, L, or
    empty where a DICOM header says it), and any of TARGETS; an empty cell, NA or NaN is a value that nobody knows.
    """
    cells = read_cells(path, COLUMNS)
    by = _must_have(path, cells)
    folder = (images or path.parent).resolve()
    if not folder.is_dir():
        raise TableWrong(path.name, f"{folder} is no folder", hint="where are the photographs? (--images)")
    rows = _Rows(path.name, cells, _Finder(path.name, folder, cells.columns[by], by))
    photographs = tuple(rows.photograph(at) for at in range(cells.rows) if not rows.is_blank(at))
    if not photographs:
        raise TableWrong(path.name, "there is no row below the header", hint="one row a photograph")
    ignored = list(cells.ignored) + (
        ["sop_instance_uid"] if by == "path" and "sop_instance_uid" in cells.columns else []
    )
    warnings = (f"{path.name}: columns that nobody reads: {', '.join(ignored)}",) if ignored else ()
    return Table(photographs=photographs, sha256=cells.sha256, name=path.name, warnings=warnings)


def must_know(table: Table, names: Sequence[str]) -> None:
    """Make sure that every one of these targets is known of somebody. Raises TableWrong, which says what is known."""
    known = {name for photograph in table.photographs for name in photograph.values}
    for name in names:
        if name not in known:
            there = ", ".join(target for target in TARGETS if target in known) or "nothing"
            words = "is known of nobody" if name in TARGETS else f"is no target; targets are {', '.join(TARGETS)}"
            raise TableWrong(table.name, words, column=name, hint=f"this table knows {there}")


def _must_have(path: Path, cells: Cells) -> str:
    """Return the column that names the photographs. Raises TableWrong where a column that must be there is not."""
    by = "path" if "path" in cells.columns else "sop_instance_uid"
    for name in (by, "person", "eye"):
        if name not in cells.columns:
            there = ", ".join([*cells.columns, *cells.ignored][:20]) or "none"
            asked = "`path` or `sop_instance_uid`" if name == by else f"`{name}`"
            raise TableWrong(path.name, f"there is no column {asked}", hint=f"the columns are {there}")
    return by


class _Finder:
    """Finds the file of a row, and never one outside of the folder."""

    def __init__(self, file: str, folder: Path, column: Sequence[str], by: str) -> None:
        self.file, self.folder, self.column, self.by = file, folder, column, by
        try:
            self.instances = find_instances(folder, frozenset(column)) if by == "sop_instance_uid" else {}
        except Unreadable as why:
            raise TableWrong(file, str(why), column=by, hint="keep one of them below the folder") from why
        self.seen: dict[Path, int] = {}

    def find(self, at: int) -> Path:
        """Return the file of a row that no row before it named."""
        text = self.column[at]
        path = self._instance(at, text) if self.by == "sop_instance_uid" else self._below(at, text)
        if path in self.seen:
            words = f"row {self.seen[path] + 1} already names this photograph"
            raise TableWrong(self.file, words, row=at + 1, column=self.by, value=text, hint="keep one of the two rows")
        self.seen[path] = at
        return path

    def _instance(self, at: int, text: str) -> Path:
        if text not in self.instances:
            hint = f"looked at the DICOM headers below {self.folder}"
            raise TableWrong(self.file, "there is no such instance", row=at + 1, column=self.by, value=text, hint=hint)
        return self.instances[text]

    def _below(self, at: int, text: str) -> Path:
        try:
            path = (self.folder / text).resolve() if text else self.folder
            inside = path.is_relative_to(self.folder) and not Path(text).is_absolute()
            found = inside and path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a zero byte, a loop of links
            inside = found = False
        if not inside:
            hint = f"paths are relative and stay below {self.folder}"
            words = "the path leads out of the folder of the photographs"
            raise TableWrong(self.file, words, row=at + 1, column=self.by, value=text, hint=hint)
        if not found:
            hint = f"looked below {self.folder} (--images)"
            raise TableWrong(self.file, "there is no such file", row=at + 1, column=self.by, value=text, hint=hint)
        return path


@dataclass(slots=True)
class _Rows:
    """Turns the cells of one row into a photograph."""

    file: str
    cells: Cells
    finder: _Finder
    sexes: dict[str, tuple[str, int]] = field(default_factory=dict)  # person -> sex, and the row that said so first

    def is_blank(self, at: int) -> bool:
        """Whether a row holds nothing at all, as spreadsheets leave them below the last."""
        return not any(column[at] for column in self.cells.columns.values())

    def photograph(self, at: int) -> Photograph:
        person = self.cells.columns["person"][at]
        if not person or len(person) > PERSON_CHARS_MAX or not person.isprintable():
            hint = f"a name of the table's own for everyone, at most {PERSON_CHARS_MAX} printable characters"
            raise TableWrong(self.file, "whose photograph is it?", row=at + 1, column="person", hint=hint)
        path = self.finder.find(at)
        values = {name: value for name in TARGETS if (value := self._value(name, at)) is not None}
        self._one_sex(person, at)
        return Photograph(path=path, person=person, eye=self._eye(path, at), values=values)

    def _value(self, name: str, at: int) -> float | None:
        text = self._text(name, at)
        if not text:
            return None
        if name == "sex":
            if text not in SEXES:
                raise TableWrong(
                    self.file, "expected F or M", row=at + 1, column=name, value=text, hint="F female, M male"
                )
            return SEXES[text]
        low, high = BOUNDS[name]
        value = float(text) if NUMBER.fullmatch(text) else None
        if value is None or not low <= value <= high:
            words = f"expected a number from {low:g} to {high:g}"
            hint = f"the unit is {UNITS[name]}; leave the cell empty where the value is not known"
            raise TableWrong(self.file, words, row=at + 1, column=name, value=text, hint=hint)
        return value

    def _one_sex(self, person: str, at: int) -> None:
        text = self._text("sex", at)
        first, row = self.sexes.setdefault(person, (text, at)) if text else ("", at)
        if text != first:
            words = f"row {row + 1} says {first} of the same person"
            raise TableWrong(self.file, words, row=at + 1, column="sex", value=text, hint="one of the two is wrong")

    def _eye(self, path: Path, at: int) -> str:
        """Return the eye that the table says; of a DICOM file its header may say it, and must not contradict it."""
        text = self._text("eye", at)
        if text not in ("", "R", "L"):
            raise TableWrong(self.file, "expected R or L", row=at + 1, column="eye", value=text, hint="R right, L left")
        if path.suffix.lower() in PICTURE_SUFFIXES:
            header = ""
        else:
            try:
                header = header_eye(path)
            except (Undecodable, OSError) as why:
                raise TableWrong(self.file, str(why), row=at + 1, column="eye", hint=f"look at {path}") from why
        if not (text or header):
            hint = "write R or L; an eye is never guessed"
            raise TableWrong(self.file, "the eye is not known", row=at + 1, column="eye", value=text, hint=hint)
        if text and header and text != header:
            words = f"the header of the photograph says {header}"
            hint = "correct the table, or the photograph's header"
            raise TableWrong(self.file, words, row=at + 1, column="eye", value=text, hint=hint)
        return text or header

    def _text(self, name: str, at: int) -> str:
        """Return a cell, empty where nothing is known."""
        text = self.cells.columns[name][at] if name in self.cells.columns else ""
        return "" if text.upper() in MISSING else text
