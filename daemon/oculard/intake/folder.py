"""The import of a folder: the same way into custody as a C-STORE, file by file; the originals stay as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from oculard import log
from oculard.decoders import Limits
from oculard.dimse import UNREADABLE
from oculard.errors import Rejected, Transient
from oculard.imaging.facts import Facts
from oculard.intake.contexts import TRANSFER_SYNTAXES, is_storage
from oculard.intake.custody import Custody, Offer, facts_of
from oculard.intake.header import VRS
from oculard.intake.policy import Call
from oculard.intake.topcon import converted
from oculard.store.spool import PREAMBLE, Spool, Spooler, TooLarge
from oculard.store.vault import GIB
from oculard_models.importers.topcon_file import is_topcon

META_BYTES_MAX = 1 << 20
COPY_BYTES = 1 << 20
AE_MAX = 16  # PS3.5 6.2
GROUPS_MAX = 0x0028  # the first element of a data set stands in an early group
logger = log.get("import")


class NotImportable(Rejected):
    """A file that holds no instance we could keep."""

    reason = "not-dicom"


class StillGrowing(Rejected):
    """A file that changed while it was read: nothing of it was kept."""

    reason = "still-growing"
    hint = "somebody writes to it: take it when it is finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one file: `received`, `duplicate`, `differing-duplicate` or `refused`, and why."""

    path: Path
    outcome: str
    reason: str = ""
    hint: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where a file's data set begins, and how it is encoded."""

    begins_at: int
    transfer_syntax_uid: str


class FolderImport:
    """Imports files and folders."""

    def __init__(
        self,
        custody: Custody,
        spooler: Spooler,
        *,
        called_ae: str,
        instance_max_gib: float,
        decoding: Limits,
        sender: str,
    ) -> None:
        self._custody, self._spooler, self._called_ae, self._sender = custody, spooler, called_ae, sender
        self._bytes_max, self._decoding = int(instance_max_gib * GIB), decoding

    def run(self, root: Path) -> Iterator[Imported]:
        """Import everything below a folder, or one file, in the order of names; one result a file.

        Raises VaultTrouble or DatabaseDown, for then no further file could be taken either.
        """
        for path in find_files(root):
            for outcome in self._outcomes(path):
                logger.info("file imported", outcome=outcome.outcome, reason=outcome.reason)
                yield outcome

    def _outcomes(self, path: Path) -> Iterator[Imported]:
        """What became of one file: one instance of a DICOM file, several of one of Topcon's own."""
        try:
            if is_topcon(path):
                yield from self._take_topcon(path)
            else:
                yield self.take(path)
        except Transient:
            raise
        except (Rejected, TooLarge) as why:
            yield Imported(path=path, outcome="refused", reason=why.reason, hint=why.hint)
        except OSError as why:
            yield Imported(path=path, outcome="refused", reason="unreadable", hint=why.strerror or "")

    def _take_topcon(self, path: Path) -> Iterator[Imported]:
        """Take custody of what one of Topcon's own files holds: the volume, its photograph, its layers."""
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > self._bytes_max:
                raise TooLarge(f"the file is larger than {self._bytes_max} bytes")
            for made in converted(file, self._spooler.folder, self._decoding):
                yield self.take_open(made, path)

    def take(self, path: Path) -> Imported:
        """Take custody of one file. Raises Rejected, TooLarge, OSError, VaultTrouble or DatabaseDown."""
        with open_regular(path) as file:
            return self.take_open(file, path)

    def take_open(self, file: BinaryIO, path: Path) -> Imported:
        """Take custody of a file that is open, at its beginning. Raises what `take` raises."""
        before = os.fstat(file.fileno())
        if before.st_size > self._bytes_max + META_BYTES_MAX:
            raise TooLarge(f"the file is larger than {self._bytes_max} bytes")  # before anything of it is read
        layout = read_layout(file)
        data_bytes = before.st_size - layout.begins_at
        file.seek(layout.begins_at)
        facts = facts_of(file, data_bytes, layout.transfer_syntax_uid, inflated_bytes_max=self._bytes_max)
        if not is_storage(facts.sop_class_uid):
            raise NotImportable("not a storage class", reason="not-storage")
        offer = self._offer(facts, layout)
        try:
            copy_part(file, layout.begins_at, before.st_size, offer.spool)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise StillGrowing("it changed while it was read")
            received = self._custody.take(offer)
        finally:
            offer.spool.discard()
        return Imported(
            path=path,
            outcome=received.value,
            sop_instance_uid=facts.sop_instance_uid,
            sop_class_uid=facts.sop_class_uid,
        )

    def _offer(self, facts: Facts, layout: _Layout) -> Offer:
        """An empty spool for an instance, as a sender would offer it."""
        names = {
            "sop_class_uid": facts.sop_class_uid,
            "sop_instance_uid": facts.sop_instance_uid,
            "transfer_syntax_uid": layout.transfer_syntax_uid,
        }
        call = Call(called_ae=self._called_ae, calling_ae=self._sender[:AE_MAX], address="")
        return Offer(spool=self._spooler.open(**names), call=call, sender=self._sender, association="", **names)


