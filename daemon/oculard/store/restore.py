"""The way back: a backup is verified, becomes the database, and vault and database are brought together again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, delete, inspect, select

from oculard.clock import Clock
from oculard.errors import Misconfigured, Permanent
from oculard.store import tables
from oculard.store.copying import Tell, put_back
from oculard.store.database import Database
from oculard.store.digests import digest_of
from oculard.store.identity import Identity
from oculard.store.manifest import DAMAGED, FILES, BackupDamaged, Entry, Manifest, Part, read_index, read_manifest
from oculard.store.orphans import Orphans
from oculard.store.roles import Roles
from oculard.store.vault import PARTS, RESTORING, Vault, not_written, sync_file, sync_folder

FULL = ("study", "instance", "job", "report", "caller", "event")  # a row in one of them is somebody's work


class NotEmpty(Permanent):
    """There is a database with rows where the backup would go."""

    reason = "database-not-empty"
    hint = "stop the daemon and move it away (with its -wal and -shm), or name an empty one: nothing is overwritten"


class DaemonAlive(Permanent):
    """A daemon uses the database."""

    reason = "daemon-alive"
    hint = "stop it first: `systemctl stop oculard`"


@dataclass(slots=True, kw_only=True)
class Put:
    """What became of the vault's files."""

    there: int = 0
    copied: int = 0
    missing: list[str] = field(default_factory=list)  # neither in the vault nor in the backup


@dataclass(slots=True, kw_only=True)
class Again:
    """What came after the backup, and was taken into custody again."""

    taken: int = 0
    aside: int = 0


