"""The parts of a multipart/related answer, each into the spool as it comes (RFC 2387, PS3.18 8.7)."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from oculard.retrieve.archive import INSTANCES_MAX
from oculard.store.spool import Spool, Spooler

HEADER_BYTES_MAX = 16 << 10
BOUNDARY_MAX = 70  # RFC 2046 5.1.1
DICOM = "application/dicom"


class BadMultipart(Exception):
    """The answer does not hold together."""


def boundary_of(content_type: str) -> str | None:
    """The boundary that a content type names; None where it is no multipart/related of DICOM files."""
    message = Message()
    message["content-type"] = content_type
    boundary, root = message.get_param("boundary"), message.get_param("type", DICOM)
    if message.get_content_type() != "multipart/related" or str(root).lower() != DICOM:
        return None
    if not isinstance(boundary, str) or not boundary.isascii() or not 0 < len(boundary) <= BOUNDARY_MAX:
        return None
    return boundary


class Parts:
    """Feed it bytes; every part that is whole goes to `take` as a spool, which is discarded afterwards."""

    def __init__(self, boundary: str, spooler: Spooler, take: Callable[[Spool], None], *, bytes_max: int) -> None:
        self._spooler, self._take, self._left, self._parts = spooler, take, bytes_max, 0
        self._spool: Spool | None = None
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._write,
                "on_part_end": self._finish,
                "on_end": self._end,
            },
            max_header_size=HEADER_BYTES_MAX,
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises BadMultipart, or what `take` raises."""
        self._left -= len(data)
        if self._left < 0:
            raise BadMultipart("it is larger than we take")
        try:
            self._parser.write(data)
        except FormParserError as why:
            raise BadMultipart("its parts cannot be told apart") from why

    def end(self) -> None:
        """See that the last boundary has come. Raises BadMultipart."""
        if not self._has_ended:
            raise BadMultipart("it ended in the middle")

    def discard(self) -> None:
        """Delete what is not finished."""
        if self._spool is not None:
            self._spool.discard()
            self._spool = None

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > INSTANCES_MAX:
            raise BadMultipart("it has more parts than a study has instances")
        self._spool = self._spooler.open_file()

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._spool is not None, "a part has begun"
        self._spool.write(memoryview(data)[start:end])

    def _finish(self) -> None:
        assert self._spool is not None, "a part has begun"
        try:
            self._take(self._spool)
        finally:
            self.discard()

    def _end(self) -> None:
        self._has_ended = True
