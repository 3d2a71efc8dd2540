"""Log files: one a role, put aside when it has its size; two processes of one role may write and rotate at once.

A line is one write at the file's end. Who finds the file too large renames it under a lock; who still has the renamed
file open finds another one under its name, and opens that. What cannot be written to the file goes to stderr.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

MIB = 1 << 20
FILE_MODE, FOLDER_MODE = 0o640, 0o750  # events hold UIDs and addresses


class LogFile:
    """A stream into `<role>.log`. Its errors are the file system's; whoever writes must bear them."""

    def __init__(self, folder: Path, role: str, *, bytes_max: int, files: int, otherwise: TextIO = sys.stderr) -> None:
        self._path, self._bytes_max, self._files = folder / f"{role}.log", bytes_max, files
        self._otherwise = otherwise
        self._handle = -1
        self._is_torn = False  # the last line was cut by a full disk
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write whole lines at the end; to stderr where the file cannot be written."""
        data = text.encode("utf-8", errors="replace")
        with self._lock:
            try:
                self._make_room(len(data))
                self._append(b"\n" + data if self._is_torn else data)
            except OSError:
                self._close()
                self._otherwise.write(text)

    def flush(self) -> None:
        """Nothing is buffered here."""
        self._otherwise.flush()

    def isatty(self) -> bool:
        """No terminal: no colours."""
        return False

    def _append(self, data: bytes) -> None:
        written = os.write(self._handle, data)
        while written < len(data):
            self._is_torn = True
            written += os.write(self._handle, data[written:])
        self._is_torn = False

    def _make_room(self, size: int) -> None:
        """See that the handle is of the file that has the name now, and that it has room."""
        if not self._is_current():
            self._open()
        if self._is_full(size):
            with self._rotation():
                if not self._is_current():  # another process was first
                    self._open()
                if self._is_full(size):
                    self._put_aside()
                    self._open()

    def _is_current(self) -> bool:
        if self._handle < 0:
            return False
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._handle), named)

    def _is_full(self, size: int) -> bool:
        held = os.fstat(self._handle).st_size
        return held > 0 and held + size > self._bytes_max

    def _open(self) -> None:
        self._close()
        self._path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(self._path, flags, FILE_MODE)

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _rotation(self) -> _Locked:
        return _Locked(self._path.with_suffix(".lock"))

    def _put_aside(self) -> None:
        """`x.log` becomes `x.log.1`, that becomes `x.log.2`, and so on; the oldest go."""
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            digits = path.suffix.removeprefix(".")
            if digits.isdecimal() and int(digits) > self._files:
                path.unlink(missing_ok=True)
        for number in range(self._files, 1, -1):
            older, newer = self._aside(number), self._aside(number - 1)
            if newer.exists():
                os.replace(newer, older)
        os.replace(self._path, self._aside(1))

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class _Locked:
    """One process at a time, for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path, -1

    def __enter__(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(self._path, flags, FILE_MODE)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        except OSError:
            os.close(self._handle)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)  # and the lock with it
