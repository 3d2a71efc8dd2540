"""Bulk: a large data set on its way to disk in blocks, past the page cache, digested by a thread of its own.

Receiving, digesting and writing to the disk overlap, and the kernel neither copies the bytes nor keeps them: a volume
is written once and read minutes or hours later. A file system that has no direct input and output (O_DIRECT) gets
the same blocks in the ordinary way.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import threading
from queue import SimpleQueue
from typing import ClassVar, NamedTuple
from weakref import WeakSet

BLOCK_BYTES = 512 << 10  # of the first few; where many come at once, the disk has enough to do with smaller ones
FEW, LEAST_BYTES = 4, 128 << 10
BLOCKS = 2  # one is filled and written while the other is digested


class Filled(NamedTuple):
    """A block, and which part of it holds the next bytes of the file."""

    block: memoryview
    start: int
    end: int


class Bulk:
    """The rest of a file, from its end on. Used by one thread; only `end` may be called by another."""

    _all: ClassVar[WeakSet[Bulk]] = WeakSet()

    def __init__(self, handle: int, digest: hashlib._Hash, at: int) -> None:
        self._failure: OSError | None = None
        self._handle, self._digest, self._is_direct, self._may_be_direct = handle, digest, False, True
        self._block_bytes = max(LEAST_BYTES, BLOCK_BYTES >> len(self._all) // FEW)
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._filled: SimpleQueue[Filled | None] = SimpleQueue()
        for _ in range(BLOCKS):
            pages = mmap.mmap(-1, self._block_bytes)  # where they begin, direct writing may begin
            self._free.put(memoryview(pages))
        self._block = self._free.get()
        self._start = self._end = at % self._block_bytes  # so that all further blocks begin at whole ones in the file
        self._thread = threading.Thread(target=self._take_digest, name="spool-digest", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as why:  # the system gives no more of them
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from why
        self._all.add(self)

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes. Raises OSError."""
        rest = memoryview(data)
        while rest:
            count = min(len(rest), self._block_bytes - self._end)
            self._block[self._end : self._end + count] = rest[:count]
            self._end += count
            rest = rest[count:]
            if self._end == self._block_bytes:
                self._put()
                self._set_direct(True)
                self._block, self._start, self._end = self._free.get(), 0, 0

    def finish(self) -> None:
        """Write what is left, once, and wait until all is digested. Raises OSError."""
        self._set_direct(False)  # the end of a file is no whole block
        self._put()
        self._start = self._end
        self.end()
        if self._failure is not None:
            raise self._failure  # a digest that is not of all bytes would be the name of another file

    def end(self) -> None:
        """Nothing more will come."""
        self._all.discard(self)
        self._filled.put(None)
        self._thread.join()

    def _put(self) -> None:
        """Write what the block holds, while its digest is taken."""
        self._filled.put(Filled(self._block, self._start, self._end))
        rest = self._block[self._start : self._end]
        while rest:
            try:
                rest = rest[self._write(rest) :]
            except OSError as why:
                if why.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._have_none()  # or it wrote a part that is no whole sector, as a nearly full one does

    def _write(self, data: memoryview) -> int:
        """Write a part of it, and more than nothing, which FUSE may answer to a direct write. Raises OSError."""
        count = os.write(self._handle, data)
        if not count:
            raise OSError(errno.EINVAL, "nothing was written")
        return count

    def _set_direct(self, wanted: bool) -> None:
        if wanted == self._is_direct or not self._may_be_direct:
            return
        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
        except OSError as why:
            if why.errno != errno.EINVAL or not wanted:
                raise
            self._have_none()
        else:
            self._is_direct = wanted

    def _have_none(self) -> None:
        """Go on in the ordinary way."""
        self._set_direct(False)
        self._may_be_direct = False

    def _take_digest(self) -> None:
        while (filled := self._filled.get()) is not None:
            try:
                self._digest.update(filled.block[filled.start : filled.end])
            except Exception as why:  # noqa: BLE001  whatever it was, who fills the blocks must not wait for ever
                self._failure = OSError(errno.EIO, f"no digest was taken: {type(why).__name__}")
            self._free.put(filled.block)
