"""The vault: files on disk. A file is here, whole and synced, before anyone is told so; none is ever changed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

from oculard.errors import Transient

DIGEST = re.compile(r"^[0-9a-f]{64}$")
GIB = 1 << 30
ORPHANS = "orphans"  # the folder of files that are nobody's and no instance
RESTORING = "restoring"  # while a backup comes back: the digest of its database
PARTS = 256  # folders of a room, by the first two digits of the digest
REPORTS_GIB = 0.05  # room for some thousand reports
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # what file systems without hard links say


class VaultTrouble(Transient):
    """The vault's disk does not do what it must."""


class DiskFull(VaultTrouble):
    """There is no room left above the mark, or none at all."""

    reason = "disk-full"
    hint = "make room on the vault's disk"


class VaultAway(VaultTrouble):
    """The vault's folder is not there: its disk or its mount is away."""

    reason = "vault-away"
    hint = "is the disk mounted? [store] folder"


class VaultUnreadable(VaultTrouble):
    """A kept file could not be read now."""

    reason = "vault-unreadable"
    hint = "look at the vault's disk: is it mounted, may the daemon's user read [store] folder?"


class VaultUnwritable(VaultTrouble):
    """A file could not be written now, though there is room."""

    reason = "vault-unwritable"
    hint = "look at the vault's disk: is it mounted for writing, may the daemon's user write to [store] folder?"


