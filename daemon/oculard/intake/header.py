"""The header: a data set walked from end to end in bounded memory, and its small elements picked out.

Nothing is decoded but tags and lengths, and large values are skipped, so 400 MB cost no more than 4. What is cut short
or makes no sense is told apart here, before custody is taken: the device still has the image.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, Protocol, cast

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from oculard.dimse import UNREADABLE
from oculard.errors import Rejected
from oculard.intake.quick import FRAME_LATERALITY, GROUPS, WANTED, Element, QuickHeader, quick_header
from oculard.intake.stride import HEAD_BYTES, stride
from oculard_models.dicom_header import is_too_large, share_meter
from oculard_models.header_cost import Meter, MeteredBytes

HEADER_BYTES_MAX = 32 << 20  # of what is kept for the facts
VALUE_BYTES_MAX = 64 << 10  # a longer value holds no fact
ELEMENTS_MAX = 1_000_000
DEPTH_MAX = 32
CHUNK_BYTES = 64 << 10
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_GROUP = 0x7FE0
# The sequences that the facts are read from; all others are walked over.
SEQUENCES = frozenset({*GROUPS, 0x00221615})
FRAME_LATERALITIES = (FRAME_LATERALITY, FRAME_LATERALITY[1::-1] + FRAME_LATERALITY[:1:-1])  # little and big endian
DELIMITER_BYTES = 8
LONG_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
VRS = LONG_VRS | {str(vr).encode() for vr in EXPLICIT_VR_LENGTH_16}


class BadDataSet(Rejected):
    """A data set cannot be understood."""

    reason = "bad-data-set"


class Truncated(BadDataSet):
    """A data set ends before it is complete."""

    reason = "truncated"

    def __init__(self) -> None:
        super().__init__("the data set is cut short", hint="send the instance again; look at the file on the device")


def read_header(
    file: BinaryIO, size_bytes: int, transfer_syntax_uid: str, *, inflated_bytes_max: int, quick: bool = True
) -> Dataset:
    """The small elements of the data set that begins where the file stands. Raises BadDataSet or Truncated.

    Of an ordinary header only the elements that the facts are read from, unless `quick` is False.
    """
    syntax = UID(transfer_syntax_uid)
    implicit = syntax.is_implicit_VR
    if quick and syntax.is_little_endian and syntax != DeflatedExplicitVRLittleEndian:
        found = _stride(file, size_bytes, implicit=implicit)
        if found is not None:
            return cast("Dataset", found)
    if syntax == DeflatedExplicitVRLittleEndian:
        walk = _Walk(_Deflated(file, size_bytes, inflated_bytes_max), implicit=False, little=True)
    else:
        walk = _Walk(_Plain(file, size_bytes), implicit=implicit, little=syntax.is_little_endian)
    header = walk.header()
    if quick and walk.is_ordinary:
        found = quick_header(walk.elements)
        if found is not None:
            return cast("Dataset", found)  # it gives what the facts ask for, and nothing else
    meter = Meter()
    try:
        ds = read_dataset(MeteredBytes(header, meter), implicit, syntax.is_little_endian)
        share_meter(ds, meter)
    except UNREADABLE as why:
        if is_too_large(why):
            raise BadDataSet("the header costs too much memory", reason="header-too-large") from why
        raise BadDataSet(f"the header cannot be parsed: {type(why).__name__}") from why
    return ds


def _stride(file: BinaryIO, size_bytes: int, *, implicit: bool) -> QuickHeader | None:
    """The quick look at a data set that is plain to its end; None, and the file stands where it stood, otherwise."""
    begins_at = file.tell()

    def read(at: int, count: int) -> bytes:
        file.seek(begins_at + at)
        return file.read(count)

    head = file.read(min(size_bytes, HEAD_BYTES))
    elements = stride(head, size_bytes, read, implicit=implicit)
    found = None if elements is None else quick_header(elements)
    file.seek(begins_at)
    return found


class _Source(Protocol):
    """Bytes that can only be read forwards."""

    def take(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""

    def skip(self, count: int) -> None:
        """Pass over so many bytes. Raises Truncated when there are fewer."""


class _Plain:
    """The bytes of a file."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._left = file, size_bytes

    def take(self, count: int) -> bytes:
        data = self._file.read(min(count, self._left))
        self._left -= len(data)
        return data

    def skip(self, count: int) -> None:
        if count > self._left:
            raise Truncated
        self._file.seek(count, 1)
        self._left -= count


