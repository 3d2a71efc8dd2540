"""The parts of a multipart/related answer, each into a file of the spool as it comes (RFC 2387, PS3.18 8.7)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

HEADER_BYTES_MAX = 16 << 10
BOUNDARY_MAX = 200


class BadMultipart(Exception):
    """The answer does not hold together."""


def boundary_of(content_type: str) -> str | None:
    """The boundary that a content type names; None where it is no multipart/related."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        return None
    return boundary if 0 < len(boundary) <= BOUNDARY_MAX and boundary.isascii() else None


class Parts:
    """Feed it bytes; every part that is whole goes to `take` as a file, which is deleted afterwards."""

    def __init__(self, boundary: str, spool: Path, take: Callable[[Path], None], *, bytes_max: int) -> None:
        self._spool, self._take, self._left = spool, take, bytes_max
        self._file: IO[bytes] | None = None
        self._path = spool
        self._ended = False
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
        """Take the next bytes. Raises BadMultipart, OSError, or what `take` raises."""
        self._left -= len(data)
        if self._left < 0:
            raise BadMultipart("it is larger than we take")
        try:
            self._parser.write(data)
        except FormParserError as why:
            raise BadMultipart("its parts cannot be told apart") from why

    def end(self) -> None:
        """See that the last boundary has come. Raises BadMultipart."""
        if not self._ended:
            raise BadMultipart("it ended in the middle")

    def discard(self) -> None:
        """Delete what is not finished."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._path = self._spool / f"{uuid.uuid4().hex}.part"
        self._file = self._path.open("xb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None, "a part has begun"
        self._file.write(data[start:end])

    def _finish(self) -> None:
        assert self._file is not None, "a part has begun"
        self._file.close()
        self._file = None
        try:
            self._take(self._path)
        finally:
            self._path.unlink(missing_ok=True)

    def _end(self) -> None:
        self._ended = True
