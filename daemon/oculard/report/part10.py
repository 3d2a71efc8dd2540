"""Files: a finished report or companion as a Part 10 file, proven to read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from oculard.report.planned import Planned, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A finished report, or what travels with it: the whole Part 10 file and what delivery needs to know of it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    title: str
    data: bytes
    role: str = Role.SR


def finished(planned: Planned, own: Dataset, envelope: Mapping[int, bytes]) -> Report:
    """The file of one planned object: what we say of it ourselves, in the envelope that came with the source."""
    elements = {**own_elements(own), **envelope}
    report = Report(
        sop_class_uid=planned.sop_class_uid,
        sop_instance_uid=planned.sop_instance_uid,
        series_instance_uid=planned.series_instance_uid,
        title=planned.title,
        data=part10(planned.sop_class_uid, planned.sop_instance_uid, elements),
        role=planned.role,
    )
    check(report, elements)
    return report


def own_elements(ds: Dataset) -> dict[int, bytes]:
    """The elements of a dataset that we made ourselves, by tag, in Explicit VR Little Endian. All text is ASCII."""
    elements = {}
    for element in ds:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, ["ascii"])
        elements[int(element.tag)] = buffer.getvalue()
    return elements


def part10(sop_class_uid: str, sop_instance_uid: str, elements: Mapping[int, bytes]) -> bytes:
    """A Part 10 file of finished elements (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + buffer.getvalue() + b"".join(elements[tag] for tag in sorted(elements))


def check(report: Report, elements: Mapping[int, bytes]) -> None:
    """Assert that what was written reads back as what was meant: nothing missing, nothing cut off."""
    back = dcmread(BytesIO(report.data))
    assert sorted(int(tag) for tag in back.keys()) == sorted(elements)  # noqa: SIM118  `back` would decode
    assert back.file_meta.MediaStorageSOPInstanceUID == back.SOPInstanceUID == report.sop_instance_uid
    assert back.file_meta.MediaStorageSOPClassUID == back.SOPClassUID == report.sop_class_uid
    assert back.SeriesInstanceUID == report.series_instance_uid
    if report.role == Role.SR:
        assert [item.ValueType for item in back.ContentSequence][-2:] == ["CONTAINER", "CONTAINER"]