class _Deflated:
    """The bytes that a deflated file inflates to, never more than a little of them at once (PS3.5 A.5)."""

    def __init__(self, file: BinaryIO, size_bytes: int, inflated_bytes_max: int) -> None:
        self._file, self._left, self._bytes_max = _Plain(file, size_bytes), inflated_bytes_max, inflated_bytes_max
        self._inflate, self._ready = zlib.decompressobj(-zlib.MAX_WBITS), b""

    def take(self, count: int) -> bytes:
        parts, missing = [], count
        while missing and (self._ready or self._more()):
            part, self._ready = self._ready[:missing], self._ready[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            part = self.take(min(count, CHUNK_BYTES))
            if not part:
                raise Truncated
            count -= len(part)

    def _more(self) -> bool:
        """Inflate a little more; False at the end of the stream."""
        while not self._ready:
            if self._inflate.eof:
                return False
            packed = self._inflate.unconsumed_tail or self._file.take(CHUNK_BYTES)
            if not packed:
                raise Truncated
            try:
                self._ready = self._inflate.decompress(packed, CHUNK_BYTES)
            except zlib.error as why:
                raise BadDataSet("the data set is not deflated as it says", reason="bad-deflate") from why
            self._left -= len(self._ready)
            if self._left < 0:
                raise BadDataSet(
                    f"the data set inflates to more than {self._bytes_max} bytes", reason="inflates-too-far"
                )
        return True


class _Walk:
    """One pass over a data set."""

    def __init__(self, source: _Source, *, implicit: bool, little: bool) -> None:
        self._source, self._implicit = source, implicit
        order = "<" if little else ">"
        self._tag = struct.Struct(f"{order}HH").unpack_from
        self._short = struct.Struct(f"{order}H").unpack_from
        self._long = struct.Struct(f"{order}L")
        self._kept: bytearray | None = None  # while it is one, what is taken is also kept
        self._count = 0
        self._seen_pixels = False
        self._vr = b""
        self.is_ordinary = little  # as far as a quick look can tell
        self.elements: dict[int, Element] = {}  # at the top, and wanted by a quick look

    def header(self) -> bytes:
        """Walk to the end; gives the bytes of the small elements."""
        kept = bytearray()
        while True:
            self._kept = bytearray()
            head = self._head()
            if head is None:
                return bytes(kept)
            tag, length = head
            wanted = tag >> 16 < PIXEL_GROUP and (tag in SEQUENCES or length <= VALUE_BYTES_MAX)
            if not wanted:
                self._kept = None
            if tag in (ITEM, ITEM_END, SEQUENCE_END):
                raise BadDataSet("an item stands outside a sequence", reason="bad-structure")
            vr = self._vr
            self.is_ordinary &= vr in VRS or (self._implicit and not vr.isalpha())
            begins_at = len(self._kept or b"")
            self._value(length, depth=0)
            if tag in WANTED and self._kept is not None:
                self.is_ordinary &= length != UNDEFINED or tag in GROUPS
                self.elements[tag] = (b"" if self._implicit else vr, bytes(self._kept[begins_at:]))
            self._seen_pixels = self._seen_pixels or tag >> 16 >= PIXEL_GROUP
            kept += self._groups(vr, length, begins_at) if tag in GROUPS else self._kept or b""
            if len(kept) > HEADER_BYTES_MAX:
                raise BadDataSet(f"the header is larger than {HEADER_BYTES_MAX} bytes", reason="header-too-large")

    def _groups(self, vr: bytes, length: int, begins_at: int) -> bytes:
        """What is kept of the frames' description: nothing, unless it names an eye.

        It is kept with a length, so that pydicom decodes it only when it is asked for: that of many frames costs much.
        """
        assert self._kept is not None, "they are kept whole, or the walk ends"
        if not any(tag in self._kept for tag in FRAME_LATERALITIES):
            return b""
        if length != UNDEFINED or not (self._implicit or vr == b"SQ"):
            return bytes(self._kept)
        value = bytes(self._kept[begins_at:-DELIMITER_BYTES])
        return bytes(self._kept[: begins_at - self._long.size]) + self._long.pack(len(value)) + value

    def _head(self) -> tuple[int, int] | None:
        """The next element's tag and length; None at the end of the data set."""
        head = self._take(8)
        if len(head) < 8:
            if head.strip(b"\0") and not self._seen_pixels:  # after the pixel data nothing but padding can be lost
                raise Truncated
            return None
        self._count += 1
        if self._count > ELEMENTS_MAX:
            raise BadDataSet(f"the data set has more than {ELEMENTS_MAX} elements", reason="too-many-elements")
        group, element = self._tag(head)
        tag, vr = group << 16 | element, head[4:6]
        self._vr = vr
        if self._implicit or group == 0xFFFE or not (vr in VRS or (vr.isalpha() and vr.isupper())):
            # Writers that fall back to implicit VR inside sequences exist.
            return tag, self._long.unpack_from(head, 4)[0]
        if vr not in LONG_VRS:
            return tag, self._short(head, 6)[0]
        rest = self._take(4)
        if len(rest) < 4:
            raise Truncated
        return tag, self._long.unpack(rest)[0]

    def _value(self, length: int, *, depth: int) -> None:
        if length == UNDEFINED:
            self._items(depth + 1)
        elif self._kept is None:
            self._source.skip(length)
        elif len(self._kept) + length > HEADER_BYTES_MAX:
            raise BadDataSet(f"the header is larger than {HEADER_BYTES_MAX} bytes", reason="header-too-large")
        elif len(self._take(length)) < length:
            raise Truncated

    def _items(self, depth: int) -> None:
        """Items or fragments up to the sequence's delimiter."""
        if depth > DEPTH_MAX:
            raise BadDataSet(f"sequences are nested more than {DEPTH_MAX} deep", reason="nested-too-deep")
        while True:
            head = self._head()
            if head is None:
                raise Truncated
            tag, length = head
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise BadDataSet("a sequence holds something that is no item", reason="bad-structure")
            if length == UNDEFINED:
                self._item(depth)
            else:
                self._value(length, depth=depth)

    def _item(self, depth: int) -> None:
        """Elements up to the item's delimiter."""
        while True:
            head = self._head()
            if head is None:
                raise Truncated
            tag, length = head
            if tag == ITEM_END:
                return
            self._value(length, depth=depth)

    def _take(self, count: int) -> bytes:
        data = self._source.take(count)
        if self._kept is not None:
            self._kept += data
        return data
