"""Digesting: the digest of a large file is taken while it grows, by a thread of its own."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

READ_BYTES = 256 << 10  # each association that sends something large has so much of it in memory once more


class Digesting:
    """Takes the digest of a growing file in a thread of its own, and has the kernel write it out meanwhile.

    Receiving, digesting and writing to the disk overlap: none waits for another but at the end.
    """

    def __init__(self, path: Path, digest: hashlib._Hash, at: int) -> None:
        self._digest, self._at, self._to = digest, at, at
        self._is_ending = False
        self._error: OSError | None = None
        self._news = threading.Condition()
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="spool-digest", daemon=True)
        self._thread.start()

    def go_on_to(self, end: int) -> None:
        """The file has so many bytes now."""
        with self._news:
            self._to = end
            if end - self._at >= READ_BYTES:
                self._news.notify()

    def finish(self) -> None:
        """Wait until the digest is that of the whole file. Raises what reading it raised."""
        self.end()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Nothing more will come."""
        with self._news:
            self._is_ending = True
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        buffer = bytearray(READ_BYTES)
        try:
            with memoryview(buffer) as view:
                while (count := self._next()) > 0:
                    got = os.preadv(self._handle, [view[:count]], self._at)
                    if not got:
                        raise OSError(errno.EIO, "a spooled file is shorter than what was written to it")
                    self._digest.update(view[:got])
                    # Begins to write these pages to the disk and does not wait: the sync at the end is short.
                    os.posix_fadvise(self._handle, self._at, got, os.POSIX_FADV_DONTNEED)
                    self._at += got
        except OSError as why:
            self._error = why
        finally:
            os.close(self._handle)

    def _next(self) -> int:
        """How many bytes to read next; 0 at the end."""
        with self._news:
            while self._to - self._at < READ_BYTES and not self._is_ending:
                self._news.wait()
            return min(self._to - self._at, READ_BYTES)