class Restore:
    """Restores one backup."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, folder: Path) -> None:
        self._database, self._vault, self._clock, self._folder = database, vault, clock, folder
        self._identity = Identity(database, vault)

    def verify(self, tell: Tell) -> tuple[Manifest, list[str]]:
        """See that the backup is what was written; gives its manifest and the vault's files that are not.

        Raises BackupDamaged when database or index are not whole.
        """
        manifest = read_manifest(self._folder)
        for part in (manifest.database, manifest.index):
            if not _is_whole(self._folder / part.name, part):
                raise BackupDamaged(f"{part.name} is not what was written")
        entries, damaged, absent = read_index(self._folder / manifest.index.name), [], []
        for number, entry in enumerate(entries, start=1):
            path = self._folder / FILES / entry.path
            if manifest.has_files and not path.exists():
                absent.append(entry.path)
            elif manifest.has_files and not _has_digest(path, entry):
                damaged.append(entry.path)
            tell("verifying", number, manifest.files)
        return manifest, damaged + (absent if len(absent) > manifest.missing else [])  # the backup says so of some

    def set_aside(self, damaged: Collection[str]) -> None:
        """Let the next backup bring anew what is damaged; it lies beside until then. Raises BackupDamaged."""
        for path in damaged:
            copy = self._folder / FILES / path
            try:
                os.replace(copy, copy.with_name(f"{copy.name}{DAMAGED}"))
            except FileNotFoundError:
                pass  # it is not there at all: the next backup brings it
            except OSError as why:
                hint = "delete them in the backup: the next `oculard backup --files` brings them anew"
                raise BackupDamaged(f"damaged files cannot be set aside: {why.strerror}", hint=hint) from why

    def check_place(self, manifest: Manifest, *, is_dead: Callable[[str], bool]) -> bool:
        """See that the database may become the backup's; whether it is so already, of a restore that broke off.

        Raises NotEmpty, DaemonAlive, NotOurVault or Misconfigured.
        """
        if (manifest.kind == "sqlite") != self._database.is_sqlite:
            raise Misconfigured(f"it is a backup of {manifest.kind}", hint="[store] database_url names another kind")
        if not self._database.knows(manifest.revision):
            raise Misconfigured(
                f"the backup has revision {manifest.revision}, which this program does not know",
                hint=f"restore it with oculard {manifest.version} or newer",
            )
        self._identity.check_restore(manifest.vault_id)
        file = self._database.file
        if file is not None and not file.exists():
            if file.with_name(f"{file.name}-wal").exists():
                raise NotEmpty(f"{file} is gone, and its -wal is still there")
            return False
        try:
            with self._database.read() as connection:
                full, has_roles = _full(connection)
        except Misconfigured as why:  # it is there, and it is no database
            raise NotEmpty(str(why)) from why
        roles = Roles(self._database, self._clock)
        if has_roles and any(roles.is_alive(role) and not is_dead(role.name) for role in roles.list()):
            raise DaemonAlive("a daemon is running on this database")
        if full and not self._has_begun(manifest):
            raise NotEmpty("there is a database with rows already")
        return full

    def put_database(self, manifest: Manifest) -> tuple[str | None, str]:
        """Let the copy be the database, and upgrade it; gives the old revision and the new."""
        self._begin(manifest)
        put_back(self._folder / manifest.database.name, self._database)
        return self.go_on()

    def go_on(self) -> tuple[str | None, str]:
        """Upgrade the database that is there, and let the vault be its own; gives the old revision and the new."""
        revisions = self._database.upgrade()
        self._identity.accept()
        with self._database.write() as connection:
            connection.execute(delete(tables.role))  # processes of that time
        return revisions

    def put_files(self, manifest: Manifest, damaged: Collection[str], tell: Tell) -> Put:
        """Bring back what the vault has lost and the backup has. Raises DiskFull or VaultUnwritable."""
        put, bad = Put(), set(damaged)
        for number, entry in enumerate(read_index(self._folder / manifest.index.name), start=1):
            source = self._folder / FILES / entry.path
            if self._vault.has(entry.path, entry.size_bytes):
                put.there += 1
            elif manifest.has_files and entry.path not in bad and self._copy(source, entry):
                put.copied += 1
            else:
                put.missing.append(entry.path)
            tell("files", number, manifest.files)
        return put

    def take_again(self, take: Callable[[Path], object], tell: Tell) -> Again:
        """Take into custody what came after the backup: it was acknowledged, and no row knows it now."""
        orphans, again = Orphans(self._database, self._vault), Again()
        for part in range(PARTS):
            for stray in orphans.strays("instances", part):
                if stray.study_id is None:
                    taken = orphans.recover(stray, take)
                    again.taken, again.aside = again.taken + taken, again.aside + (not taken)
            tell("looking for later images", part + 1, PARTS)
        (self._vault.folder / RESTORING).unlink(missing_ok=True)
        return again

    def _begin(self, manifest: Manifest) -> None:
        """Note which backup it is whose rows will be in the database: it may go on then, where it breaks off."""
        note = self._vault.folder / RESTORING
        try:
            note.write_text(manifest.database.sha256, encoding="ascii")
            sync_file(note)
            sync_folder(self._vault.folder)
        except OSError as why:
            raise not_written("cannot write into the vault", why) from why

    def _has_begun(self, manifest: Manifest) -> bool:
        try:
            return (self._vault.folder / RESTORING).read_bytes() == manifest.database.sha256.encode()
        except OSError:
            return False

    def _copy(self, source: Path, entry: Entry) -> bool:
        """Copy one file into the vault by its spool; False when the backup has none of that size."""
        spooled = self._vault.spool / f"{entry.sha256}.restore"
        try:
            shutil.copyfile(source, spooled)
        except FileNotFoundError:
            return False
        except OSError as why:
            raise not_written("cannot copy a file into the vault", why) from why
        if spooled.stat().st_size != entry.size_bytes:
            spooled.unlink()
            return False
        spooled.chmod(0o600)
        kept = self._vault.put(spooled, entry.room, entry.sha256)
        assert kept == entry.path, "a file's place is its digest's"
        return True


def _full(connection: Connection) -> tuple[bool, bool]:
    """Whether somebody's work is in the database, and whether it knows processes."""
    there = set(inspect(connection).get_table_names())
    found = [name for name in FULL if name in there]
    rows = (connection.execute(select(tables.metadata.tables[name].c.id).limit(1)).first() for name in found)
    return any(row is not None for row in rows), "role" in there


def _is_whole(path: Path, part: Part) -> bool:
    try:
        return path.stat().st_size == part.size_bytes and digest_of(path, "backup") == part.sha256
    except OSError:
        return False


def _has_digest(path: Path, entry: Entry) -> bool:
    try:
        return path.stat().st_size == entry.size_bytes and digest_of(path, entry.room) == entry.sha256
    except OSError:
        return False
