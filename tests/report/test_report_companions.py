"""What travels with a report: segmentation, picture and printed page, and how the report refers to them."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.seg import Segmentation
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage, VLPhotographicImageStorage
from report_samples import CREATED, ORIGIN, PREDECESSOR, STUDY, errors, part10, photograph, source, validators
from shape_samples import COLUMNS, ROWS, en_face, fundus, measured, outlined, outputs, shape_in
from test_report_envelope import CASES, value

from oculard.report import notices, raw
from oculard.report.build import build_report
from oculard.report.companions import build_companions
from oculard.report.part10 import Report
from oculard.report.picture import draw
from oculard.report.request import ReportRequest, unvalued
from oculard_models.contract import Qualifier
from oculard_models.manifest import Structure

DCENTVFY = Path(sys.executable).parent / "dcentvfy"
DIFFERENT_TABLES = "IE <Study> versus <Series>"  # PDF: the validator has Accession Number elsewhere than for SR


def read(report: Report) -> Dataset:
    """An object as pydicom reads it."""
    return dcmread(io.BytesIO(report.data))


def made(asked: ReportRequest) -> dict[str, Report]:
    """Report and companions by role."""
    return {report.role: report for report in (*build_companions(asked), build_report(asked))}


def walk(ds: Dataset) -> list[Dataset]:
    """All content items below one, in order."""
    return [one for item in ds.get("ContentSequence", []) for one in (item, *walk(item))]


def named(ds: Dataset, meaning: str) -> list[Dataset]:
    """The content items of a name."""
    return [item for item in walk(ds) if item.ConceptNameCodeSequence[0].CodeMeaning == meaning]


SOURCES: dict[str, tuple[bytes, Structure]] = {
    "en face": (part10(en_face()), Structure.FAZ),
    "en face, left": (part10(en_face(ImageLaterality="L")), Structure.FAZ),
    "photograph": (part10(fundus()), Structure.OPTIC_DISC),
    "JPEG that its header does not call lossy": (
        part10(fundus(PixelData=encapsulate([bytes(64)])), syntax=JPEGBaseline8Bit),
        Structure.OPTIC_DISC,
    ),
    "JPEG photograph": (
        part10(
            fundus(
                LossyImageCompression="01",
                LossyImageCompressionRatio=["12.5", "2"],
                LossyImageCompressionMethod=["ISO_10918_1", "ISO_10918_1"],
            )
        ),
        Structure.OPTIC_DISC,
    ),
    "secondary capture": (
        part10(fundus(SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", NumberOfFrames=None)),
        Structure.OPTIC_DISC,
    ),
    "visible light": (
        part10(fundus(SOPClassUID=VLPhotographicImageStorage, Modality="XC", NumberOfFrames=None)),
        Structure.OPTIC_DISC,
    ),
}


@pytest.mark.parametrize("validator", validators())
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("demonstration", [False, True])
def test_all_objects_are_valid(name: str, demonstration: bool, validator: str, tmp_path: Path) -> None:
    """dciodvfy finds no error in report, segmentation, picture and page, whatever kind of image was outlined."""
    file, structure = SOURCES[name]
    asked = outlined(file, structure)
    asked = replace(
        asked, eye="L" if "left" in name else "R", origin=replace(asked.origin, demonstration=demonstration)
    )

    objects = made(asked)

    assert list(objects) == ["seg", "sc", "pdf", "sr"]
    for report in objects.values():
        assert errors(report.data, tmp_path, validator) == [], report.role


GEOMETRY = (
    "PixelSpacing",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "ImageOrientationPatient",
    "PatientOrientation",
)
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
FACTS = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientName", "PatientID")
BAD_HEADERS: dict[str, dict[str, Any]] = {
    "nothing of geometry": dict.fromkeys(
        [
            "PixelSpacing",
            "FrameOfReferenceUID",
            "PositionReferenceIndicator",
            "ImageOrientationPatient",
            "PatientOrientation",
        ]
    ),
    "no spacing": {"PixelSpacing": None},
    "empty spacing": {"PixelSpacing": ""},
    "no frame of reference": {"FrameOfReferenceUID": None},
    "no orientation": {"ImageOrientationPatient": None, "PatientOrientation": None},
    "thickness": {"SliceThickness": "0.05"},
    "lossy without how": {"LossyImageCompression": "01"},
    "no modality": {"Modality": ""},
    "no study facts": dict.fromkeys(
        ["StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientName", "PatientID"]
    ),
}
GARBAGE: dict[str, dict[str, bytes]] = {
    "spacing 0": {"PixelSpacing": rb"0\0"},
    "negative spacing": {"PixelSpacing": rb"-1\-1"},
    "one spacing": {"PixelSpacing": b"0.08"},
    "endless spacing": {"PixelSpacing": rb"0.0800000000000000001\0.08"},
    "infinite spacing": {"PixelSpacing": rb"inf\inf"},
    "words for spacing": {"PixelSpacing": rb"small\small"},
    "frame of reference": {"FrameOfReferenceUID": b"not a UID"},
    "orientation": {"PatientOrientation": rb"up\left"},
    "thickness 0": {"SliceThickness": b"0"},
    "lossy ratio": {"LossyImageCompression": b"01", "LossyImageCompressionRatio": b"much"},
}


@pytest.mark.parametrize("name", [*BAD_HEADERS, *GARBAGE])
def test_bad_headers_cost_nothing(name: str, tmp_path: Path) -> None:
    """What is absent or malformed in a header is left out of the companions, and each of them stays valid."""
    file = part10(en_face(**BAD_HEADERS.get(name, {})), GARBAGE.get(name))

    objects = made(outlined(file))

    assert list(objects) == ["seg", "sc", "pdf", "sr"]
    for report in objects.values():
        assert errors(report.data, tmp_path, validators()[0]) == [], report.role


ODD = st.one_of(
    st.binary(max_size=20),
    st.lists(
        st.sampled_from(["0.08", "1", "1e-3", ".5", "+2.", "0", "-1", "1e99", "L", "nan", " 0.1 "]), max_size=3
    ).map(lambda values: "\\".join(values).encode()),
)


@settings(deadline=None, max_examples=40)
@given(
    odd=st.dictionaries(
        st.sampled_from(["PixelSpacing", "SliceThickness", "FrameOfReferenceUID", "PatientOrientation", *LOSSY]), ODD
    )
)
def test_no_header_stops_a_segmentation(odd: dict[str, bytes]) -> None:
    """Whatever bytes stand where geometry should, the mask is written and reads back."""
    asked = outlined(part10(en_face(), odd), with_pictures=False, with_pdf=False)

    (report,) = build_companions(asked)

    assert asked.shape is not None
    assert np.array_equal(read(report).pixel_array, asked.shape.shape.mask)


def test_geometry_is_the_sources_own() -> None:
    """Spacing, orientation and frame of reference are in the segmentation as they are in the header, or not at all."""
    whole = read(made(outlined())["seg"])
    bare = read(made(outlined(part10(en_face(PixelSpacing=None, FrameOfReferenceUID=None))))["seg"])
    endless = read(made(outlined(part10(en_face(), GARBAGE["endless spacing"])))["seg"])

    assert whole.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.08, 0.08]
    assert (whole.FrameOfReferenceUID, whole.PatientOrientation) == (f"{STUDY}.9", ["L", "F"])
    assert "PixelMeasuresSequence" not in bare.SharedFunctionalGroupsSequence[0]
    assert "PixelMeasuresSequence" not in endless.SharedFunctionalGroupsSequence[0]  # DS has at most 16 characters
    assert "FrameOfReferenceUID" not in bare


@pytest.mark.parametrize("case", CASES)
def test_patient_stays_the_same_in_all_objects(case: str, tmp_path: Path) -> None:
    """Name, description, ids and character set arrive byte for byte in all four, clean or dirty."""
    charset, name, description = CASES[case]
    elements = {"PatientName": name, "StudyDescription": description}
    file = part10(en_face(), elements | ({"SpecificCharacterSet": charset} if charset else {}))

    for report in made(outlined(file)).values():
        for keyword in ("PatientName", "StudyDescription", "SpecificCharacterSet", "PatientID", "AccessionNumber"):
            assert value(report.data, keyword) == value(file, keyword), report.role
        assert set(errors(report.data, tmp_path, validators()[0])) <= set(errors(file, tmp_path, validators()[0]))


def test_same_request_gives_the_same_bytes() -> None:
    """Building twice gives the same four files, to the byte."""
    first, second = made(outlined()), made(outlined())

    assert {role: report.data for role, report in first.items()} == {role: one.data for role, one in second.items()}


def test_uids_follow_the_report() -> None:
    """Every object of every generation and model is an instance in a series of its own."""
    first = outlined()
    again = outlined(generation=2, predecessor=PREDECESSOR)
    newer = outlined(origin=replace(first.origin, version="1.2.4"))
    objects = [report for asked in (first, again, newer) for report in made(asked).values()]

    assert len({report.sop_instance_uid for report in objects}) == 12
    assert len({report.series_instance_uid for report in objects}) == 12
    assert all(report.sop_instance_uid.startswith("2.25.") for report in objects)


def test_series_are_apart() -> None:
    """Each kind has its modality, series number and title, in the study of the source and after the device's series."""
    objects = {role: read(report) for role, report in made(outlined()).items()}

    assert {role: (ds.Modality, int(ds.SeriesNumber)) for role, ds in objects.items()} == {
        "sr": ("SR", 9021),
        "seg": ("SEG", 9121),
        "sc": ("OT", 9221),
        "pdf": ("DOC", 9321),
    }
    assert len({ds.SeriesDescription for ds in objects.values()}) == 4
    assert all("(research) OCTA R" in ds.SeriesDescription for ds in objects.values())
    assert {ds.StudyInstanceUID for ds in objects.values()} == {STUDY}
    assert {ds.InstanceNumber for ds in objects.values()} == {1}


