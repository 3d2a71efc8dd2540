"""A stride through an ordinary data set: from tag to tag in its first bytes, and past its pixels to its very end.

Whatever is not plain, complete and in the first bytes is left to the walk of `header.py`, which judges what it is; a
test compares the two. Both note the same elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from oculard.intake.quick import WANTED, Element

HEAD_BYTES = 64 << 10
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DELIMITERS = 0xFFFE
PIXEL_DATA = 0x7FE00010
DEPTH_MAX = 8
FRAGMENTS_MAX = 10_000
LONG_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
SHORT_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_16)
EXPLICIT, IMPLICIT, LENGTH = (struct.Struct(form).unpack_from for form in ("<HH2sH", "<HHL", "<L"))
Read = Callable[[int, int], bytes]  # so many bytes of the data set, from there


class Unusual(Exception):
    """A data set is not plain, or what is plain of it does not lie in its first bytes."""


def stride(head: bytes, size_bytes: int, read: Read, *, implicit: bool) -> dict[int, Element] | None:
    """The wanted elements of a whole little endian data set that is plain to its end; None for any other."""
    try:
        return _Stride(head, size_bytes, read, implicit=implicit).elements()
    except (Unusual, struct.error):  # the latter: it goes on behind the head
        return None


class _Stride:
    def __init__(self, head: bytes, size_bytes: int, read: Read, *, implicit: bool) -> None:
        self._head, self._size, self._read = head, size_bytes, read
        self._next = self._implicit if implicit else self._explicit
        self._is_implicit = implicit

    def elements(self) -> dict[int, Element]:
        """From the first element to the end. Raises Unusual or struct.error."""
        found: dict[int, Element] = {}
        head, at, size = self._head, 0, self._size
        while at < size:
            tag, vr, length, at = self._next(at)
            if length == UNDEFINED:
                if tag in WANTED:
                    raise Unusual
                at = self._fragments(at) if tag == PIXEL_DATA else self._items(at, DEPTH_MAX)
                continue
            if tag in WANTED:
                if at + length > len(head):
                    raise Unusual
                found[tag] = (b"" if self._is_implicit else vr, head[at : at + length])
            at += length
        if at > size:
            raise Unusual
        return found

    def _explicit(self, at: int) -> tuple[int, bytes, int, int]:
        """Tag, value representation, length and value's place of the element that begins there (PS3.5 7.1.2)."""
        group, element, vr, length = EXPLICIT(self._head, at)
        if group == DELIMITERS:
            raise Unusual
        if vr in SHORT_VRS:
            return group << 16 | element, vr, length, at + 8
        if vr in LONG_VRS:
            return group << 16 | element, vr, LENGTH(self._head, at + 8)[0], at + 12
        raise Unusual

    def _implicit(self, at: int) -> tuple[int, bytes, int, int]:
        """The same, where a data set does not say its values' representations (PS3.5 7.1.3)."""
        group, element, length = IMPLICIT(self._head, at)
        vr: bytes = self._head[at + 4 : at + 6]
        if vr.isalpha() or group == DELIMITERS:
            raise Unusual
        return group << 16 | element, vr, length, at + 8

    def _items(self, at: int, deeper: int) -> int:
        """Past the items of a sequence without a length, and its delimiter (PS3.5 7.5)."""
        if not deeper:
            raise Unusual
        while True:
            tag, length = self._delimiter(at)
            at += 8
            if tag == SEQUENCE_END:
                return at
            if tag != ITEM:
                raise Unusual
            at = self._item(at, deeper) if length == UNDEFINED else at + length

    def _item(self, at: int, deeper: int) -> int:
        """Past the elements of an item without a length, and its delimiter."""
        while self._delimiter(at)[0] != ITEM_END:
            _, _, length, at = self._next(at)
            at = self._items(at, deeper - 1) if length == UNDEFINED else at + length
        return at + 8

    def _delimiter(self, at: int) -> tuple[int, int]:
        group, element, length = IMPLICIT(self._head, at)
        return group << 16 | element, length

    def _fragments(self, at: int) -> int:
        """Past encapsulated pixels, which go on far behind the head (PS3.5 A.4)."""
        for _ in range(FRAGMENTS_MAX):
            head = self._head[at : at + 8] if at + 8 <= len(self._head) else self._read(at, 8)
            group, element, length = IMPLICIT(head)
            tag, at = group << 16 | element, at + 8
            if tag == SEQUENCE_END:
                return at
            if tag != ITEM or length == UNDEFINED:
                raise Unusual
            at += length
        raise Unusual
