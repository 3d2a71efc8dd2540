"""A DICOM file as bytes: what its file meta information says, and the same data set in Implicit VR Little Endian.

Nothing here decodes a value: a name whose bytes do not match its declared character set stays as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from oculard.errors import Rejected

HEAD = 128 + 4  # preamble and "DICM", PS3.10 7.1
META_BYTES_MAX = 1 << 16
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 7.1.2: 32 bit lengths
UNDEFINED = 0xFFFFFFFF
META_GROUP = 2
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
GROUP_LENGTH, MEDIA_CLASS, MEDIA_INSTANCE, TRANSFER_SYNTAX = 0x00020000, 0x00020002, 0x00020003, 0x00020010


class NotPart10(Rejected):
    """The file is no DICOM file, or a damaged one."""

    reason = "not-part10"
    hint = "only DICOM files (PS3.10) can be sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What a file says of itself before its data set begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int  # of the data set


def read_meta(path: Path) -> Meta:
    """The meta information of a file. Raises NotPart10, and OSError when it cannot be read."""
    with path.open("rb") as file:
        return parse_meta(file.read(META_BYTES_MAX))


def parse_meta(data: bytes) -> Meta:
    """The meta information at the beginning of a file's bytes. Raises NotPart10."""
    if data[HEAD - 4 : HEAD] != b"DICM":
        raise NotPart10("not a DICOM file: it has no DICM prefix")
    found: dict[int, bytes] = {}
    offset = HEAD
    try:
        for tag, _, start, end in _elements(data, HEAD, len(data), group=META_GROUP):
            found[tag], offset = data[start:end], end
        uids = [found[tag].rstrip(b"\0 ").decode("ascii") for tag in (MEDIA_CLASS, MEDIA_INSTANCE, TRANSFER_SYNTAX)]
    except (KeyError, UnicodeDecodeError, struct.error) as why:
        raise NotPart10(f"damaged DICOM file meta information: {type(why).__name__}") from why
    return Meta(sop_class_uid=uids[0], sop_instance_uid=uids[1], transfer_syntax_uid=uids[2], offset=offset)


def as_implicit(data: bytes) -> bytes:
    """An Explicit VR Little Endian file as an Implicit VR Little Endian one: VRs go, every value stays as it is."""
    meta = parse_meta(data)
    if meta.transfer_syntax_uid != ExplicitVRLittleEndian:
        raise ValueError(f"cannot make `{meta.transfer_syntax_uid}` implicit")
    group = b"".join(
        _explicit(tag, vr, str(ImplicitVRLittleEndian).encode() if tag == TRANSFER_SYNTAX else data[start:end])
        for tag, vr, start, end in _elements(data, HEAD, meta.offset)
        if tag != GROUP_LENGTH
    )
    length = _explicit(GROUP_LENGTH, b"UL", struct.pack("<I", len(group)))
    try:
        return data[:HEAD] + length + group + _implicit(data, meta.offset, len(data))
    except struct.error as why:
        raise NotPart10("damaged DICOM file: an element ends behind its end") from why


def _implicit(data: bytes, start: int, end: int) -> bytes:
    """The elements between two places, without their VRs (PS3.5 7.1.3); sequences get explicit lengths."""
    parts = []
    for tag, vr, begin, stop in _elements(data, start, end):
        value = _items(data, begin, stop) if vr == b"SQ" else data[begin:stop]
        parts.append(_header(tag, len(value)) + value)
    return b"".join(parts)


def _items(data: bytes, start: int, end: int) -> bytes:
    """The items of a sequence, each made implicit."""
    parts = []
    at = start
    while at < end:
        tag, length = _item_header(data, at)
        if tag == SEQUENCE_END:
            break
        stop = _end_of_item(data, at + 8) if length == UNDEFINED else at + 8 + length
        content = _implicit(data, at + 8, stop)
        parts.append(_header(ITEM, len(content)) + content)
        at = stop + 8 if length == UNDEFINED else stop
    return b"".join(parts)


def _elements(data: bytes, start: int, end: int, *, group: int | None = None) -> Iterator[tuple[int, bytes, int, int]]:
    """Each Explicit VR element: (tag, VR, where its value begins, where it ends). Ends at an item's delimiter.

    With a group, ends where another one begins.
    """
    at = start
    while at < end:
        found, element, vr = struct.unpack_from("<HH2s", data, at)
        tag = found << 16 | element
        if tag == ITEM_END or group not in (None, found):
            return
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<I", data, at + 8)
            begin = at + 12
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            begin = at + 8
        if length == UNDEFINED and vr != b"SQ":
            raise struct.error("only a sequence of ours may have an undefined length")
        stop = _end_of_sequence(data, begin) if length == UNDEFINED else begin + length
        if stop > end:
            raise struct.error("an element ends behind its end")
        yield tag, vr, begin, stop
        at = stop + 8 if length == UNDEFINED else stop


def _end_of_sequence(data: bytes, at: int) -> int:
    """Where the delimiter of a sequence of undefined length stands."""
    while True:
        tag, length = _item_header(data, at)
        if tag == SEQUENCE_END:
            return at
        at = _end_of_item(data, at + 8) + 8 if length == UNDEFINED else at + 8 + length


def _end_of_item(data: bytes, at: int) -> int:
    """Where the delimiter of an item of undefined length stands."""
    end = at
    for _, vr, begin, stop in _elements(data, at, len(data)):
        (written,) = struct.unpack_from("<I", data, begin - 4)
        end = stop + 8 if vr in LONG_VRS and written == UNDEFINED else stop
    return end


def _item_header(data: bytes, at: int) -> tuple[int, int]:
    group, element, length = struct.unpack_from("<HHI", data, at)
    return group << 16 | element, length


def _header(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0"
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG_VRS else struct.pack("<H", len(value))) + value
