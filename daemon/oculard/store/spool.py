"""The spool: a data set on its way to disk, digested and counted as it passes, deleted unless custody is taken."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from oculard.errors import OculardError, Permanent
from oculard.settings import Store
from oculard.store.vault import GIB, DiskFull, Vault, VaultTrouble, not_written

PREAMBLE = b"\0" * 128 + b"DICM"  # PS3.10 7.1
SPOOLING = "cannot spool a data set"
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
        self._digest = hashlib.sha256()
        self._failure: OculardError | None = None
        self._handle = -1
        self._lock = threading.Lock()  # a dying association discards what its network thread may be writing
        try:
            check_room()
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
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
                self._write_all(data)
            except (VaultTrouble, TooLarge) as why:
                self.fail(why)
            except OSError as why:
                self.fail(not_written(SPOOLING, why))
            else:
                self._digest.update(data)

    def fail(self, why: OculardError) -> None:
        """Remember why this data set cannot be taken, and free its space at once."""
        self._failure = self._failure or why
        self._delete()

    def finish(self) -> str:
        """End the writing; gives the sha256 of the data set. Raises what went wrong on the way."""
        with self._lock:
            self._close()
        if self._failure is not None:
            raise self._failure
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Delete the file unless custody was taken. Safe at any time, any number of times."""
        with self._lock:
            self._delete()

    @property
    def file(self) -> Spool:
        """pynetdicom flushes the `file` of what it writes a data set to."""
        return self

    def flush(self) -> None:
        """Nothing is buffered; the vault syncs the file before custody is taken."""

    def _write_all(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            os.close(handle)
        except OSError as why:  # a network file system may say only now that it is full
            self._failure = self._failure or not_written(SPOOLING, why)

    def _delete(self) -> None:
        self._close()
        with contextlib.suppress(OSError):  # a disk that went read-only: the sweep deletes what stays
            self.path.unlink(missing_ok=True)


class Spooler:
    """Opens spools in the vault while its disk has room."""

    def __init__(self, vault: Vault, settings: Store) -> None:
        self._vault, self._settings = vault, settings

    def open(self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Spool:
        """A spool for a data set, whose file begins with our own file meta information."""
        meta, buffer = FileMetaDataset(), DicomBytesIO()
        meta.MediaStorageSOPClassUID = UID(sop_class_uid)
        meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
        meta.TransferSyntaxUID = UID(transfer_syntax_uid)
        meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
        write_file_meta_info(buffer, meta)
        return self._open(PREAMBLE + buffer.getvalue())

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
