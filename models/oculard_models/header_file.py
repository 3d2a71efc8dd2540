"""A file as pydicom's parser may read its header: whatever lengths it claims, they cost no more than a header may.

pydicom reserves as much memory as an element says that it is long, before it sees that the file ends earlier.
"""

from __future__ import annotations

import os
import sys
import zlib
from io import SEEK_CUR, SEEK_SET
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from oculard_models.header_cost import HeaderTooLarge, Meter

LONG_BYTES = 64 << 10  # a longer value stays in the file until somebody asks for it
VALUE_BYTES_MAX = 16 << 20  # of one that is asked for: 4096 frames are described in less
PIECE_BYTES = 64 << 10  # that are inflated at once


class _Source(Protocol):
    """Where the bytes come from: a file, or what it inflates to."""

    def seek(self, to: int, /) -> int: ...

    def read(self, count: int, /) -> bytes: ...

    def close(self) -> None: ...


class HeaderFile:
    """Open within a `with` block; afterwards opened again for each long value that somebody asks pydicom for."""

    def __init__(self, path: Path) -> None:
        self._path, self.meter = path, Meter()
        self._source: _Source | None = None
        self._size = self._at = 0

    def __enter__(self) -> Self:
        file = self._path.open("rb")
        self._source, self._size = file, os.fstat(file.fileno()).st_size
        file.seek(self._at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._source is not None
        self._source.close()
        self._source = None

    def inflate(self) -> None:
        """Go on, at place 0, with what the rest of the file inflates to. No value of it can be asked for later."""
        file = self._path.open("rb")
        file.seek(self._at)
        assert self._source is not None
        self._source.close()
        self._source, self._size, self._at = _Inflated(file, self.meter), sys.maxsize, 0

    def seek(self, to: int, whence: int = SEEK_SET) -> int:
        """Go to a place of the file. Raises HeaderTooLarge."""
        assert whence in (SEEK_SET, SEEK_CUR)
        self.meter.pay_data_set()
        self._at = to if whence == SEEK_SET else self._at + to
        if self._source is not None:
            self._source.seek(self._at)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def read(self, count: int = -1) -> bytes:
        """The next bytes, fewer at the end of the file. Raises HeaderTooLarge and OSError."""
        if self._source is not None:
            return self._read(self._source, count, self.meter.bytes_left)
        with self as again:
            assert again._source is not None
            return self._read(again._source, count, min(VALUE_BYTES_MAX, self.meter.bytes_left))

    def _read(self, source: _Source, count: int, bytes_max: int) -> bytes:
        assert count >= 0, "a parser that reads all there is would read the pixels"
        left = max(0, self._size - self._at)
        if count > min(bytes_max, max(left, LONG_BYTES)):  # a parser finds the end by asking for a little more
            raise HeaderTooLarge
        data = source.read(count)
        self._at += len(data)
        self.meter.pay_read(data)
        return data


class _Inflated:
    """What a deflated data set inflates to (PS3.5 A.5), as far as somebody has read."""

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._file, self._meter = file, meter
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._all, self._at = bytearray(), 0

    def seek(self, to: int, /) -> int:
        self._at = to
        return to

    def read(self, count: int, /) -> bytes:
        """Raises HeaderTooLarge, OSError and zlib.error."""
        end = self._at + count
        while len(self._all) < end and self._inflate():
            pass
        with memoryview(self._all) as view:
            data = bytes(view[self._at : end])
        self._at += len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def _inflate(self) -> bool:
        """Inflate a little more; False at the end."""
        packed = self._inflater.unconsumed_tail or self._file.read(PIECE_BYTES)
        if self._inflater.eof or not packed:
            return False
        piece = self._inflater.decompress(packed, PIECE_BYTES)
        self._meter.pay(len(piece))
        self._all += piece
        return True
