"""A backup: a copy of the database of one moment while the daemon runs, and an index of the files that belong to it.

New files have new names, and `manifest.json` names those that count: until it is replaced, the backup before is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection, func, select, union_all

from oculard import __version__
from oculard.clock import Clock
from oculard.errors import Misconfigured, Permanent
from oculard.store import tables
from oculard.store.bringing import Brought, bring, make_folder
from oculard.store.copying import Tell, copied
from oculard.store.database import Database, revision_of
from oculard.store.identity import known_id
from oculard.store.manifest import (
    FILES,
    MANIFEST,
    OURS,
    BackupDamaged,
    Entry,
    Manifest,
    Part,
    read_index,
    read_manifest,
)
from oculard.store.vault import Vault, sync_file, sync_folder

COUNTED = ("study", "instance", "job", "report", "delivery", "event")
ROWS = 1000  # of the index at once
LOCK = ".lock"


class BackupFailed(Permanent):
    """A backup could not be written."""

    reason = "backup-not-written"
    hint = "is there room, and may this user write there? The backup before is as it was"


class Backup:
    """Makes backups in one folder."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, folder: Path) -> None:
        self._database, self._vault, self._clock, self._folder = database, vault, clock, folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Prepare the folder, and hold it against another backup; of one that comes to no end nothing stays.

        Raises Misconfigured or BackupFailed.
        """
        if self._folder.resolve().is_relative_to(self._vault.folder.resolve()):
            raise Misconfigured("a backup does not belong into [store] folder", hint="take another disk, or a share")
        with _written():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that was there keeps its mode
            # A file, and for writing: a folder cannot be locked on every share.
            handle = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if _lock(handle, self._folder):
                with _written():
                    self._clear()  # after one that was killed
            try:
                yield
            except BaseException:
                with suppress(OSError):  # what failed is said, not this
                    self._clear()
                raise
        finally:
            os.close(handle)

    def draft(self, tell: Tell) -> Manifest:
        """Copy the database and list its files. It is no backup until it is published."""
        now, is_sqlite = self._clock.now(), self._database.is_sqlite
        stamp = f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        copy = self._folder / f"database-{stamp}.{'sqlite' if is_sqlite else 'dump'}"
        index = self._folder / f"vault-index-{stamp}.jsonl"
        with _written():
            with copied(self._database, copy, tell) as connection:
                revision = revision_of(connection)
                vault_id = known_id(connection) or ""
                counts = {name: _count(connection, name) for name in COUNTED}
                files = _write_index(connection, index, tell)
            for path in (copy, index):
                sync_file(path)
            return Manifest(
                version=__version__,
                revision=str(revision),
                made_at=now,
                kind="sqlite" if is_sqlite else "postgresql",
                vault_id=vault_id,
                database=Part.of(copy),
                index=Part.of(index),
                counts=counts,
                files=files,
                has_files=False,
                missing=0,
            )

    def bring_files(self, draft: Manifest, tell: Tell) -> Brought:
        """Bring the vault's files that the draft needs; what an earlier backup brought is there already."""
        brought, last = Brought(), self._folder
        with _written():
            for number, entry in enumerate(read_index(self._folder / draft.index.name), start=1):
                target = self._folder / FILES / entry.path
                if target.parent != last:  # the index is in the order of paths
                    sync_folder(last)
                    last = make_folder(target.parent)
                bring(entry, self._vault.path(entry.path), target, brought)
                tell("files", number, draft.files)
            sync_folder(last)
        return brought

    def _clear(self) -> None:
        """Delete every database and index that no manifest names."""
        try:
            manifest = read_manifest(self._folder)
        except BackupDamaged:
            if (self._folder / MANIFEST).exists():
                return  # a person may still make sense of it
            named = list[str]()
        else:
            named = [manifest.database.name, manifest.index.name]
        for path in list(self._folder.iterdir()):
            if OURS.match(path.name) and path.name not in named:
                path.unlink(missing_ok=True)

    def publish(self, draft: Manifest, files: Brought | None) -> Manifest:
        """Make the draft the backup, in one step; then delete what the one before alone needed."""
        if files is not None:
            draft = replace(draft, has_files=True, missing=files.missing + files.damaged)
        with _written():
            for part in (draft.database, draft.index):  # on a share without locks another backup may have cleared them
                sync_file(self._folder / part.name)
            new = self._folder / f"{MANIFEST}.new"
            with _private(new) as file:
                file.write(draft.write())
            sync_file(new)
            sync_folder(self._folder)
            os.replace(new, self._folder / MANIFEST)
            sync_folder(self._folder)
            self._clear()
        return draft


def _lock(handle: int, folder: Path) -> bool:
    """Whether the folder is held; on a share that knows no locks it is not."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as why:
        raise Misconfigured(f"another backup into {folder} is running") from why
    except OSError:
        return False  # two backups at once have names of their own
    return True


def _write_index(connection: Connection, path: Path, tell: Tell) -> int:
    """Write every file on which a row lives, in the order of paths; says how many."""
    instance, report, companion = tables.instance, tables.report, tables.report_object
    query = union_all(
        select(instance.c.path, instance.c.sha256, instance.c.size_bytes).where(instance.c.removed_at.is_(None)),
        select(report.c.path, report.c.sha256, report.c.size_bytes).where(report.c.removed_at.is_(None)),
        select(companion.c.path, companion.c.sha256, companion.c.size_bytes)
        .join_from(companion, report)
        .where(report.c.removed_at.is_(None)),
    ).order_by("path")
    count, last = 0, ""
    with _private(path) as file:
        for row in connection.execution_options(yield_per=ROWS).execute(query):
            if row.path != last:  # two rows may share a file
                entry = Entry(path=row.path, sha256=row.sha256, size_bytes=row.size_bytes)
                file.write(json.dumps(asdict(entry)) + "\n")
                count, last = count + 1, row.path
                tell("index", count, 0)
    return count


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(select(func.count()).select_from(tables.metadata.tables[table])).scalar_one())


@contextmanager
def _private(path: Path) -> Iterator[TextIO]:
    """A text file that only its owner reads."""
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yield file


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as why:
        raise BackupFailed(f"cannot write the backup: {why.strerror}") from why
