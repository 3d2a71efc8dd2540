"""A backup: a copy of the database of one moment while the daemon runs, and an index of the files that belong to it.

New files have new names, and `manifest.json` names those that count: until it is replaced, the backup before is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, func, select, union_all

from oculard import __version__
from oculard.clock import Clock
from oculard.errors import Misconfigured, Permanent
from oculard.store import tables
from oculard.store.copying import Tell, copied
from oculard.store.database import Database
from oculard.store.manifest import FILES, MANIFEST, OURS, Entry, Manifest, Part, read_index
from oculard.store.vault import Vault, sync_file, sync_folder

COUNTED = ("study", "instance", "job", "report", "delivery", "event")
ROWS = 1000  # of the index at once


class BackupFailed(Permanent):
    """A backup could not be written."""

    reason = "backup-not-written"
    hint = "is there room, and may this user write there? The backup before is as it was"


@dataclass(slots=True, kw_only=True)
class Brought:
    """What became of the vault's files."""

    new: int = 0
    there: int = 0  # an earlier backup had brought them
    missing: int = 0


class Backup:
    """Makes backups in one folder."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, folder: Path) -> None:
        self._database, self._vault, self._clock, self._folder = database, vault, clock, folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Prepare the folder, and hold it against another backup. Raises Misconfigured or BackupFailed."""
        if self._folder.resolve().is_relative_to(self._vault.folder.resolve()):
            raise Misconfigured("a backup does not belong into [store] folder", hint="take another disk, or a share")
        with _written():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that was there keeps its mode
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(handle, self._folder)
            yield
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
                revision = MigrationContext.configure(connection).get_current_revision()
                counts = {name: _count(connection, name) for name in COUNTED}
                files = _write_index(connection, index, tell)
            for path in (copy, index):
                sync_file(path)
            return Manifest(
                version=__version__,
                revision=str(revision),
                made_at=now,
                kind="sqlite" if is_sqlite else "postgresql",
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
                    last = _make_folder(target.parent)
                if _has_size(target, entry.size_bytes):
                    brought.there += 1
                elif _bring(self._vault.path(entry.path), target):
                    brought.new += 1
                else:
                    brought.missing += 1
                tell("files", number, draft.files)
            sync_folder(last)
        return brought

    def publish(self, draft: Manifest, files: Brought | None) -> Manifest:
        """Make the draft the backup, in one step; then delete what the one before alone needed."""
        if files is not None:
            draft = replace(draft, has_files=True, missing=files.missing)
        with _written():
            new = self._folder / f"{MANIFEST}.new"
            with _private(new) as file:
                file.write(draft.write())
            sync_file(new)
            sync_folder(self._folder)
            os.replace(new, self._folder / MANIFEST)
            sync_folder(self._folder)
            for path in list(self._folder.iterdir()):
                if OURS.match(path.name) and path.name not in (draft.database.name, draft.index.name):
                    path.unlink()
        return draft


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as why:
        raise Misconfigured(f"another backup into {folder} is running") from why
    except OSError:
        pass  # a share that knows no locks: two backups at once have names of their own


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


def _bring(source: Path, target: Path) -> bool:
    """Link a file that is never changed, or copy it where no link is possible; False when it is not there."""
    new = target.with_name(f"{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        try:
            os.link(source, new)
        except FileNotFoundError:
            return False
        except OSError:  # another disk, another user, too many links
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            shutil.copyfile(source, new)
            sync_file(new)
    except FileNotFoundError:
        new.unlink(missing_ok=True)
        return False
    os.replace(new, target)
    return True


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _make_folder(path: Path) -> Path:
    """A private folder with its parents, each synced."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)
    return path


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
