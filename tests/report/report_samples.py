"""Samples for the tests of reports: small photographs, findings and requests. No real data."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import ImageCms
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    OphthalmicPhotography8BitImageStorage,
)

from oculard.report.request import Device, Grader, Origin, Predecessor, ReportRequest, unvalued
from oculard.report.source import Source
from oculard_models.contract import Finding, Qualifier
from oculard_models.manifest import Output, OutputKind

STARTED = datetime(2026, 11, 20, 0, 30, tzinfo=UTC)
CREATED = STARTED + timedelta(seconds=4)
STUDY = "1.2.826.0.1.3680043.8.498.1"
SIZE_PX = 16
KINDS = {  # as dciodvfy names what it recognises
    *("Comprehensive3DSR", "ComprehensiveSR", "EnhancedSR", "Segmentation", "SCImage", "EncapsulatedPDF"),
    *("OphthalmicPhotography8BitImage", "OphthalmicOpticalCoherenceTomographyEnFaceImage", "VLPhotographicImage"),
}

ORIGIN = Origin(
    family="systemic",
    name="systemic-sample",
    version="1.2.3",
    title="Systemic estimates",
    manufacturer="Sample project",
    weights_sha256="0123456789abcdef" * 4,
    demonstration=False,
    interval=0.9,
)
DEVICE = Device(
    manufacturer="Sample project", software_version="0.1.0", serial_number="7", device_uid="2.25.7", station_name="AI1"
)
GRADER = Grader(name="gate-sample", version="3.2.1", weights_sha256="fedcba9876543210" * 4)
OUTPUTS = (
    *(
        Output(name=name, concept=concept, tensor="values", kind=OutputKind.VALUE, unit=unit)
        for name, concept, unit in (
            ("age", "EST-AGE", "a"),
            ("systolic", "EST-SBP", "mm[Hg]"),
            ("diastolic", "EST-DBP", "mm[Hg]"),
            ("glucose", "EST-GLU", "mg/dL"),
            ("waist", "EST-WC", "cm"),
            ("bmi", "EST-BMI", "kg/m2"),
        )
    ),
    Output(name="sex", concept="EST-SEX", tensor="sex", kind=OutputKind.BINARY, choices=("F", "M")),
)
PREDECESSOR = Predecessor(
    sop_class_uid=ComprehensiveSRStorage,
    sop_instance_uid="2.25.1001",
    series_instance_uid="2.25.1002",
    study_instance_uid=STUDY,
)


def photograph(number: int = 1, **elements: Any) -> Dataset:
    """A small photograph of the fundus that validators accept, with elements set by keyword; None removes one."""
    ds = Dataset()
    for keyword, value in (_identity(number) | _camera() | _picture()).items():
        setattr(ds, keyword, value)
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def part10(ds: Dataset, raw: Mapping[str, bytes] | None = None, *, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The file of a dataset, with some elements exactly as a device might have written them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta = meta
    for keyword, value in (raw or {}).items():
        tag = Tag(tag_for_keyword(keyword) or 0)
        padded = value + b" " * (len(value) % 2)
        vr = "PN" if "Name" in keyword else "CS" if keyword == "SpecificCharacterSet" else "LO"
        ds[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)
    buffer = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    ds.save_as(buffer, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return buffer.getvalue()


def header(file: bytes) -> Dataset:
    """The header of a file, untouched."""
    return dcmread(io.BytesIO(file), stop_before_pixels=True)


def source(
    file: bytes | None = None, *, grade: str = "good", used: bool = True, reasons: tuple[str, ...] = ()
) -> Source:
    """A photograph that was looked at."""
    return Source(header=header(file or part10(photograph())), grade=grade, used=used, reasons=reasons)


def findings(sources: tuple[Source, ...], outputs: tuple[Output, ...] = OUTPUTS) -> tuple[Finding, ...]:
    """A value for each output."""
    used = tuple(one.sop_instance_uid for one in sources if one.used)
    return tuple(
        Finding(
            name=output.name,
            unit=output.unit,
            value=60.0 + number,
            uncertainty=None if output.choices else 4.5,
            choice=output.choices[1] if output.choices else None,
            sources=used,
        )
        for number, output in enumerate(outputs)
    )


def request(*sources: Source, **changes: Any) -> ReportRequest:
    """A request for a complete report, with some fields changed."""
    sources = sources or (source(),)
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "outputs": OUTPUTS,
        "eye": "R",
        "findings": findings(sources),
        "sources": sources,
        "grader": GRADER,
        "started_at": STARTED,
        "created_at": CREATED,
        "device": DEVICE,
    }
    return ReportRequest(**(fields | changes))


def requests(first: bytes | None = None) -> dict[str, ReportRequest]:
    """One request of each outcome, and what else changes the shape of a report."""
    good = source(first)
    bad = source(first, grade="ungradable", used=False, reasons=("too dark",))
    whole = findings((good,))
    partial = (replace(whole[0], value=None, uncertainty=None, qualifier=Qualifier.OUT_OF_RANGE), *whole[1:])
    untried, failed = unvalued(OUTPUTS, Qualifier.NOT_ATTEMPTED), unvalued(OUTPUTS, Qualifier.FAILURE)
    left = source(part10(photograph(2, ImageLaterality="L")))
    elsewhere = source(part10(photograph(9, StudyInstanceUID="1.2.826.0.1.3680043.8.498.99")))
    return {
        "complete": request(good),
        "demonstration": request(good, origin=replace(ORIGIN, demonstration=True)),
        "partial": request(good, findings=partial, remark="age is outside 0 to 120 years"),
        "ungradable": request(bad, findings=untried, remark="no image of this eye is good enough: too dark"),
        "eye unknown": request(bad, eye="U", findings=untried, remark="eye unknown: no laterality in the header"),
        "failed": request(good, findings=failed, remark="failed: the estimator stopped"),
        "both eyes": request(good, left, eye="B", findings=findings((good, left))),
        "both eyes ungradable": request(bad, eye="B", findings=untried, remark="no image is good enough: too dark"),
        "not graded": request(
            source(first, grade="not-assessed", used=False), findings=failed, grader=None, remark="failed: no gate"
        ),
        "amended": request(good, generation=2, predecessor=PREDECESSOR),
        "two studies": request(good, elsewhere, findings=findings((good, elsewhere))),
    }


def errors(data: bytes, folder: Path, validator: str) -> list[str]:
    """What dciodvfy calls an error in a file."""
    path = folder / "report.dcm"
    path.write_bytes(data)
    ran = subprocess.run([validator, str(path)], capture_output=True, check=False)
    lines = (ran.stdout + ran.stderr).decode("latin-1").splitlines()
    assert KINDS & set(lines), lines
    return [line for line in lines if line.startswith("Error")]


def validators() -> list[str]:
    """Every dciodvfy at hand: the one of PyPI beside this Python and, where installed, the one of the system."""
    beside = Path(sys.executable).parent / "dciodvfy"
    found = [str(beside) if beside.exists() else None, shutil.which("dciodvfy", path="/usr/bin:/usr/local/bin")]
    return [path for path in found if path is not None]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def _identity(number: int) -> dict[str, Any]:
    return {
        "SOPClassUID": OphthalmicPhotography8BitImageStorage,
        "SOPInstanceUID": f"{STUDY}.1.{number}",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.1",
        "PatientName": "Sample^Person",
        "PatientID": "0001234",
        "IssuerOfPatientID": "CLINIC",
        "PatientBirthDate": "19600102",
        "PatientSex": "F",
        "StudyDate": "20261120",
        "StudyTime": "090000",
        "StudyID": "1",
        "StudyDescription": "Fundus",
        "AccessionNumber": "A0001",
        "ReferringPhysicianName": "",
        "TimezoneOffsetFromUTC": "+0900",
        "SeriesDate": "20261120",
        "SeriesTime": "090500",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "ContentDate": "20261120",
        "ContentTime": "090510",
        "AcquisitionDateTime": "20261120090510",
        "Modality": "OP",
    }


def _camera() -> dict[str, Any]:
    return {
        "Manufacturer": "PAINTED",
        "ManufacturerModelName": "PAINTED-FUNDUS",
        "DeviceSerialNumber": "000001",
        "SoftwareVersions": "1.0",
        "ImageType": ["ORIGINAL", "PRIMARY", "", "COLOR"],
        "SynchronizationFrameOfReferenceUID": f"{STUDY}.2",
        "SynchronizationTrigger": "NO TRIGGER",
        "AcquisitionTimeSynchronized": "N",
        "PatientOrientation": ["L", "F"],
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PixelSpacing": [0.0118, 0.0118],
        "AcquisitionDeviceTypeCodeSequence": [_code("409898007", "SCT", "Fundus Camera")],
        "LightPathFilterTypeStackCodeSequence": [],
        "ImagePathFilterTypeStackCodeSequence": [],
        "IlluminationTypeCodeSequence": [],
        "LensesCodeSequence": [],
        "DetectorType": "CMOS",
        "PatientEyeMovementCommanded": "",
        "HorizontalFieldOfView": 45.0,
        "RefractiveStateSequence": [],
        "EmmetropicMagnification": None,
        "IntraOcularPressure": None,
        "PupilDilated": "",
        "ImageLaterality": "R",
        "AnatomicRegionSequence": [_code("5665001", "SCT", "Retina")],
        "RelativeImagePositionCodeSequence": [_code("111900", "DCM", "Macula centered")],
        "AcquisitionContextSequence": [],
    }


def _picture() -> dict[str, Any]:
    return {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "Rows": SIZE_PX,
        "Columns": SIZE_PX,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "NumberOfFrames": 1,
        "FrameIncrementPointer": 0x00181063,
        "FrameTime": "0",
        "ICCProfile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "PixelData": bytes(range(256)) * 3,
    }