@pytest.mark.parametrize("size", [(ROWS, COLUMNS), (17, 15), (16, 17), (33, 9)])
def test_mask_comes_back(size: tuple[int, int]) -> None:
    """The segmentation's frame is the mask, pixel by pixel, for other readers too, also where bits fill no byte."""
    rows, columns = size
    image = source(part10(en_face(Rows=rows, Columns=columns, PixelData=bytes(rows * columns + rows * columns % 2))))
    shape = shape_in(image, rows=rows, columns=columns)

    seg = read(made(request_on(image, shape=shape))["seg"])

    assert np.array_equal(seg.pixel_array.reshape(size), shape.shape.mask)
    understood = Segmentation.from_dataset(seg)
    assert np.array_equal(
        understood.get_pixels_by_source_instance([image.sop_instance_uid])[0, ..., 0], shape.shape.mask
    )


def request_on(image: Any, **changes: Any) -> ReportRequest:
    """An outlined request about one image."""
    asked = outlined()
    return replace(asked, sources=(image,), findings=measured(image, Structure.FAZ), **changes)


@pytest.mark.parametrize("structure", Structure)
def test_segment_says_what_it_is_and_who_drew_it(structure: Structure) -> None:
    """The segment has the structure that the report finds, its eye, its tracking, and the model with its weights."""
    asked = outlined(part10(fundus()), structure)
    asked = replace(asked, origin=replace(asked.origin, demonstration=True))
    objects = made(asked)
    (segment,), sr = read(objects["seg"]).SegmentSequence, read(objects["sr"])

    found = named(sr, "Finding")[0].ConceptCodeSequence[0]
    (kind,), (category,) = segment.SegmentedPropertyTypeCodeSequence, segment.SegmentedPropertyCategoryCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == (found.CodeValue, found.CodingSchemeDesignator)
    assert category.CodeMeaning == "Anatomical Structure"
    assert segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    assert segment.TrackingUID == named(sr, "Tracking Unique Identifier")[0].UID
    assert segment.TrackingID == named(sr, "Tracking Identifier")[0].TextValue
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "outline-sample (DEMONSTRATION)"
    assert algorithm.AlgorithmVersion == ORIGIN.version
    assert f"weights-sha256={ORIGIN.weights_sha256}" in algorithm.AlgorithmParameters
    assert segment.SegmentAlgorithmType == "AUTOMATIC"


