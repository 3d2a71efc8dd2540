"""The measurement group: the findings of one eye, or of both, with site, method, model and quality.

PS3.16 TID 1501, shaped as TID 2120; with a segmentation TID 1410.
"""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.sr import ContentItem

from oculard.report import items
from oculard.report.codes import Code, Concept, Family, concept, family, term, unit
from oculard.report.items import CONTAINS, HAS_CONCEPT_MOD, HAS_OBS_CONTEXT, HAS_PROPERTIES, INFERRED_FROM
from oculard.report.library import grade_code
from oculard.report.notices import notices
from oculard.report.planned import Role, planned_companions
from oculard.report.request import Grader, Origin, ReportRequest
from oculard.report.source import Grade
from oculard_models.contract import Finding

WORST_FIRST = (Grade.UNGRADABLE, Grade.LIMITED, Grade.GOOD)


def measurement_group(request: ReportRequest) -> ContentItem:
    """All findings of one report."""
    kind = family(request.origin.family)
    return items.container(
        term("measurement-group"),
        [
            *_tracking(request),
            *_notices(request),
            items.code(term("finding"), _finding(request, kind), CONTAINS),
            items.code(term("method"), kind.method, CONTAINS),
            _site(request.eye, kind),
            *_segmentation(request),
            *_suite(request.origin, request.parameters),
            *_values(request, kind),
            *_views(request, kind),
            *_quality(request),
            *[
                items.image(term("source-of-measurement"), source, CONTAINS)
                for source in request.sources
                if source.used
            ],
        ],
        template="1410" if request.has_segmentation else "1501",
    )


def _tracking(request: ReportRequest) -> list[ContentItem]:
    return [
        items.text(term("tracking-identifier"), request.tracking_identifier, HAS_OBS_CONTEXT),
        items.uid(term("tracking-uid"), request.tracking_uid, HAS_OBS_CONTEXT),
    ]


def _segmentation(request: ReportRequest) -> list[ContentItem]:
    """The frame that holds the outlined structure, and the image that it was outlined in (TID 1410)."""
    source = request.shape_source
    segmentations = [one for one in planned_companions(request) if one.role is Role.SEG]
    if source is None or not segmentations:
        return []
    return [
        items.frame(term("referenced-segment"), segmentations[0], CONTAINS),
        items.image(term("source-of-segmentation"), source, CONTAINS),
    ]


def _finding(request: ReportRequest, kind: Family) -> Code:
    """The class that was found, where the family has such a class, else what the family always finds."""
    for finding, output in zip(request.findings, request.outputs, strict=True):
        known = concept(output.concept)
        if known.is_finding and finding.choice is not None:
            return known.choices[finding.choice].code
    return kind.finding


def _notices(request: ReportRequest) -> list[ContentItem]:
    """What people must read before the values."""
    status = "model-demonstration" if request.origin.demonstration else "model-research"
    found = [
        items.code(term("model-status"), term(status), CONTAINS),
        *[items.text(term("notice"), notice, CONTAINS) for notice in notices(request)],
    ]
    if request.remark:
        found.append(items.comment(request.remark))
    return found


def _site(eye: str, kind: Family) -> ContentItem:
    """The eye, with its side (or both) unless that is unknown: a side is never guessed."""
    children = []
    if eye != "U":
        children.append(items.code(term("laterality"), term(f"eye-{eye.lower()}"), HAS_CONCEPT_MOD))
    if kind.topography is not None:
        children.append(items.code(term("topography"), kind.topography, HAS_CONCEPT_MOD))
    return items.code(term("finding-site"), term("eye"), HAS_CONCEPT_MOD, *children)


def _suite(origin: Origin, parameters: tuple[str, ...]) -> list[ContentItem]:
    """The model as a whole, and what its values depend on (TID 4019)."""
    own = f"name={origin.name}", f"interval={100 * origin.interval:g}%"
    return [
        *_algorithm(origin, origin.title, *own, *parameters),
        items.text(term("algorithm-manufacturer"), origin.manufacturer, HAS_CONCEPT_MOD),
        items.code(term("algorithm-family"), term("artificial-intelligence"), HAS_CONCEPT_MOD),
    ]


def _algorithm(origin: Origin, name: str, *parameters: str) -> list[ContentItem]:
    """Name, version, weights and the mark of a demonstration model (TID 4019)."""
    marked = f"{name} (DEMONSTRATION)" if origin.demonstration else name
    status = ("demonstration=yes",) if origin.demonstration else ()
    return [
        items.text(term("algorithm-name"), marked, HAS_CONCEPT_MOD),
        items.text(term("algorithm-version"), origin.version, HAS_CONCEPT_MOD),
        *[
            items.text(term("algorithm-parameters"), parameter, HAS_CONCEPT_MOD)
            for parameter in (*parameters, f"weights-sha256={origin.weights_sha256}", *status)
        ],
    ]


