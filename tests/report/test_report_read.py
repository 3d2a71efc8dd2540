"""Reading back: what went in comes out."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import (
    CREATED,
    GRADER,
    ORIGIN,
    OUTPUTS,
    PREDECESSOR,
    findings,
    header,
    part10,
    photograph,
    request,
    requests,
    source,
)
from shape_samples import outlined

from oculard.report import notices
from oculard.report.build import build_report
from oculard.report.codes import concept
from oculard.report.planned import planned_companions
from oculard.report.raw import DamagedHeader
from oculard.report.read import ReadFinding, ReadGrader, read_report
from oculard.report.request import ReportRequest
from oculard.report.source import Source
from oculard.report.tree import NotOurReport
from oculard.report.variant import VARIANTS, as_variant
from oculard_models.contract import Finding, Qualifier
from oculard_models.manifest import Output, OutputKind

FILES = [part10(photograph(number)) for number in range(1, 4)]
PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=125, exclude_characters="\\"), min_size=1, max_size=60)


@st.composite
def images(draw: st.DrawFn, *, used: bool) -> tuple[Source, ...]:
    """One to three images; the first is used where any is."""
    number = draw(st.integers(1, len(FILES)))
    return tuple(
        Source(
            header=header(FILES[at]),
            grade=draw(st.sampled_from(["good", "limited", "ungradable", "not-assessed"])),
            reasons=tuple(draw(st.lists(PLAIN, max_size=2))),
            used=used and (at == 0 or draw(st.booleans())),
        )
        for at in range(number)
    )


@st.composite
def finding(draw: st.DrawFn, output: Output, used: tuple[str, ...]) -> Finding:
    """A value or a reason for an output."""
    if not used:
        return Finding(name=output.name, unit=output.unit, qualifier=Qualifier.NOT_ATTEMPTED)
    if draw(st.booleans()):
        return Finding(name=output.name, unit=output.unit, qualifier=draw(st.sampled_from(Qualifier)), sources=used)
    decimals = concept(output.concept).decimals
    return Finding(
        name=output.name,
        unit=output.unit,
        value=round(draw(st.floats(-999, 9999)), decimals),
        uncertainty=None if output.choices else draw(st.none() | st.integers(1, 900).map(lambda tenths: tenths / 10)),
        choice=draw(st.sampled_from(output.choices)) if output.choices else None,
        sources=used,
    )


@st.composite
def any_request(draw: st.DrawFn) -> ReportRequest:
    """Any request that can be made of three photographs and the systemic estimators."""
    eye = draw(st.sampled_from("RLBU"))
    looked_at = draw(images(used=eye != "U" and draw(st.booleans())))
    used = tuple(image.sop_instance_uid for image in looked_at if image.used)
    generation = draw(st.integers(1, 3))
    return request(
        *looked_at,
        eye=eye,
        grader=draw(st.sampled_from([GRADER, None])),
        origin=replace(ORIGIN, demonstration=draw(st.booleans()), title=draw(PLAIN)),
        findings=tuple(draw(finding(output, used)) for output in OUTPUTS),
        remark=draw(st.just("") | PLAIN),
        created_at=CREATED + timedelta(seconds=draw(st.integers(0, 10**8))),
        generation=generation,
        predecessor=PREDECESSOR if generation > 1 else None,
    )


def _looked_at(asked: ReportRequest) -> list[Source]:
    """The images that the report's quality rests on: those used, or all where none was."""
    return [source for source in asked.sources if source.used] or list(asked.sources)


def expected(finding: Finding, output: Output) -> ReadFinding:
    """How a finding reads."""
    known = concept(output.concept)
    if known.choices and finding.choice is None:
        known = concept("EST-SEX-P")
    return ReadFinding(
        concept=known.code.value,
        meaning=known.code.meaning,
        unit=finding.unit,
        value=finding.value,
        uncertainty=finding.uncertainty,
        choice=finding.choice,
        choice_meaning="" if finding.choice is None else known.choices[finding.choice].code.meaning,
        qualifier=finding.qualifier,
        sources=finding.sources,
    )


@settings(deadline=None, max_examples=60)
@given(asked=any_request())
def test_what_goes_in_comes_out(asked: ReportRequest) -> None:
    """Whatever a request says, its report says just that when it is read back."""
    report = build_report(asked)
    read = read_report(report.data)

    assert read.findings == tuple(map(expected, asked.findings, asked.outputs))
    assert [(i.sop_instance_uid, i.grade, i.reasons, i.used) for i in read.images] == [
        (source.sop_instance_uid, source.grade, source.reasons, source.used) for source in asked.sources
    ]
    assert (read.eye, read.outcome, read.remark) == (asked.eye, asked.outcome, asked.remark)
    assert read.model.demonstration is asked.origin.demonstration
    assert read.model.title.removesuffix(" (DEMONSTRATION)") == asked.origin.title
    assert (read.model.name, read.model.version) == (ORIGIN.name, ORIGIN.version)
    assert (read.model.weights_sha256, read.model.interval) == (ORIGIN.weights_sha256, "90%")
    graded = asked.grader is not None and any(image.grade != "not-assessed" for image in _looked_at(asked))
    assert (read.grader is not None) is graded
    assert read.grader is None or read.grader == ReadGrader(**asdict(GRADER))
    assert read.predecessor == asked.predecessor
    assert (read.sop_instance_uid, read.title) == (report.sop_instance_uid, report.title)


