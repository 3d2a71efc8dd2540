"""Reading: what a report of ours says, as typed values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from oculard.report import raw, tree
from oculard.report.codes import table, term
from oculard.report.request import EYES, SUITE_PARAMETERS, Outcome, Predecessor
from oculard.report.source import Grade
from oculard_models.contract import Qualifier


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFinding:
    """One finding as it arrived: the number, or the class with its probability, or why there is none.

    A class without a value reads as its missing probability, under the probability's own concept.
    """

    concept: str  # code value
    meaning: str
    unit: str  # UCUM
    value: float | None
    choice: str | None = None  # the class's name in the table of codes
    choice_meaning: str = ""
    uncertainty: float | None = None
    qualifier: Qualifier | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadView:
    """What the model said of one view alone: its class, and the probability in % of each class by concept."""

    name: str  # as in a manifest
    meaning: str
    choice: str  # code value of the class
    choice_meaning: str
    probabilities: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """One image of the image library."""

    sop_class_uid: str
    sop_instance_uid: str
    grade: Grade
    reasons: tuple[str, ...]
    used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGrader:
    """The quality gate that the report names."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadModel:
    """The model that the report names."""

    title: str
    name: str
    version: str
    manufacturer: str
    weights_sha256: str
    interval: str
    demonstration: bool
    parameters: tuple[str, ...] = ()  # what the values depend on, each `name=value`


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """One report."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    title: str
    created: str  # Content Date and Time: YYYYMMDDHHMMSS, in the time zone of the source
    eye: str
    tracking_uid: str
    finding: str  # meaning of the group's Finding
    findings: tuple[ReadFinding, ...]
    images: tuple[ReadImage, ...]
    quality: Grade
    grader: ReadGrader | None
    model: ReadModel
    summary: str
    outcome: Outcome
    remark: str
    notices: tuple[str, ...]
    predecessor: Predecessor | None
    segmentation: str = ""  # SOP Instance UID of the outline's SEG, where there is one
    certainty: float | None = None  # in %, where the model classifies views
    views: tuple[ReadView, ...] = ()


def read_report(data: bytes) -> ReadReport:
    """Read a report of ours. Raises NotOurReport for anything else."""
    ds = tree.open_report(data)
    root = tree.children(ds)
    library = tree.children(tree.one(tree.children(tree.one(root, "image-library")), "image-library-group"))
    group = tree.children(tree.one(tree.children(tree.one(root, "imaging-measurements")), "measurement-group"))
    summary = tree.one(tree.children(tree.one(root, "qualitative-evaluations")), "summary")
    eye, findings, images = _eye(group), tuple(_findings(group)), tuple(_image(item) for item in library)
    return ReadReport(
        sop_class_uid=raw.text(ds, "SOPClassUID"),
        sop_instance_uid=raw.text(ds, "SOPInstanceUID"),
        series_instance_uid=raw.text(ds, "SeriesInstanceUID"),
        study_instance_uid=raw.text(ds, "StudyInstanceUID"),
        title=raw.text(ds, "SeriesDescription"),
        created=raw.text(ds, "ContentDate") + raw.text(ds, "ContentTime")[:6],
        eye=eye,
        tracking_uid=raw.text(tree.one(group, "tracking-uid"), "UID"),
        finding=tree.meaning(tree.one(group, "finding"), "ConceptCodeSequence"),
        findings=findings,
        images=images,
        quality=_grade(group),
        grader=_grader(group),
        model=_model(group),
        summary=tree.meaning(summary, "ConceptCodeSequence"),
        outcome=_outcome(eye, tree.answer(summary), findings, images),
        remark=" ".join(tree.texts(group, "comment")),
        notices=tuple(tree.texts(group, "notice")),
        predecessor=_predecessor(ds),
        segmentation="".join(tree.reference(item)[1] for item in tree.named(group, "referenced-segment")[:1]),
        certainty=next((tree.number(item) for item in tree.named(group, "certainty")), None),
        views=tuple(_view(item) for item in tree.named(group, "view-class")),
    )


def _eye(group: list[Dataset]) -> str:
    sides = {tree.pair(term(f"eye-{eye.lower()}")): eye for eye in EYES if eye != "U"}
    said = tree.named(tree.children(tree.one(group, "finding-site")), "laterality")
    return sides.get(tree.answer(said[0]), "U") if said else "U"


def _findings(group: list[Dataset]) -> Iterator[ReadFinding]:
    """All findings; a class takes the place of the number that is its probability."""
    numbers = {number.concept: number for number in map(_number, _of_ours(group, "NUM"))}
    for item in _of_ours(group, "CODE"):
        name = tree.key(item, "ConceptNameCodeSequence")[0]
        known = table().concepts[name]
        for choice_name, choice in known.choices.items():
            if tree.pair(choice.code) == tree.answer(item) and choice.probability in numbers:
                number = numbers[choice.probability]
                numbers[choice.probability] = replace(
                    number,
                    concept=name,
                    meaning=known.code.meaning,
                    choice=choice_name,
                    choice_meaning=choice.code.meaning,
                )
    yield from numbers.values()


def _of_ours(group: list[Dataset], value_type: str) -> Iterator[Dataset]:
    """The items of one value type whose name is a concept of the table."""
    for item in group:
        value, scheme = tree.key(item, "ConceptNameCodeSequence")
        if raw.text(item, "ValueType") == value_type and scheme == table().own.designator and value in table().concepts:
            yield item


def _number(item: Dataset) -> ReadFinding:
    below = tree.children(item)
    uncertainty = tree.named(below, "uncertainty")
    qualifiers = {tree.pair(term(qualifier)): qualifier for qualifier in Qualifier}
    name = tree.key(item, "ConceptNameCodeSequence")[0]
    return ReadFinding(
        concept=name,
        meaning=tree.meaning(item, "ConceptNameCodeSequence"),
        unit=table().concepts[name].unit.value,
        value=tree.number(item),
        uncertainty=tree.number(uncertainty[0]) if uncertainty else None,
        qualifier=qualifiers.get(tree.key(item, "NumericValueQualifierCodeSequence")),
        sources=tuple(tree.reference(image)[1] for image in tree.named(below, "source-of-measurement")),
    )


def _view(item: Dataset) -> ReadView:
    below = tree.children(item)
    what = tree.one(below, "view")
    names = {tree.pair(code): role.removeprefix("view-") for role, code in table().terms.items()}
    numbers = list(_of_ours(below, "NUM"))
    return ReadView(
        name=names.get(tree.answer(what), ""),
        meaning=tree.meaning(what, "ConceptCodeSequence"),
        choice=tree.answer(item)[0],
        choice_meaning=tree.meaning(item, "ConceptCodeSequence"),
        probabilities={tree.key(number, "ConceptNameCodeSequence")[0]: tree.number(number) for number in numbers},
    )


def _image(item: Dataset) -> ReadImage:
    below = tree.children(item)
    sop_class_uid, sop_instance_uid = tree.reference(item)
    return ReadImage(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        grade=_grade(below),
        reasons=tuple(tree.texts(below, "quality-reason")),
        used=tree.answer(tree.one(below, "image-use")) == tree.pair(term("image-used")),
    )


def _grade(items: list[Dataset]) -> Grade:
    grades = {tree.pair(term(f"quality-{grade}")): grade for grade in Grade if grade is not Grade.NOT_ASSESSED}
    said = tree.named(items, "quality")
    return grades.get(tree.answer(said[0]), Grade.NOT_ASSESSED) if said else Grade.NOT_ASSESSED


def _grader(group: list[Dataset]) -> ReadGrader | None:
    for said in tree.named(group, "quality"):
        below = tree.children(said)
        names, versions = tree.texts(below, "algorithm-name"), tree.texts(below, "algorithm-version")
        if names and versions:
            weights_sha256 = _parameters(below).get("weights-sha256", "")
            return ReadGrader(name=names[0], version=versions[0], weights_sha256=weights_sha256)
    return None


def _parameters(items: list[Dataset]) -> dict[str, str]:
    """The algorithm's parameters, each written as `name=value`."""
    parts = (text.partition("=") for text in tree.texts(items, "algorithm-parameters"))
    return {name: value for name, _, value in parts}


