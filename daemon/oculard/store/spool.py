"""The spool: a data set on its way to disk, counted and digested; its name there goes, custody gives it another."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import uuid
from collections.abc import Callable
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from oculard.errors import OculardError, Permanent
from oculard.settings import Store
from oculard.store.aside import DigestAside
from oculard.store.bulk import Bulk
from oculard.store.vault import GIB, DiskFull, Vault, VaultTrouble, not_written

PREAMBLE = b"\0" * 128 + b"DICM"  # PS3.10 7.1
SPOOLING = "cannot spool a data set"
SMALL_BYTES = 64 << 10  # up to there the digest is taken as it comes, from there on aside,
STEP_BYTES = 512 << 10  # in steps of so many
LARGE_BYTES = 4 << 20  # from here on it goes to the disk in blocks, and a thread of its own takes the digest
READ_BUFFER_BYTES = 64 << 10
ROOM_CHECK_BYTES = 16 << 20  # how much may come between two looks at the disk


class TooLarge(Permanent):
    """A data set is larger than the settings allow."""

    reason = "instance-too-large"
    hint = "raise [store] instance_max_gib if the sender is right"


class Spool:
    """One data set that is being received.

    Writing never raises: the first failure is remembered, the file is deleted, and the rest of the data is swallowed,
    so that the sender gets an answer to its request and not an abort.
    """

    def __init__(self, path: Path, head: bytes, *, bytes_max: int, check_room: Callable[[], None]) -> None:
        self.path = path
        self.head_bytes = len(head)
        self.size_bytes = 0  # of the data set alone
        self._bytes_max, self._check_room, self._checked_at = bytes_max, check_room, 0
        self._digest = DigestAside(-1, len(head))
        self._bulk: Bulk | None = None  # of a large data set
        self._failure: OculardError | None = None
        self._is_finished, self._handle = False, -1
        self._lock = threading.Lock()  # a dying association discards what its network thread may be writing
        try:
            check_room()
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._digest.handle = self._handle
            self._write_all(head)
        except VaultTrouble as why:
            self.fail(why)
        except OSError as why:
            self.fail(not_written(SPOOLING, why))

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set."""
        with self._lock:
            if self._handle < 0:
                return
            self.size_bytes += len(data)
            try:
                if self.size_bytes > self._bytes_max:
                    raise TooLarge(f"the data set is larger than {self._bytes_max} bytes")
                if self.size_bytes - self._checked_at >= ROOM_CHECK_BYTES:
                    self._checked_at = self.size_bytes
                    self._check_room()
                self._take(data)
            except (VaultTrouble, TooLarge) as why:
                self.fail(why)
            except OSError as why:
                self.fail(not_written(SPOOLING, why))

    def fail(self, why: OculardError) -> None:
        """Remember why this data set cannot be taken, and free its space at once."""
        self._failure = self._failure or why
        self._delete()

    def finish(self) -> None:
        """End the writing. Raises what went wrong on the way.

        The file stays open: a network file system may say only when it is synced by its writer that it is full.
        """
        self._do(self._end)

    def sha256(self) -> str:
        """The digest of the data set, when it is finished. Raises what went wrong."""
        assert self._is_finished, "a digest that is not of all bytes would be the name of another file"
        self._do(self._digest.wait)
        return self._digest.digest.hexdigest()

    @property
    def handle(self) -> int:
        """The open file, until it is discarded."""
        return self._handle

    def read(self) -> BinaryIO:
        """What was spooled, from the data set's first byte on. Raises OSError."""
        file = BufferedReader(FileIO(self._handle, closefd=False), READ_BUFFER_BYTES)
        file.seek(self.head_bytes)
        return file

    def discard(self) -> None:
        """Delete the name, and the file unless custody gave it another. Safe at any time, any number of times."""
        with self._lock:
            self._delete()

    @property
    def file(self) -> Spool:
        """pynetdicom flushes the `file` of what it writes a data set to."""
        return self

    def flush(self) -> None:
        """Nothing is buffered; the vault syncs the file before custody is taken."""

    def _do(self, what: Callable[[], None]) -> None:
        with self._lock:
            try:
                if self._handle < 0:
                    raise OSError(errno.EBADF, "it was discarded")
                what()
            except OSError as why:
                self.fail(not_written(SPOOLING, why))
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        end = self.head_bytes + self.size_bytes
        if self._bulk is not None:
            self._bulk.finish()
        elif end > self._digest.at:
            self._push(end)
        self._is_finished = True

    def _take(self, data: bytes | memoryview) -> None:
        end = self.head_bytes + self.size_bytes
        if self._bulk is None and self.size_bytes >= LARGE_BYTES:
            self._digest.want(end - len(data))
            self._digest.wait()
            self._bulk = Bulk(self._handle, self._digest.digest, end - len(data))
        if self._bulk is not None:
            self._bulk.write(data)
            return
        self._write_all(data)
        if end <= SMALL_BYTES:
            self._digest.update(data)
        elif end - self._digest.at >= STEP_BYTES:
            self._push(end)

    def _push(self, end: int) -> None:
        """Let the disk begin to write what it will have to, and the digest be taken, while more comes."""
        with contextlib.suppress(OSError):  # a file system need not know of it
            os.posix_fadvise(self._handle, self._digest.at, end - self._digest.at, os.POSIX_FADV_DONTNEED)
        self._digest.want(end)

    def _write_all(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            count = os.write(self._handle, rest)
            if not count:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[count:]

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        bulk, self._bulk = self._bulk, None
        with contextlib.suppress(OSError):  # nobody asks for it any more, but it reads from the file
            self._digest.wait()
        if bulk is not None:
            bulk.end()
        if handle < 0:
            return
        with contextlib.suppress(OSError):  # whatever counted was synced before
            os.close(handle)

    def _delete(self) -> None:
        self._close()
        with contextlib.suppress(OSError):  # a disk that went read-only: the sweep deletes what stays
            self.path.unlink(missing_ok=True)


class Spooler:
    """Opens spools in the vault while its disk has room."""

    def __init__(self, vault: Vault, settings: Store) -> None:
        self._vault, self._settings = vault, settings

    @property
    def folder(self) -> Path:
        """Where spools are opened."""
        return self._vault.spool

    def open(self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Spool:
        """A spool for a data set, whose file begins with our own file meta information."""
        return self._open(file_head(sop_class_uid, sop_instance_uid, transfer_syntax_uid))

    def open_file(self) -> Spool:
        """A spool for a whole file, as it comes."""
        return self._open(b"")

    def refuse(self, why: OculardError) -> Spool:
        """A spool that swallows what comes and keeps nothing."""
        spool = self._open(b"")
        spool.fail(why)
        return spool

    def _open(self, head: bytes) -> Spool:
        return Spool(
            self._vault.spool / f"{uuid.uuid4().hex}.dcm",  # a name of ours: nothing that a peer sent names a file
            head,
            bytes_max=int(self._settings.instance_max_gib * GIB),
            check_room=self._check_room,
        )

    def _check_room(self) -> None:
        free_gib = self._vault.free_gib()
        if free_gib < self._settings.disk_free_min_gib:
            raise DiskFull(f"{free_gib:.2f} GiB are free, the mark is {self._settings.disk_free_min_gib} GiB")


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 7.1), as pydicom writes them: a test compares the two."""
    elements = (
        _element(0x0001, b"OB", b"\0\1"),
        _element(0x0002, b"UI", sop_class_uid.encode("ascii")),
        _element(0x0003, b"UI", sop_instance_uid.encode("ascii")),
        _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii")),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    )
    body = b"".join(elements)
    return PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(body))) + body


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """One element of group 2 in Explicit VR Little Endian."""
    value += b"" if len(value) % 2 == 0 else b" " if vr == b"SH" else b"\0"
    if vr == b"OB":
        return struct.pack("<HH2sHL", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value
