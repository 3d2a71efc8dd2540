"""A quick look at an ordinary header: the facts' elements decoded from their bytes, without building data sets.

Whatever is not plain (a text beyond ASCII, an element twice, a length that no such value has) is left to pydicom; a
test compares the two on whatever pydicom can write.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from pydicom.multival import MultiValue

# Tag, keyword and value representation of the elements that the facts are read from (PS3.6).
TEXTS = {
    0x00080008: ("ImageType", b"CS"),
    0x00080016: ("SOPClassUID", b"UI"),
    0x00080018: ("SOPInstanceUID", b"UI"),
    0x00080021: ("SeriesDate", b"DA"),
    0x00080022: ("AcquisitionDate", b"DA"),
    0x00080023: ("ContentDate", b"DA"),
    0x0008002A: ("AcquisitionDateTime", b"DT"),
    0x00080031: ("SeriesTime", b"TM"),
    0x00080032: ("AcquisitionTime", b"TM"),
    0x00080033: ("ContentTime", b"TM"),
    0x00080050: ("AccessionNumber", b"SH"),
    0x00080060: ("Modality", b"CS"),
    0x00080070: ("Manufacturer", b"LO"),
    0x00081090: ("ManufacturerModelName", b"LO"),
    0x00100020: ("PatientID", b"LO"),
    0x0020000D: ("StudyInstanceUID", b"UI"),
    0x0020000E: ("SeriesInstanceUID", b"UI"),
    0x00200052: ("FrameOfReferenceUID", b"UI"),
    0x00200060: ("Laterality", b"CS"),
    0x00200062: ("ImageLaterality", b"CS"),
    0x00280008: ("NumberOfFrames", b"IS"),
}
NUMBERS = {
    0x00280002: ("SamplesPerPixel", b"US"),
    0x00280010: ("Rows", b"US"),
    0x00280011: ("Columns", b"US"),
}
GROUPS = (0x52009229, 0x52009230)  # the functional groups, which may say a laterality
SLAB = 0x00221615  # the en face image type
WANTED = frozenset({*TEXTS, *NUMBERS, *GROUPS, SLAB})
FRAME_LATERALITY = b"\x20\x00\x72\x90"
PLAIN = re.compile(rb"^[ -\[\]-}]*$")  # no backslash, and no tilde, which JIS X 0201 has another sign for
PLAIN_LIST = re.compile(rb"^[ -}]+$")
WHOLE = re.compile(rb"^ *[0-9]{1,9} *$")
IMAGE_TYPE, FRAMES = 0x00080008, 0x00280008
Element = tuple[bytes, bytes]  # value representation (b"" where it is implicit), value


class QuickHeader:
    """The values of an ordinary header, by keyword, as a pydicom data set would give them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get(self, keyword: str) -> Any:
        """The element's value; None when it is absent."""
        return self._values.get(keyword)


def quick_header(elements: Mapping[int, Element]) -> QuickHeader | None:
    """The wanted elements of a little endian data set as values; None where pydicom must read it."""
    values: dict[str, Any] = {}
    for tag, (vr, value) in elements.items():
        if tag == SLAB or (tag in GROUPS and FRAME_LATERALITY in value):
            return None
        if tag in GROUPS:
            continue
        keyword, expected = NUMBERS.get(tag) or TEXTS[tag]
        if vr not in (b"", expected):
            return None
        decoded = _number(value) if tag in NUMBERS else _text(tag, value.rstrip(b" \0"))
        if decoded is None:
            return None
        values[keyword] = decoded
    return QuickHeader(values)


def _number(value: bytes) -> int | None:
    return struct.unpack("<H", value)[0] if len(value) == 2 else None


def _text(tag: int, value: bytes) -> str | MultiValue[str] | None:
    if tag == IMAGE_TYPE:
        parts = value.decode("ascii").split("\\") if PLAIN_LIST.match(value) else []
        return MultiValue(str, parts) if len(parts) > 1 else None
    if tag == FRAMES and not WHOLE.match(value):
        return None
    return value.decode("ascii") if PLAIN.match(value) else None
