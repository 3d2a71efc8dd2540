"""A file as pydicom's parser may read its header: whatever lengths it claims, they cost no more than a header may.

pydicom reserves as much memory as an element says that it is long, before it sees that the file ends earlier.
"""

from __future__ import annotations

import os
from io import SEEK_CUR, SEEK_SET
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

LONG_BYTES = 64 << 10  # a longer value stays in the file until somebody asks for it
VALUE_BYTES_MAX = 8 << 20  # of one that is asked for: 2048 frames are described in less
HEADER_BYTES_MAX = 128 << 20  # of all that is read
READS_MAX = 1 << 20  # an element is one or two: intake lets no more pass, and each costs memory however short it is
DEFLATED_BYTES_MAX = 256 << 20


class HeaderTooLarge(ValueError):
    """A header claims more than the file holds, or more than any header needs."""


class HeaderFile:
    """Open within a `with` block; afterwards opened again for each long value that somebody asks pydicom for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._size = self._at = 0
        self._bytes_left, self._reads_left = HEADER_BYTES_MAX, READS_MAX

    def __enter__(self) -> Self:
        self._file = self._path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        self._file.seek(self._at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None

    def seek(self, to: int, whence: int = SEEK_SET) -> int:
        """Go to a place of the file."""
        assert whence in (SEEK_SET, SEEK_CUR)
        self._at = to if whence == SEEK_SET else self._at + to
        if self._file is not None:
            self._file.seek(self._at)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def read(self, count: int = -1) -> bytes:
        """The next bytes, fewer at the end of the file. Raises HeaderTooLarge and OSError."""
        if self._file is not None:
            return self._read(self._file, count, HEADER_BYTES_MAX)
        with self as again:
            assert again._file is not None
            return self._read(again._file, count, VALUE_BYTES_MAX)

    def _read(self, file: BinaryIO, count: int, bytes_max: int) -> bytes:
        left = max(0, self._size - self._at)
        if count < 0:  # pydicom does so with what is deflated, and only with that
            allowed, count = DEFLATED_BYTES_MAX, left
        else:  # a parser finds the end by asking for a little more than there is
            allowed = min(bytes_max, self._bytes_left, max(left, LONG_BYTES))
        if count > allowed or self._reads_left <= 0:
            raise HeaderTooLarge("the header claims more than the file holds, or more than any header needs")
        data = file.read(count)
        self._at += len(data)
        self._bytes_left -= len(data)
        self._reads_left -= 1
        return data