def _values(request: ReportRequest, kind: Family) -> Iterator[ContentItem]:
    """The findings as numbers, and as codes where a finding is a class."""
    numbers = {output.concept for output in request.outputs}
    for finding, output in zip(request.findings, request.outputs, strict=True):
        known = concept(output.concept)
        if not known.choices:
            yield _number(request, kind, finding, known)
            continue
        if finding.choice is not None:
            yield items.code(known.code, known.choices[finding.choice].code, CONTAINS)
        chosen = [c for name, c in known.choices.items() if finding.choice in (None, name)]
        for name in dict.fromkeys(choice.probability for choice in chosen):
            if name not in numbers:  # an output of its own says it otherwise
                yield _number(request, kind, finding, concept(name))


def _number(request: ReportRequest, kind: Family, finding: Finding, known: Concept) -> ContentItem:
    """One number, or why there is none."""
    children = _modifiers(request, kind, finding, known)
    if finding.qualifier is not None:
        return items.no_number(known.code, known.unit, term(finding.qualifier), CONTAINS, *children)
    assert finding.value is not None
    if finding.uncertainty is not None:
        half = max(round(float(finding.uncertainty), known.decimals), 10.0**-known.decimals)  # never "+/- 0"
        children.append(items.number(term("uncertainty"), half, unit(finding.unit), HAS_PROPERTIES))
    value = round(float(finding.value), known.decimals) + 0.0  # no "-0.0"
    return items.number(known.code, value, known.unit, CONTAINS, *children)


def _modifiers(request: ReportRequest, kind: Family, finding: Finding, known: Concept) -> list[ContentItem]:
    """What a number is, how it was made and from what (TID 300)."""
    sources = {source.sop_instance_uid: source for source in request.sources}
    children = [
        items.code(term("method"), kind.method, HAS_CONCEPT_MOD),
        items.code(term("derivation"), known.derivation, HAS_CONCEPT_MOD),
        *[items.image(term("source-of-measurement"), sources[uid], INFERRED_FROM) for uid in finding.sources],
        *_algorithm(request.origin, f"{request.origin.name}/{finding.name}"),
    ]
    if known.estimates is not None:
        children.append(items.code(term("property-estimated"), known.estimates, HAS_CONCEPT_MOD))
    return children


def _views(request: ReportRequest, kind: Family) -> Iterator[ContentItem]:
    """How sure the model is of the class that was found, and what each view says alone."""
    seen = request.seen
    if seen is None:
        return
    how = [
        items.code(term("method"), kind.method, HAS_CONCEPT_MOD),
        items.code(term("derivation"), term("calculated"), HAS_CONCEPT_MOD),
    ]
    yield items.number(term("certainty"), _percent(seen.certainty), unit("%"), CONTAINS, *how)
    for view in seen.views:
        numbers = [
            items.number(concept(choice.probability).code, _percent(probability), unit("%"), HAS_PROPERTIES)
            for choice, probability in zip(
                (seen.concept.choices[name] for name in seen.choices), view.probabilities, strict=True
            )
        ]
        what = items.code(term("view"), view.code, HAS_CONCEPT_MOD)
        yield items.code(term("view-class"), seen.choice(view).code, CONTAINS, what, *numbers)


def _percent(value: float) -> float:
    """A percentage as it is written: to one decimal, and never above 100."""
    return min(round(value, 1), 100.0)


def _quality(request: ReportRequest) -> list[ContentItem]:
    """The worst image that the values rest on; without values, the worst that was looked at."""
    used = [source.grade for source in request.sources if source.used]
    grades = used or [source.grade for source in request.sources]
    for grade in WORST_FIRST:
        quality = grade_code(grade)
        if grade in grades and quality is not None:
            return [items.code(term("quality"), quality, CONTAINS, *_grader(request.grader))]
    return []


def _grader(grader: Grader | None) -> list[ContentItem]:
    """Which gate says so (TID 4019): a statement on quality has an origin as a value has."""
    if grader is None:
        return []
    return [
        items.text(term("algorithm-name"), grader.name, HAS_CONCEPT_MOD),
        items.text(term("algorithm-version"), grader.version, HAS_CONCEPT_MOD),
        items.text(term("algorithm-parameters"), f"weights-sha256={grader.weights_sha256}", HAS_CONCEPT_MOD),
    ]
