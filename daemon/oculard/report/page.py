"""Pages: one report as a self-contained HTML page for people, in Japanese and English. All input is hostile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from pydicom.dataset import Dataset

from oculard.report import notices, raw
from oculard.report.codes import table
from oculard.report.lenient import Decoded, decoded
from oculard.report.read import ReadFinding, ReadReport, ReadView, read_report
from oculard.report.request import Outcome
from oculard.report.rows import EYES, Row, certainty_row, make_row
from oculard.report.source import Grade
from oculard.report.tree import open_report
from oculard.report.views import JAPANESE as VIEWS

SEXES = {"M": "男 M", "F": "女 F", "O": "その他 O"}
GRADES = {
    Grade.GOOD: ("良好", "good"),
    Grade.LIMITED: ("やや不良", "limited"),
    Grade.UNGRADABLE: ("判定不能", "ungradable"),
    Grade.NOT_ASSESSED: ("未評価", "not assessed"),
}
OUTCOMES = {
    Outcome.COMPLETE: ("すべて推定", "All values estimated"),
    Outcome.PARTIAL: ("一部のみ推定", "Some values are missing"),
    Outcome.NOTHING: ("計測対象なし", "Nothing that could be measured"),
    Outcome.UNGRADABLE: ("使用できる画像がないため推定せず", "No image could be used: nothing estimated"),
    Outcome.EYE_UNKNOWN: ("左右不明のため推定せず", "Eye unknown: nothing estimated"),
    Outcome.FAILED: ("推定失敗", "Estimation failed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Patient and study as the source wrote them, decoded for showing."""

    name: Decoded
    patient_id: Decoded
    birth_date: str
    sex: str
    study_date: str
    study_description: Decoded
    accession_number: Decoded


def render_page(data: bytes) -> str:
    """The page of one report of ours. Raises NotOurReport for anything else."""
    report = read_report(data)
    return _template().render(
        report=report,
        person=_person(open_report(data)),
        rows=_rows(report),
        views=[_view(view) for view in report.views],
        eye=EYES[report.eye],
        outcome=OUTCOMES[report.outcome],
        fine=report.outcome is Outcome.COMPLETE,
        quality=GRADES[report.quality],
        grades=GRADES,
        notices=[(notices.JAPANESE.get(text, ""), text) for text in report.notices if text != notices.DEMONSTRATION],
        created=_moment(report.created),
    )


def _person(ds: Dataset) -> Person:
    sex = raw.text(ds, "PatientSex")
    return Person(
        name=_name(ds),
        patient_id=_decoded(ds, "PatientID"),
        birth_date=_date(raw.text(ds, "PatientBirthDate")),
        sex=SEXES.get(sex, sex),
        study_date=_date(raw.text(ds, "StudyDate")),
        study_description=_decoded(ds, "StudyDescription"),
        accession_number=_decoded(ds, "AccessionNumber"),
    )


def _decoded(ds: Dataset, keyword: str) -> Decoded:
    return decoded(raw.value_bytes(ds, raw.tag_of(keyword)), raw.text(ds, "SpecificCharacterSet"))


def _name(ds: Dataset) -> Decoded:
    """The name's groups (alphabetic, ideographic, phonetic) as a reader expects them."""
    name = _decoded(ds, "PatientName")
    groups = [" ".join(group.replace("^", " ").split()) for group in name.text.split("=")]
    return Decoded(text=" / ".join(group for group in groups if group), guessed=name.guessed)


def _rows(report: ReadReport) -> list[Row]:
    """The lines of the table: a class that is what was found comes first, how sure the model is of it last."""
    found = sorted(report.findings, key=lambda finding: not table().concepts[finding.concept].is_finding)
    sure = [] if report.certainty is None else [certainty_row(report.certainty)]
    return [*(_row(finding) for finding in found), *sure]


def _view(view: ReadView) -> Row:
    """The line of what one view alone said."""
    known = [choice for one in table().concepts.values() for choice in one.choices.values()]
    chosen = next((choice.japanese for choice in known if choice.code.value == view.choice), "")
    numbers = [number for number in view.probabilities.values() if number is not None]
    return Row(
        japanese=VIEWS.get(view.name, ""),
        english=view.meaning,
        choice=(chosen, view.choice_meaning),
        value=f"{max(numbers):.1f}" if numbers else "",
        unit="%",
    )


def _row(finding: ReadFinding) -> Row:
    row = make_row(
        table().concepts[finding.concept],
        value=finding.value,
        choice=finding.choice,
        uncertainty=finding.uncertainty,
        qualifier=finding.qualifier,
    )
    return replace(row, english=finding.meaning)  # as the report says it, whatever the table says today


def _date(text: str) -> str:
    """A DICOM date with hyphens; anything else as it is."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text


def _moment(text: str) -> str:
    return f"{_date(text[:8])} {text[8:10]}:{text[10:12]}" if len(text) >= 12 else _date(text[:8])


@cache
def _template() -> Template:
    """The packaged template, compiled once; it never changes while the program runs."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