@pytest.mark.parametrize("name", ["en face", "photograph"])
def test_report_refers_to_the_segmentation(name: str) -> None:
    """The group is TID 1410: it names the mask's frame (and no segment) and its image, and both are evidence."""
    file, structure = SOURCES[name]
    objects = made(outlined(file, structure))
    sr, seg = read(objects["sr"]), read(objects["seg"])

    (frame,) = named(sr, "Referenced Segmentation Frame")[0].ReferencedSOPSequence
    (image,) = named(sr, "Source image for segmentation")[0].ReferencedSOPSequence
    evidence = evidence_of(sr)
    assert (frame.ReferencedSOPClassUID, frame.ReferencedSOPInstanceUID) == (seg.SOPClassUID, seg.SOPInstanceUID)
    assert frame.ReferencedFrameNumber == 1
    assert "ReferencedSegmentNumber" not in frame
    assert image.ReferencedSOPInstanceUID == f"{STUDY}.1.1"
    assert named(sr, "Measurement Group")[0].ContentTemplateSequence[0].TemplateIdentifier == "1410"
    for ds in (seg, read(objects["sc"]), read(objects["pdf"])):
        assert evidence[ds.SOPInstanceUID] == (ds.SeriesInstanceUID, ds.SOPClassUID)
    assert evidence[f"{STUDY}.1.1"] == (f"{STUDY}.1", image.ReferencedSOPClassUID)
    assert len(evidence) == 4
    sources = references(seg)
    assert sources == {(str(header_of(file, "SOPClassUID")), f"{STUDY}.1.1")}


