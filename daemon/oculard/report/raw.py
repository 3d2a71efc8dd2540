"""Raw elements: a source's header looked at without decoding it and copied without re-encoding it.

pydicom decodes an element when it is first asked for, and encodes it again when it is written. A name whose bytes do
not match the declared character set does not survive that. So nothing here asks for a value: bytes go in and out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from io import BytesIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_sequence
from pydicom.multival import MultiValue
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from oculard.errors import Permanent

ITEM = b"\xfe\xff\x00\xe0"
ENCODED_BY_CHARSET = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}  # PS3.5 6.1.2.2
WORD_BYTES = {
    "US": 2,
    "SS": 2,
    "OW": 2,
    "UL": 4,
    "SL": 4,
    "FL": 4,
    "OL": 4,
    "OF": 4,
    "FD": 8,
    "OD": 8,
    "SV": 8,
    "UV": 8,
}
SHORT_LENGTH_MAX = 0xFFFF
UNREADABLE = (  # what pydicom raises for broken bytes
    EOFError,
    OSError,
    ValueError,
    LookupError,
    NotImplementedError,
    struct.error,
    BytesLengthException,
)


KNOWN_VRS = frozenset(str(vr.value) for vr in VR if len(vr.value) == 2)


class DamagedHeader(Permanent):
    """A sequence in a source's header cannot be read, so it cannot be copied."""

    reason = "damaged-header"
    hint = "look at the image with a DICOM dump tool; its sender wrote a broken sequence"


def text(ds: Dataset, keyword: str) -> str:
    """An element as text, for what is ASCII by the Standard (UIDs, codes, dates); "" when absent."""
    return value_bytes(ds, tag_of(keyword)).decode("latin-1").strip(" \0")


def number(ds: Dataset, keyword: str) -> int | None:
    """An unsigned short, or None when it is absent or not one."""
    element = ds.get_item(keyword, keep_deferred=True)
    if isinstance(element, DataElement):
        return int(element.value) if isinstance(element.value, int) else None
    if element is None or len(element.value or b"") != 2:
        return None
    (value,) = struct.unpack("<H" if element.is_little_endian else ">H", element.value or b"")
    return int(value)


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, their elements raw; [] when it is absent."""
    element = ds.get_item(keyword, keep_deferred=True)
    if element is None or not element.value:
        return []
    return list(element.value) if isinstance(element, DataElement) else _parsed(element)


def is_decoded(ds: Dataset, tag: int) -> bool:
    """Whether somebody decoded an element whose bytes depend on the character set: they are lost then."""
    element = ds.get_item(tag, keep_deferred=True)
    return isinstance(element, DataElement) and element.VR in ENCODED_BY_CHARSET and not element.is_empty


def value_bytes(ds: Dataset, tag: int) -> bytes:
    """An element's value as it is in the file, b"" when it is absent or empty."""
    element = ds.get_item(tag, keep_deferred=True)
    if element is None or element.value is None:
        return b""
    if isinstance(element, DataElement):
        parts = element.value if isinstance(element.value, MultiValue) else [element.value]
        return "\\".join(str(part) for part in parts).encode("latin-1", "replace")
    return bytes(element.value)


def copied(ds: Dataset, tag: int) -> bytes:
    """One element in Explicit VR Little Endian with the value that it has in the file."""
    element = ds.get_item(tag, keep_deferred=True)
    vr = _vr(tag, element)
    if isinstance(element, DataElement):
        if vr == "SQ":
            return sequence(tag, [copied_item(item) for item in element.value or ()])
        return encoded(tag, vr, value_bytes(ds, tag))
    value = bytes(element.value or b"") if element is not None else b""
    if element is None or not value:
        return encoded(tag, vr, b"")
    if vr == "SQ" and (element.is_implicit_VR or not element.is_little_endian):
        return sequence(tag, [copied_item(item) for item in _parsed(element)])
    if not element.is_little_endian and vr in WORD_BYTES:
        value = _swapped(value, WORD_BYTES[vr])
    return encoded(tag, vr, value)


def copied_item(item: Dataset) -> bytes:
    """All elements of a sequence item, each with the value that it has in the file."""
    return b"".join(copied(item, tag) for tag in sorted(item.keys()) if tag.element)  # group lengths are retired


def encoded(tag: int, vr: str, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian (PS3.5 7.1.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    if vr not in EXPLICIT_VR_LENGTH_32 and len(value) > SHORT_LENGTH_MAX:
        vr = "UN"  # PS3.5 6.2.2: too long for its own VR
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in EXPLICIT_VR_LENGTH_32:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def sequence(tag: int, contents: Iterable[bytes]) -> bytes:
    """A sequence of items of explicit length (PS3.5 7.5)."""
    return encoded(tag, "SQ", b"".join(ITEM + struct.pack("<I", len(content)) + content for content in contents))


def tag_of(keyword: str) -> int:
    """The tag of a keyword of the Standard."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def _vr(tag: int, element: DataElement | RawDataElement | None) -> str:
    """The VR from the file, else from the dictionary; UN where that leaves a choice or knows nothing."""
    vr = element.VR if element is not None and element.VR else dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
    return str(VR(vr).value) if vr in KNOWN_VRS else "UN"


def _parsed(element: RawDataElement) -> list[Dataset]:
    """The items of a sequence that is still bytes."""
    value = element.value or b""
    try:
        read = read_sequence(BytesIO(value), element.is_implicit_VR, element.is_little_endian, len(value), "iso8859", 0)
    except UNREADABLE as why:
        raise DamagedHeader(f"sequence {element.tag} of a source cannot be read: {type(why).__name__}") from why
    return list(read)


def _swapped(value: bytes, width: int) -> bytes:
    """Words of big endian as words of little endian."""
    return b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))
