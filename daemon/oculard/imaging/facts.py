"""Facts: what an instance's header says, as typed values. Read once, at the door, and trusted after."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from oculard_models.dicom_header import header_items, header_text, header_value
from oculard_models.header_cost import HeaderTooLarge

UID = re.compile(r"^[0-9]+(\.[0-9]+)*$")  # PS3.5 9.1; but some devices write leading zeros, and custody comes first
UID_CHARS_MAX = 64


class Eye(StrEnum):
    """Which eye an image shows. UNKNOWN is an answer: an eye is never guessed."""

    RIGHT = "R"
    LEFT = "L"
    UNKNOWN = "U"


class BadHeader(ValueError):
    """A header lacks what custody needs, or holds what no UID may hold. The message has no patient data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one instance's header says that the rest of the program needs."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str = ""
    eye: Eye = Eye.UNKNOWN
    eye_why: str = ""  # which attribute said so, or why it is unknown
    patient_id: str = ""
    accession_number: str = ""
    manufacturer: str = ""
    model: str = ""
    image_type: tuple[str, ...] = ()
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples_per_pixel: int = 1
    acquired_at: str = ""  # DICOM DT as the device wrote it: local time of the device
    frame_of_reference_uid: str = ""
    slab: str = ""  # code value of the en face image type (CID 4271)
    slab_scheme: str = ""  # who defined that code; only DCM's are CID 4271

    def as_json(self) -> dict[str, Any]:
        """The facts as plain values for a JSON column."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The facts as they were stored."""
        return cls(**{**values, "eye": Eye(values["eye"]), "image_type": tuple(values["image_type"])})


def is_uid(text: str) -> bool:
    """Whether the text has a UID's form and length (PS3.5 9.1), leading zeros allowed."""
    return 0 < len(text) <= UID_CHARS_MAX and UID.fullmatch(text) is not None


def read_facts(ds: Dataset) -> Facts:
    """Take the facts from a header. Raises BadHeader when one of the four UIDs is missing or malformed."""
    eye, eye_why = read_eye(ds)
    slab, slab_scheme = _slab(ds)
    return Facts(
        sop_class_uid=_uid(ds, "SOPClassUID"),
        sop_instance_uid=_uid(ds, "SOPInstanceUID"),
        study_instance_uid=_uid(ds, "StudyInstanceUID"),
        series_instance_uid=_uid(ds, "SeriesInstanceUID"),
        modality=header_text(ds, "Modality").upper(),
        eye=eye,
        eye_why=eye_why,
        patient_id=header_text(ds, "PatientID"),
        accession_number=header_text(ds, "AccessionNumber"),
        manufacturer=header_text(ds, "Manufacturer"),
        model=header_text(ds, "ManufacturerModelName"),
        image_type=tuple(part.upper() for part in _texts(ds, "ImageType")),
        rows=_number(ds, "Rows", 0),
        columns=_number(ds, "Columns", 0),
        frames=_number(ds, "NumberOfFrames", 1),
        samples_per_pixel=_number(ds, "SamplesPerPixel", 1),
        acquired_at=_acquired_at(ds),
        frame_of_reference_uid=header_text(ds, "FrameOfReferenceUID"),
        slab=slab,
        slab_scheme=slab_scheme,
    )


def read_eye(ds: Dataset) -> tuple[Eye, str]:
    """The eye and why: Image Laterality, then Laterality, then the frames' anatomy.

    Two attributes that contradict each other, "B" (both) or frames of both eyes give UNKNOWN: an eye is never guessed.
    """
    try:
        of_frames = _frame_laterality(ds)
    except HeaderTooLarge:
        return Eye.UNKNOWN, "what the header says of the frames' eyes is too large to be read"
    said = {
        "ImageLaterality": header_text(ds, "ImageLaterality").upper(),
        "Laterality": header_text(ds, "Laterality").upper(),
        "FrameLaterality": of_frames,
    }
    named = {keyword: value for keyword, value in said.items() if value in ("R", "L")}
    if len(set(named.values())) > 1:
        return Eye.UNKNOWN, "contradiction: " + ", ".join(f"{k} {v}" for k, v in named.items())
    both = [keyword for keyword, value in said.items() if value == "B"]
    if both:
        return Eye.UNKNOWN, f"{both[0]} says both eyes"
    for keyword, value in named.items():
        return Eye(value), keyword
    return Eye.UNKNOWN, "no laterality in the header"


def _frame_laterality(ds: Dataset) -> str:
    """What all functional groups that say a laterality agree on, "B" when they differ, "" when none says one."""
    groups = [
        *header_items(ds, "SharedFunctionalGroupsSequence"),
        *header_items(ds, "PerFrameFunctionalGroupsSequence"),
    ]
    said = {
        header_text(anatomy, "FrameLaterality").upper()
        for group in groups
        for anatomy in header_items(group, "FrameAnatomySequence")
    } - {""}
    return said.pop() if len(said) == 1 else ("B" if said else "")


def _texts(ds: Dataset, keyword: str) -> list[str]:
    value = header_value(ds, keyword)
    parts = value if isinstance(value, MultiValue) else [] if value is None else [value]
    return [str(part).strip() for part in parts]


def _number(ds: Dataset, keyword: str, default: int) -> int:
    try:
        return max(0, int(header_value(ds, keyword)))
    except (ValueError, TypeError):
        return default


def _uid(ds: Dataset, keyword: str) -> str:
    uid = header_text(ds, keyword)
    if not uid:
        raise BadHeader(f"{keyword} is missing")
    if not is_uid(uid):
        raise BadHeader(f"{keyword} is not a UID")
    return uid


def _acquired_at(ds: Dataset) -> str:
    """Acquisition Date Time, or the most specific date and time pair there is, as DICOM DT."""
    whole = header_text(ds, "AcquisitionDateTime")
    if whole:
        return whole
    for kind in ("Acquisition", "Content", "Series"):
        date, time = header_text(ds, f"{kind}Date"), header_text(ds, f"{kind}Time")
        if date:
            return date + time
    return ""


def acquisition_time(facts: Facts) -> datetime | None:
    """When the image was taken, in the device's own local time, to the second; None when the header does not say."""
    try:
        return datetime.strptime(facts.acquired_at[:14], "%Y%m%d%H%M%S")  # noqa: DTZ007  the device's clock has no zone
    except ValueError:
        return None


def _slab(ds: Dataset) -> tuple[str, str]:
    """Code value and scheme of the en face image type, as the device wrote them."""
    items = header_items(ds, "OphthalmicImageTypeCodeSequence")
    return (header_text(items[0], "CodeValue"), header_text(items[0], "CodingSchemeDesignator")) if items else ("", "")