def evidence_of(sr: Dataset) -> dict[str, tuple[str, str]]:
    """Series and class of each instance in the evidence of the study."""
    return {
        one.ReferencedSOPInstanceUID: (series.SeriesInstanceUID, one.ReferencedSOPClassUID)
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


def references(ds: Dataset) -> set[tuple[str, str]]:
    """Class and instance of all that an object refers to."""
    return {
        (one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
        for one in everything(ds)
        if "ReferencedSOPClassUID" in one
    }


def everything(ds: Dataset) -> list[Dataset]:
    """A dataset and the items of all its sequences."""
    return [ds, *(one for element in ds if element.VR == "SQ" for item in element.value for one in everything(item))]


def header_of(file: bytes, keyword: str) -> Any:
    """An element of a file."""
    return dcmread(io.BytesIO(file))[keyword].value


@pytest.mark.skipif(not DCENTVFY.exists(), reason="needs dcentvfy, which comes with the development extra")
def test_all_objects_agree(tmp_path: Path) -> None:
    """dcentvfy finds source, report, companions and their amended generation at one, and every reference answered."""
    file = part10(fundus())
    first, second = made(outlined(file, Structure.OPTIC_DISC)), None
    amends = replace(
        PREDECESSOR, sop_instance_uid=first["sr"].sop_instance_uid, sop_class_uid=first["sr"].sop_class_uid
    )
    amends = replace(amends, series_instance_uid=first["sr"].series_instance_uid)
    second = made(outlined(file, Structure.OPTIC_DISC, generation=2, predecessor=amends))
    files = [file, *(report.data for objects in (first, second) for report in objects.values())]
    paths = [tmp_path / f"{number}.dcm" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)

    ran = subprocess.run([str(DCENTVFY), *map(str, paths)], capture_output=True, check=False)

    said = (ran.stdout + ran.stderr).decode("latin-1").splitlines()
    assert [line for line in said if DIFFERENT_TABLES not in line and "IE <Series> versus <Study>" not in line] == []


def test_without_a_shape_nothing_travels_along() -> None:
    """Where no structure was found there are no companions, the group is TID 1501, and each measure says why."""
    image = source(part10(en_face()))
    missing = unvalued(outputs(Structure.FAZ), Qualifier.NOT_ATTEMPTED)
    asked = replace(request_on(image, shape=None), findings=missing, remark="no foveal avascular zone found")
    sr = read(build_report(asked))

    assert build_companions(asked) == ()
    assert named(sr, "Measurement Group")[0].ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert named(sr, "Referenced Segmentation Frame") == named(sr, "Source image for segmentation") == []
    assert set(evidence_of(sr)) == {image.sop_instance_uid}
    numbers = [item for item in walk(sr) if item.ValueType == "NUM" and item.RelationshipType == "CONTAINS"]
    assert len(numbers) == 11  # nine measures, and the probability of each class
    assert {item.NumericValueQualifierCodeSequence[0].CodeMeaning for item in numbers} == {"Measurement not attempted"}


def test_cut_structure_is_outlined_but_not_measured(tmp_path: Path) -> None:
    """A structure that reaches the image's edge is sent as it was found, while its measures are indeterminate."""
    image = source(part10(en_face()))
    asked = request_on(image, shape=shape_in(image))
    asked = replace(asked, findings=unvalued(asked.outputs, Qualifier.INDETERMINATE))

    objects = made(asked)

    assert list(objects) == ["seg", "sc", "pdf", "sr"]
    assert all(errors(report.data, tmp_path, validators()[0]) == [] for report in objects.values())


@pytest.mark.parametrize("wrong", [{"Columns": COLUMNS + 1}, {"NumberOfFrames": 2}], ids=["size", "frames"])
def test_header_that_contradicts_its_pixels_has_no_segmentation(wrong: dict[str, int], tmp_path: Path) -> None:
    """Then a mask could lie on the wrong pixels: it is not sent, and the report says so and refers to none."""
    asked = outlined(part10(en_face(**wrong)))

    objects = made(asked)

    sr = read(objects["sr"])
    assert list(objects) == ["sc", "pdf", "sr"]
    assert errors(objects["sr"].data, tmp_path, validators()[0]) == []
    assert named(sr, "Referenced Segmentation Frame") == []
    assert notices.NO_SEGMENTATION in [item.TextValue for item in named(sr, "Notice")]
    assert objects["sc"].sop_instance_uid in evidence_of(sr)


def test_pictures_and_pages_are_asked_for() -> None:
    """Without them the segmentation travels alone, and the report lists no other."""
    asked = outlined(with_pictures=False, with_pdf=False)

    assert [report.role for report in build_companions(asked)] == ["seg"]
    assert len(evidence_of(read(build_report(asked)))) == 2


def test_shape_in_an_image_of_another_study(tmp_path: Path) -> None:
    """The objects stay in the study of the first image, and the segmentation names the other study."""
    home, away = source(part10(photograph())), source(part10(en_face(9, StudyInstanceUID=f"{STUDY}.99")))
    asked = request_on(away, shape=shape_in(away))

    objects = made(replace(asked, sources=(home, away)))

    seg = read(objects["seg"])
    (other,) = seg.StudiesContainingOtherReferencedInstancesSequence
    assert (seg.StudyInstanceUID, other.StudyInstanceUID) == (STUDY, f"{STUDY}.99")
    assert "ReferencedSeriesSequence" not in seg
    assert all(errors(report.data, tmp_path, validators()[0]) == [] for report in objects.values())


def test_capture_is_the_picture() -> None:
    """The secondary capture holds the picture as it was drawn, made by a workstation, naming no patient."""
    asked = outlined()
    sc = read(made(asked)["sc"])

    assert np.array_equal(sc.pixel_array, np.asarray(draw(asked)))
    assert (sc.ConversionType, sc.BurnedInAnnotation, sc.Laterality) == ("WSD", "NO", "R")
    assert sc.SourceImageSequence[0].ReferencedSOPInstanceUID == f"{STUDY}.1.1"


@pytest.mark.parametrize(("said", "sc", "pdf"), [("YES", "YES", "YES"), ("NO", "NO", "NO"), (None, None, "YES")])
def test_burned_in_names_are_told_of(said: str | None, sc: str | None, pdf: str) -> None:
    """The source's pixels are in picture and page: whether they name somebody only its header can say."""
    objects = {role: read(report) for role, report in made(outlined(part10(en_face(BurnedInAnnotation=said)))).items()}

    assert objects["sc"].get("BurnedInAnnotation") == sc
    assert objects["pdf"].BurnedInAnnotation == pdf


def test_spacing_that_was_not_believed_is_in_no_object() -> None:
    """Where the report says nothing in mm, nobody shall measure mm on the mask."""
    asked = outlined()
    assert asked.shape is not None
    seg = read(made(replace(asked, shape=replace(asked.shape, spacing_mm=None)))["seg"])

    assert "PixelMeasuresSequence" not in seg.SharedFunctionalGroupsSequence[0]


def test_loss_is_inherited() -> None:
    """What is made of pixels that lost something says so, with ratio and method where they are known."""
    objects = {role: read(report) for role, report in made(outlined(*SOURCES["JPEG photograph"])).items()}

    for role in ("seg", "sc"):
        assert objects[role].LossyImageCompression == "01"
        assert objects[role].LossyImageCompressionMethod == ["ISO_10918_1", "ISO_10918_1"]


def test_jpeg_has_lost_something_whatever_its_header_says() -> None:
    """The transfer syntax knows it; nothing made of such pixels claims that none was lost."""
    objects = made(outlined(*SOURCES["JPEG that its header does not call lossy"]))

    assert {read(objects[role]).LossyImageCompression for role in ("seg", "sc")} == {"01"}


def test_pictures_and_pages_are_the_same_for_every_patient() -> None:
    """Nothing of a patient is drawn or printed: another patient's picture and page are the same to the byte."""
    one = outlined(part10(en_face()))
    other = outlined(part10(en_face(PatientName="Other^Person", PatientID="9", PatientBirthDate="19990909")))

    assert draw(one).tobytes() == draw(other).tobytes()
    pages = [read(made(asked)["pdf"]).EncapsulatedDocument for asked in (one, other)]
    assert pages[0] == pages[1]


def test_pdf_is_only_loaded_to_print() -> None:
    """Whoever prints no page does not pay for loading the library that does."""
    code = "import oculard.report.companions, sys; sys.exit('reportlab' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_header_is_left_untouched() -> None:
    """Building companions decodes nothing of the source, so that the next object finds its bytes."""
    asked = outlined(part10(en_face(), {"PatientName": CASES["IR 87"][1]}))

    build_companions(asked)

    assert not raw.is_decoded(asked.sources[0].header, raw.tag_of("PatientName"))
    assert asked.created_at == CREATED
