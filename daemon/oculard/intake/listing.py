"""The files below a watched folder, one after the other: no link is followed, and nothing is held in memory."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from oculard.intake.folder import StillGrowing, open_regular
from oculard.store.watched import Stamp

DEPTH_MAX = 32
NAME_BYTES_MAX = 1000  # PostgreSQL's index holds no key much longer than twice that
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")  # names that copying programs use
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
INT64 = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One regular file, as a look found it."""

    below: Path  # the folder
    stamp: Stamp

    @property
    def name(self) -> str:
        """Its path as the database keeps it."""
        return safe_name(self.below)


@dataclass(slots=True)
class Listing:
    """One look through a folder."""

    root: Path
    unreadable: int = field(default=0, init=False)  # subfolders that could not be looked into

    def entries(self) -> Iterator[Entry | None]:
        """Its files; None for whatever is passed over, so that a caller's batches stay short. Raises OSError for the
        folder itself only: a subfolder that cannot be looked into is counted."""
        yield from self._below(os.open(self.root, FOLDER), Path(), DEPTH_MAX)

    def _below(self, handle: int, below: Path, depth: int) -> Iterator[Entry | None]:
        try:
            with os.scandir(handle) as found:
                for one in found:
                    if one.name.startswith(".") or one.name.lower().endswith(UNFINISHED):
                        yield None
                    else:
                        yield from self._one(handle, below / one.name, one, depth)
        finally:
            os.close(handle)

    def _one(self, handle: int, below: Path, one: os.DirEntry[str], depth: int) -> Iterator[Entry | None]:
        try:
            status = one.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and depth > 1:
                yield None
                yield from self._below(os.open(one.name, FOLDER | os.O_NOFOLLOW, dir_fd=handle), below, depth - 1)
            else:
                yield Entry(below=below, stamp=stamp_of(status)) if stat.S_ISREG(status.st_mode) else None
        except FileNotFoundError:
            yield None  # it was there a moment ago
        except OSError:
            self.root.stat()  # if all of it is away, this says so
            self.unreadable += 1


@contextmanager
def open_parent(root: Path, below: Path) -> Iterator[int]:
    """Open the folder of a file, step by step from the root: a link that took a folder's place is not followed."""
    handle = os.open(root, FOLDER)
    try:
        for part in below.parent.parts:
            parent, handle = handle, os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(parent)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def open_entry(root: Path, entry: Entry) -> Iterator[BinaryIO]:
    """Open a file that is still as the look found it. Raises StillGrowing, NotImportable or OSError."""
    with open_parent(root, entry.below) as parent, open_regular(entry.below.name, folder=parent) as file:
        if stamp_of(os.fstat(file.fileno())) != entry.stamp:
            raise StillGrowing("it changed since it was looked at")
        yield file


def stamp_of(status: os.stat_result) -> Stamp:
    """By what a file is known not to have changed. A time beyond the database's numbers is wrapped into them."""
    mtime_ns = (status.st_mtime_ns + INT64 // 2) % INT64 - INT64 // 2
    return Stamp(size_bytes=status.st_size, mtime_ns=mtime_ns)


def safe_name(below: Path) -> str:
    """A path as printable text that every database can keep, another for every path: escaped, and cut if it is long."""
    text = "".join(
        one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode("ascii") for one in str(below)
    )
    if len(text.encode()) <= NAME_BYTES_MAX:
        return text
    return f"{text[:100]}…{hashlib.sha256(os.fsencode(below)).hexdigest()}"
