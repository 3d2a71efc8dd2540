"""Orphans: files of the vault that no row knows, and rows whose files are not what they were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, union_all

from oculard.errors import Permanent, Rejected
from oculard.store import tables
from oculard.store.database import Database, hold_files
from oculard.store.digests import digest_of
from oculard.store.vault import Vault

CHUNK = 500  # files that are asked for at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A file on which no row lives."""

    path: str  # below the vault
    study_id: int | None  # of the row that says it was removed; None: no row knows the file


class Orphans:
    """Looks at the vault with the database's eyes. Nothing here holds more than a chunk of files in memory."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    def strays(self, room: str, part: int, *, older_than: datetime | None = None) -> Iterator[Stray]:
        """The files of one of a room's 256 parts that no living row needs; of the unknown ones only the old.

        A young file may be on its way: the row is written after it.
        """
        files = self._vault.walk(room, part)
        while chunk := list(islice(files, CHUNK)):
            with self._database.read() as connection:
                rows = _known(connection, room, chunk)
            living = {row.path for row in rows if row.removed_at is None}
            removed = {row.path: int(row.study_id) for row in rows}
            for path in sorted(set(chunk) - living):
                if path in removed:
                    yield Stray(path=path, study_id=removed[path])
                elif older_than is None or self._is_older(path, older_than):
                    yield Stray(path=path, study_id=None)

    def recover(self, stray: Stray, take: Callable[[Path], object]) -> bool:
        """Take an unknown image into custody again; what is none, or is damaged, is set aside: False.

        `take` raises Rejected, Permanent or OSError for what it refuses. Raises what is transient.
        """
        path = self._vault.path(stray.path)
        try:
            if digest_of(path, "instances") == path.stem:
                take(path)
                return True
        except FileNotFoundError:
            return True  # its own sender brought it meanwhile
        except (Rejected, Permanent, OSError):
            pass  # whatever it is, nothing is deleted
        with self._database.write() as connection:
            hold_files(connection, [stray.path])
            if any(row.removed_at is None for row in _known(connection, "instances", [stray.path])):
                return True  # its own sender brought it while we read
            self._vault.set_aside(stray.path)
        return False

    def delete(self, stray: Stray, *, older_than: datetime) -> bool:
        """Delete an unknown report's file, if it is unknown and old at this very moment. Raises VaultUnwritable."""
        with self._database.write() as connection:
            hold_files(connection, [stray.path])
            if _known(connection, "reports", [stray.path]) or not self._is_older(stray.path, older_than):
                return False
            return self._vault.delete(stray.path)

    def damaged(self, after_id: int, *, limit: int) -> tuple[int, list[str]]:
        """Look at the files of the instances that follow one: the last that was looked at, and which are not whole.

        Each is named by its SOP Instance UID. At the end the last is 0: from there it begins anew.
        """
        table = tables.instance
        columns = (table.c.id, table.c.path, table.c.size_bytes, table.c.sop_instance_uid)
        query = select(*columns).where(table.c.id > after_id, table.c.removed_at.is_(None)).order_by(table.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        wrong = [row.id for row in rows if not self._is_whole(row.path, row.size_bytes)]
        still = select(table.c.sop_instance_uid).where(table.c.id.in_(wrong), table.c.removed_at.is_(None))
        with self._database.read() as connection:
            damaged = list(connection.execute(still.order_by(table.c.id)).scalars()) if wrong else []
        return rows[-1].id if len(rows) == limit else 0, damaged

    def _is_whole(self, path: str, size: int) -> bool:
        try:
            return self._vault.path(path).stat().st_size == size
        except FileNotFoundError:
            return False
        except OSError:
            return True  # not known now: the disk's own trouble is said elsewhere

    def _is_older(self, path: str, moment: datetime) -> bool:
        try:
            return self._vault.path(path).lstat().st_mtime < moment.timestamp()
        except OSError:
            return False  # gone meanwhile


def _known(connection: Connection, room: str, paths: Collection[str]) -> Sequence[Row[Any, Any, Any]]:
    """The rows of files: path, when removed, study."""
    instance, report, companion = tables.instance, tables.report, tables.report_object
    if room == "instances":
        query = select(instance.c.path, instance.c.removed_at, instance.c.study_id).where(instance.c.path.in_(paths))
        return connection.execute(query).all()
    reports = select(report.c.path, report.c.removed_at, report.c.study_id).where(report.c.path.in_(paths))
    companions = (
        select(companion.c.path, report.c.removed_at, report.c.study_id)
        .join_from(companion, report)
        .where(companion.c.path.in_(paths))
    )
    return connection.execute(union_all(reports, companions)).all()
