"""Digests that are taken aside: a thread reads back what a growing file holds already, while more of it comes.

Reading back costs a copy, and spares the receiving thread the digest: of a photograph's time that was a quarter. One
thread serves all files of the process, in turn: it is faster than a disk that has to sync them. The digest is that of
the file: who reads it later and compares finds what has changed since, not what a disk changed on the way to it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import NamedTuple

READ_BYTES = 512 << 10


class _Part(NamedTuple):
    """A part of a file that is to be digested next."""

    of: DigestAside
    start: int
    end: int


@dataclass(slots=True, eq=False)
class DigestAside:
    """The sha256 of a file's bytes from `at` on. Used by one thread at a time; the file stays open until `wait`."""

    handle: int
    at: int  # up to there it is taken, or wanted
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _wanted: int = 0
    _done: SimpleQueue[OSError | None] = field(default_factory=SimpleQueue)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes here and now; nothing may be wanted aside."""
        self.digest.update(data)
        self.at += len(data)

    def want(self, end: int) -> None:
        """Take the file's bytes up to there aside. Raises OSError where there is no thread to be had."""
        _reader.put(_Part(self, self.at, end))
        self.at, self._wanted = end, self._wanted + 1

    def wait(self) -> None:
        """Wait for what is wanted. Raises OSError; then the digest is that of no file."""
        failures = []
        while self._wanted:
            failures.append(self._done.get())
            self._wanted -= 1
        for why in filter(None, failures):
            raise why

    def serve(self, start: int, end: int, buffer: memoryview) -> None:
        """Take a part: what the thread does. Whatever happens, who waits hears of it."""
        failure = None
        try:
            self._read_back(start, end, buffer)
        except OSError as why:
            failure = why
        except Exception as why:  # noqa: BLE001  the thread is everybody's
            failure = OSError(errno.EIO, f"no digest was taken: {type(why).__name__}")
        self._done.put(failure)

    def _read_back(self, start: int, end: int, buffer: memoryview) -> None:
        while start < end:
            count = os.preadv(self.handle, [buffer[: end - start]], start)
            if not count:
                raise OSError(errno.EIO, "what was spooled is not there")
            self.digest.update(buffer[:count])
            start += count


class _Reader:
    """The thread, once there is something to do, and its work: parts of one file must not overtake each other."""

    def __init__(self) -> None:
        self._parts = SimpleQueue[_Part]()
        self._starting, self._is_started = threading.Lock(), False

    def put(self, part: _Part) -> None:
        """Take a part when all before it are taken. Raises OSError."""
        with self._starting:
            if not self._is_started:
                self._start()
                self._is_started = True
        self._parts.put(part)

    def _start(self) -> None:
        try:
            threading.Thread(target=self._serve_all, name="spool-aside", daemon=True).start()
        except RuntimeError as why:  # the system gives no more of them
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from why

    def _serve_all(self) -> None:
        buffer = memoryview(bytearray(READ_BYTES))
        while True:
            part = self._parts.get()
            part.of.serve(part.start, part.end, buffer)


_reader = _Reader()  # of this process, as the disk is