def _model(group: list[Dataset]) -> ReadModel:
    parameters = _parameters(group)
    return ReadModel(
        title=raw.text(tree.one(group, "algorithm-name"), "TextValue"),
        name=parameters.get("name", ""),
        version=raw.text(tree.one(group, "algorithm-version"), "TextValue"),
        manufacturer=raw.text(tree.one(group, "algorithm-manufacturer"), "TextValue"),
        weights_sha256=parameters.get("weights-sha256", ""),
        interval=parameters.get("interval", ""),
        demonstration=tree.answer(tree.one(group, "model-status")) == tree.pair(term("model-demonstration")),
        parameters=tuple(f"{name}={value}" for name, value in parameters.items() if name not in SUITE_PARAMETERS),
    )


def _outcome(
    eye: str, summary: tuple[str, str], findings: tuple[ReadFinding, ...], images: tuple[ReadImage, ...]
) -> Outcome:
    if eye == "U":
        return Outcome.EYE_UNKNOWN
    if summary == tree.pair(term("summary-all")):
        return Outcome.COMPLETE
    if summary == tree.pair(term("summary-some")):
        return Outcome.PARTIAL
    if summary == tree.pair(term("summary-nothing")):
        return Outcome.NOTHING
    attempted = any(finding.qualifier is not Qualifier.NOT_ATTEMPTED for finding in findings)
    ungradable = any(image.grade is Grade.UNGRADABLE for image in images)
    return Outcome.UNGRADABLE if ungradable and not attempted else Outcome.FAILED


def _predecessor(ds: Dataset) -> Predecessor | None:
    for study in raw.items(ds, "PredecessorDocumentsSequence"):
        for series in raw.items(study, "ReferencedSeriesSequence"):
            sop_class_uid, sop_instance_uid = tree.reference(series)
            return Predecessor(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                series_instance_uid=raw.text(series, "SeriesInstanceUID"),
                study_instance_uid=raw.text(study, "StudyInstanceUID"),
            )
    return None