class Vault:
    """Spool, instances and reports below one folder, on one file system, so that a rename is atomic."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._root = folder, folder.resolve()
        self.spool = folder / "spool"
        self._synced: set[Path] = set()  # folders whose own entries are on disk

    def prepare(self) -> None:
        """Make the folders. Only the daemon's own user may look inside."""
        for folder in (self.folder, self.spool, self.folder / "instances", self.folder / "reports"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(self.folder)

    def make_parts(self, room: str) -> None:
        """Make every folder of a room, so that no file waits for one. Raises OSError."""
        parts = [self.folder / room / f"{number:02x}" for number in range(PARTS)]
        for part in parts:
            part.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self.folder / room)
        self._synced.update(parts)

    def free_gib(self) -> float:
        """Free space of the vault's file system."""
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize / GIB

    def check(self) -> None:
        """See that there is a vault to read from and room to write a report, before work is begun that needs both.

        Raises VaultAway, VaultUnwritable or DiskFull: the work then waits, and no job is charged with an attempt.
        """
        if not self.spool.is_dir():
            raise VaultAway(f"{self.spool} is not there")
        if not os.access(self.spool, os.W_OK):
            raise VaultUnwritable(f"{self.spool} cannot be written to")
        if self.free_gib() < REPORTS_GIB:
            raise DiskFull("there is no room to write reports")

    @staticmethod
    def place(room: str, sha256: str) -> str:
        """Where a file of a room lies, below the vault."""
        assert DIGEST.match(sha256), "a file is named by its digest, never by what a peer sent"
        return f"{room}/{sha256[:2]}/{sha256}.dcm"

    def keep(self, spooled: Path, sha256: str, handle: int | None = None) -> str:
        """Give a spooled file, which may still be open, its place, named by its digest; gives its path in the vault.

        The file is synced when this returns, and the name after `sync_name`; nobody may be told of it before. The
        spooled name may stay, and be deleted then. Raises DiskFull or VaultUnwritable.
        """
        return self._place(spooled, "instances", sha256, handle)

    def sync_name(self, kept: str) -> None:
        """Sync every folder that leads to a file. Raises DiskFull or VaultUnwritable."""
        part = (self.folder / kept).parent
        is_known = part in self._synced
        try:
            sync_folder(part)
            if not is_known:  # whoever made it may not have come to this yet
                sync_folder(part.parent)
                self._synced.add(part)
        except OSError as why:
            self._synced.discard(part)
            raise not_written("cannot keep a file", why) from why

    def write_report(self, data: bytes) -> tuple[str, str]:
        """Write a report's bytes durably; gives its path below the vault and its digest.

        Raises DiskFull or VaultUnwritable.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        spooled = self.spool / f"{uuid.uuid4().hex}.report"
        try:
            write_new(spooled, data)
        except OSError as why:
            with contextlib.suppress(OSError):  # a disk that went read-only: the sweep deletes what stays
                spooled.unlink(missing_ok=True)
            raise not_written("cannot write a report", why) from why
        return self.put(spooled, "reports", sha256), sha256

    def put(self, spooled: Path, room: str, sha256: str) -> str:
        """Move a spooled file to its place in a room, for good. Raises DiskFull or VaultUnwritable."""
        kept = self._place(spooled, room, sha256)
        self.sync_name(kept)
        with contextlib.suppress(OSError):  # a disk that went read-only: the sweep deletes what stays
            spooled.unlink(missing_ok=True)
        return kept

    def has(self, kept: str, size_bytes: int) -> bool:
        """Whether a kept file is there with its size."""
        try:
            return self.path(kept).stat().st_size == size_bytes
        except OSError:
            return False

    def path(self, kept: str) -> Path:
        """The absolute path of a kept file."""
        assert not {"", ".."} & set(kept.split("/")), "a kept path never leaves the vault"
        return self._root / kept

    def delete(self, kept: str) -> bool:
        """Delete a kept file; False when it was gone already. Raises VaultUnwritable."""
        try:
            self.path(kept).unlink()
        except FileNotFoundError:
            return False
        except OSError as why:
            raise VaultUnwritable(f"cannot delete a file: {why.strerror}") from why
        return True

    def walk(self, room: str, part: int) -> Iterator[str]:
        """The kept files of one of the 256 parts of a room, as paths below the vault; no link is followed."""
        for file in _entries(self.folder / room / f"{part:02x}"):
            if file.is_file(follow_symlinks=False):
                yield f"{room}/{part:02x}/{file.name}"

    def set_aside(self, kept: str) -> None:
        """Move a file to `orphans/`, where a person may look at it. Raises VaultUnwritable."""
        path, aside = self.path(kept), self.folder / ORPHANS
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            to = aside / path.name
            os.replace(path, to if not to.exists() else aside / f"{uuid.uuid4().hex}-{path.name}")
            for folder in (aside, self.folder, path.parent):
                sync_folder(folder)
        except OSError as why:
            raise VaultUnwritable(f"cannot set a file aside: {why.strerror}") from why

    def count_aside(self) -> int:
        """How many files lie in `orphans/`."""
        return sum(1 for _ in _entries(self.folder / ORPHANS))

    def sweep_spool(self, *, older_than_s: float) -> int:
        """Delete what a dropped association or a killed process left in the spool; what is kept has another name."""
        swept = 0
        for path in self.spool.iterdir():
            try:
                status = path.lstat()
                if not S_ISDIR(status.st_mode) and time.time() - status.st_mtime >= older_than_s:
                    path.unlink()
                    swept += 1
            except FileNotFoundError:
                continue  # its own association finished with it meanwhile
        return swept

    def _place(self, spooled: Path, room: str, sha256: str, handle: int | None = None) -> str:
        """Give a spooled file its name in a room, then sync it: a file system with a journal writes both at once.

        Nobody knows the name yet. A file that lies there already may be known, so only bytes that are on disk take its
        place.
        """
        kept = self.place(room, sha256)
        path = self.folder / kept
        part = path.parent
        try:
            if part not in self._synced:
                part.mkdir(mode=0o700, exist_ok=True)
            is_named = self._is_named(spooled, path)
            sync_file(spooled, handle)
            if not is_named:
                os.replace(spooled, path)
        except OSError as why:
            self._synced.discard(part)
            raise not_written("cannot keep a file", why) from why
        return kept

    @staticmethod
    def _is_named(spooled: Path, path: Path) -> bool:
        """Give a file a second name; False where a file lies there, or where the file system cannot do that."""
        try:
            os.link(spooled, path)
        except FileExistsError:
            return False
        except OSError as why:
            if why.errno in NO_LINKS:
                return False
            raise
        return True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder; nothing where there is none."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as why:
        raise VaultUnreadable(f"a folder cannot be read: {why.strerror}") from why


def not_written(what: str, why: OSError) -> DiskFull | VaultUnwritable:
    """What a refused write means: only a disk without room is full."""
    return (DiskFull if why.errno in NO_ROOM else VaultUnwritable)(f"{what}: {why.strerror}")


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there, and that only the daemon's own user may read. Raises OSError."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)


def sync_file(path: Path, handle: int | None = None) -> None:
    """Wait until the bytes of a file, which may be open, are on disk."""
    if handle is not None:
        os.fsync(handle)
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Wait until the folder's entries are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