@pytest.mark.parametrize("name", requests())
def test_variants_say_the_same(name: str) -> None:
    """A report rewritten as an older SR class differs in its two UIDs and in nothing else."""
    report = build_report(requests()[name])
    original = read_report(report.data)
    variants = [read_report(as_variant(report.data, sop_class_uid).data) for sop_class_uid in VARIANTS]

    assert [variant.sop_class_uid for variant in variants] == list(VARIANTS)
    assert len({original.sop_instance_uid, *(variant.sop_instance_uid for variant in variants)}) == 3
    for variant in variants:
        uids = (original.sop_class_uid, original.sop_instance_uid)
        assert replace(variant, sop_class_uid=uids[0], sop_instance_uid=uids[1]) == original


def test_variant_of_another_class_is_refused() -> None:
    """There are variants of the older SR classes only."""
    with pytest.raises(ValueError, match="expected one of"):
        as_variant(build_report(request()).data, "1.2.840.10008.5.1.4.1.1.7")


@pytest.mark.parametrize(
    "data", [b"", b"not DICOM", FILES[0], b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 40]
)
def test_anything_else_is_refused(data: bytes) -> None:
    """What is no report of ours is refused with a reason, whatever it is."""
    with pytest.raises(NotOurReport):
        read_report(data)


def test_broken_bytes_are_refused_or_read() -> None:
    """A report cut off or altered anywhere is read or refused with a reason; no other failure comes out."""
    data = build_report(request()).data
    chance = random.Random(20261120)
    broken = [data[: chance.randrange(len(data))] for _ in range(40)]
    for _ in range(80):
        altered = bytearray(data)
        altered[chance.randrange(132, len(data))] = chance.randrange(256)
        broken.append(bytes(altered))
    length = data.index(b"UL\x04\x00") + 2  # of File Meta Information Group Length
    broken.append(data[:length] + b"\xd2" + data[length + 1 :])
    refused = 0

    for one in broken:
        try:
            read_report(one)
        except (NotOurReport, DamagedHeader):
            refused += 1

    assert 40 <= refused < len(broken)


def test_rounding_tells_no_lies() -> None:
    """A small uncertainty is not rounded to none, and nothing reads as minus zero."""
    one = source()
    first = replace(findings((one,))[0], value=-0.01, uncertainty=0.001)
    asked = request(one, findings=(first, *findings((one,))[1:]))

    data = build_report(asked).data
    age = read_report(data).findings[0]

    assert (str(age.value), age.uncertainty) == ("0.0", 0.1)
    assert b"-0.0" not in data


def test_probability_that_is_an_output_is_said_once() -> None:
    """Where a class's probability is an output of its own, the class does not say it a second time."""
    disc = Output(
        name="disc", concept="GL-DISC", tensor="x", kind=OutputKind.BINARY, choices=("normal", "glaucomatous")
    )
    chance = Output(name="chance", concept="GL-P-GL", tensor="x", kind=OutputKind.VALUE)
    one = source()
    origin = replace(ORIGIN, family="glaucoma")
    asked = request(one, origin=origin, outputs=(disc, chance), findings=findings((one,), (disc, chance)))

    data = build_report(asked).data

    assert data.count(b"GL-P-GL") == 1
    assert [(read.concept, read.choice, read.value) for read in read_report(data).findings] == [
        ("GL-DISC", "glaucomatous", 61.0)
    ]


def test_outlined_report_reads_back() -> None:
    """Measures, class, outline, parameters and notices of a shape read as they were meant, in every variant."""
    asked = outlined()
    report = build_report(asked)

    for data in (report.data, *(as_variant(report.data, sop_class_uid).data for sop_class_uid in VARIANTS)):
        read = read_report(data)
        said = {one.concept: (one.value, one.unit) for one in read.findings}
        assert said["FAZ-AREA"] == (0.312, "mm2")
        assert said["FAZ-AREA-PX"] == (48.8, "{pixels}")
        assert said["FAZ-GL"] == (73.2, "%")
        assert read.findings[-1].choice == "glaucoma"
        assert read.finding == "Foveal avascular zone"
        assert read.segmentation == planned_companions(asked)[0].sop_instance_uid
        assert read.model.parameters == asked.parameters
        assert read.notices == (notices.OUTLINE, notices.PROBABILITY)


def test_normal_shape_does_not_read_as_glaucoma() -> None:
    """The probability of the normal class stands under its own name, and none stands under glaucoma's."""
    asked = outlined()
    asked = replace(asked, findings=(*asked.findings[:-1], replace(asked.findings[-1], choice="normal")))

    data = build_report(asked).data

    assert b"Estimated probability of no glaucoma from FAZ shape" in data
    assert b"Estimated probability of glaucoma" not in data
    assert read_report(data).findings[-1].choice == "normal"
