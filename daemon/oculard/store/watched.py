"""What is known of the files in watched folders: each as it was when it was looked at, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select, update

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.database import Database, insert_or

GROWING, REFUSED = "growing", "refused"  # outcomes; the others are those of custody
UNREADABLE = "unreadable"
GONE = -1  # bytes: no file has so many
TOUCH_EVERY = timedelta(days=1)  # how often a file that is still there is noted down again


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """By what a file is known not to have changed."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file as it was, and what became of it."""

    path: str  # below the folder, safe to store
    stamp: Stamp
    outcome: str
    reason: str | None = None
    sop_instance_uid: str | None = None

    def holds(self, stamp: Stamp) -> bool:
        """Whether nothing else can become of the file while it stays as it is."""
        return self.stamp == stamp and self.outcome != GROWING and self.reason != UNREADABLE


class Watched:
    """The files of every watched folder."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def known(self, folder: str, paths: Sequence[str]) -> dict[str, Seen]:
        """What is known of some files; those that are still there are not forgotten."""
        table, now = tables.watched_file, self._clock.now()
        which = (table.c.folder == folder, table.c.path.in_(paths))
        with self._database.read() as connection:
            rows = connection.execute(select(table).where(*which)).all()
        old = [row.path for row in rows if now - row.seen_at > TOUCH_EVERY]
        if old:
            with self._database.write() as connection:
                stale = (table.c.folder == folder, table.c.path.in_(old))
                connection.execute(update(table).where(*stale).values(seen_at=now))
        return {
            row.path: Seen(
                path=row.path,
                stamp=Stamp(size_bytes=row.size_bytes, mtime_ns=row.mtime_ns),
                outcome=row.outcome,
                reason=row.reason,
                sop_instance_uid=row.sop_instance_uid,
            )
            for row in rows
        }

    def remember(self, folder: str, seen: Seen) -> None:
        """Note down what became of a file."""
        with self._database.write() as connection:
            self._put(connection, folder, seen)

    def went(self, folder: str, path: str) -> None:
        """A file was moved away: whatever comes under its name is another one, even if it has its size and time."""
        table = tables.watched_file
        which = (table.c.folder == folder, table.c.path == path)
        with self._database.write() as connection:
            connection.execute(update(table).where(*which).values(size_bytes=GONE))

    def grow(self, folder: str, files: Iterable[Seen]) -> None:
        """Note down which files are on their way for long: these, and no others any more."""
        table = tables.watched_file
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.folder == folder, table.c.outcome == GROWING))
            for seen in files:
                self._put(connection, folder, seen)

    def _put(self, connection: Connection, folder: str, seen: Seen) -> None:
        table, now = tables.watched_file, self._clock.now()
        values = {
            "size_bytes": seen.stamp.size_bytes,
            "mtime_ns": seen.stamp.mtime_ns,
            "outcome": seen.outcome,
            "reason": seen.reason,
            "sop_instance_uid": seen.sop_instance_uid,
            "looked_at": now,
            "seen_at": now,
        }
        new = insert_or(connection, table).values(folder=folder, path=seen.path, **values)
        key = [table.c.folder, table.c.path]
        connection.execute(new.on_conflict_do_update(index_elements=key, set_=values))

    def forget(self, before: datetime) -> int:
        """Forget files that have not been there since; says how many."""
        table = tables.watched_file
        with self._database.write() as connection:
            return connection.execute(delete(table).where(table.c.seen_at < before)).rowcount

    def summary(self, folders: Iterable[str]) -> dict[str, dict[str, int]]:
        """How many files of each folder had which outcome; a refused one by its reason."""
        table = tables.watched_file
        query = select(table.c.folder, table.c.outcome, table.c.reason, func.count())
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(table.c.folder, table.c.outcome, table.c.reason)).all()
        counts: dict[str, dict[str, int]] = {name: {} for name in folders}
        for folder, outcome, reason, count in rows:
            name = f"{outcome}: {reason}" if reason else outcome
            counts.setdefault(folder, {})[name] = counts.get(folder, {}).get(name, 0) + count
        return counts
