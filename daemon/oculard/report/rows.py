"""Rows: the findings as lines of a table for people, the same on the page, in the picture and in the PDF."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oculard.report.codes import Concept, concept, term
from oculard.report.request import ReportRequest
from oculard.report.shape import FoundShape
from oculard_models.contract import Qualifier

SHOWN_UNITS = {
    "a": "歳 years",
    "mm[Hg]": "mmHg",
    "kg/m2": "kg/m²",
    "mm2": "mm²",
    "um": "µm",
    "1": "",
    "{ratio}": "",
    "{pixels}": "px",
}
EYES = {
    "R": ("右眼", "Right eye"),
    "L": ("左眼", "Left eye"),
    "B": ("両眼", "Both eyes"),
    "U": ("左右不明", "Eye unknown"),
}
QUALIFIERS = {
    Qualifier.FAILURE: ("推定失敗", "failed"),
    Qualifier.NOT_ATTEMPTED: ("推定せず", "not attempted"),
    Qualifier.OUT_OF_RANGE: ("範囲外", "out of range"),
    Qualifier.INDETERMINATE: ("判定不能", "indeterminate"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table of values."""

    japanese: str
    english: str
    value: str
    choice: tuple[str, str] | None = None  # Japanese, English
    uncertainty: str = ""
    unit: str = ""
    missing: tuple[str, str] | None = None  # Japanese, English


def make_row(
    known: Concept, *, value: float | None, choice: str | None, uncertainty: float | None, qualifier: Qualifier | None
) -> Row:
    """Make the line of one finding, rounded as the table of codes says."""
    chosen = None if choice is None else known.choices[choice]
    return Row(
        japanese=known.japanese,
        english=known.code.meaning,
        value="" if value is None else f"{value:.{known.decimals}f}",
        choice=None if chosen is None else (chosen.japanese, chosen.code.meaning),
        uncertainty="" if uncertainty is None else f"{uncertainty:.{known.decimals}f}",
        unit=SHOWN_UNITS.get(known.unit.value, known.unit.value),
        missing=None if qualifier is None else QUALIFIERS[qualifier],
    )


def certainty_row(certainty: float) -> Row:
    """The line of how sure a model states to be."""
    return Row(
        japanese="確信度（確率×一致した画像の割合）",
        english=f"{term('certainty').meaning}: probability x share of views that agree",
        value=f"{min(certainty, 100.0):.1f}",
        unit="%",
    )


def rows_of(request: ReportRequest) -> tuple[Row, ...]:
    """The lines of a report that is being written, in the order of its outputs, for a sheet that names the structure.

    A model that classifies views says last how sure it is.

    What was counted in pixels is left out where the same is known in mm: people compare eyes in mm.
    """
    pairs = [(concept(output.concept), found) for output, found in zip(request.outputs, request.findings, strict=True)]
    in_mm = any(found.value is not None and known.unit.value in ("mm", "mm2") for known, found in pairs)
    rows = (
        make_row(
            known,
            value=found.value,
            choice=found.choice,
            uncertainty=found.uncertainty,
            qualifier=found.qualifier,
        )
        for known, found in pairs
        if not (in_mm and known.unit.value == "{pixels}")
    )
    lines = tuple(row if request.shape is None else _shortened(row, request.shape) for row in rows)
    return lines if request.seen is None else (*lines, certainty_row(request.seen.certainty))


def _shortened(row: Row, shape: FoundShape) -> Row:
    """A line whose names do not repeat that of the structure."""
    english = row.english.removeprefix(shape.name).strip()
    japanese = row.japanese.removeprefix(f"{shape.japanese}の")
    return replace(row, english=english[:1].upper() + english[1:], japanese=japanese)