def copy_part(file: BinaryIO, start: int, end: int, spool: Spool) -> None:
    """Spool a part of a file: as much of it as there was, even if it grows."""
    file.seek(start)
    while start < end and (part := file.read(min(COPY_BYTES, end - start))):
        spool.write(part)
        start += len(part)


def find_files(root: Path) -> Iterator[Path]:
    """The regular files of a folder and its subfolders by name, or the one file. No link is ever followed."""
    if not root.is_dir():
        yield root
        return
    for folder, subfolders, names in os.walk(root, followlinks=False):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path


def read_layout(file: BinaryIO) -> _Layout:
    """Where the data set begins: after preamble and file meta information, or at once. Raises NotImportable."""
    head = file.read(META_BYTES_MAX)
    meta_at = len(PREAMBLE) if head[128:132] == PREAMBLE[128:] else 0
    begins_at, syntax = meta_at, ""
    if head[meta_at : meta_at + 2] == b"\x02\0":
        begins_at, syntax = _read_meta(head, meta_at)
    syntax = syntax or _guess_syntax(head[begins_at : begins_at + 6])
    if syntax not in TRANSFER_SYNTAXES:
        raise NotImportable("its transfer syntax is not one that we keep", reason="transfer-syntax-unknown")
    return _Layout(begins_at=begins_at, transfer_syntax_uid=syntax)


def _read_meta(head: bytes, meta_at: int) -> tuple[int, str]:
    """Where the file meta information ends, and the transfer syntax it names. It is always explicit, little endian."""
    source = BytesIO(head[meta_at:])
    try:
        meta = read_dataset(source, False, True, stop_when=_is_after_meta)
        syntax, storage_class = str(meta.get("TransferSyntaxUID") or ""), str(meta.get("MediaStorageSOPClassUID") or "")
    except UNREADABLE as why:
        raise NotImportable("its file meta information is broken", reason="bad-file-meta") from why
    if storage_class and not is_storage(storage_class):
        raise NotImportable("a directory or another file that is no instance", reason="not-storage")
    return meta_at + source.tell(), syntax


def _is_after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001  its signature
    return tag.group != 2


def _guess_syntax(first: bytes) -> str:
    """The transfer syntax of a data set that nothing names: by its first element, as pydicom guesses."""
    if len(first) < 6:
        raise NotImportable("it is empty, or no DICOM")
    little, big = int.from_bytes(first[:2], "little"), int.from_bytes(first[:2], "big")
    explicit = first[4:6] in VRS
    if explicit and 2 < big <= GROUPS_MAX and little > GROUPS_MAX:
        return str(ExplicitVRBigEndian)
    if 2 < little <= GROUPS_MAX:
        return str(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian)
    raise NotImportable("it does not begin as a DICOM data set")


def open_regular(path: str | Path, *, folder: int | None = None) -> BinaryIO:
    """Open a regular file that is no link, by its name in an open folder or by its path."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise NotImportable("not a regular file", reason="not-a-file")
    return file
