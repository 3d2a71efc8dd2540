"""Tidying the database: statistics for its planner, its write-ahead log cut, its free pages given back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection

from oculard.clock import Clock
from oculard.store.database import BUSY_S, Database

FREE_SHARE = 0.25  # of all pages: less is not worth a VACUUM ...
FREE_BYTES = 64 << 20  # ... nor is less than so much
LIVE_BYTES_MAX = 2 << 30  # what is written anew in one go, while every writer waits
VACUUM_EVERY = timedelta(days=7)
CHECKPOINT_MS = 100  # how long the cut may wait, and let wait
BUSY_TABLES = ("study", "instance", "reception", "job", "delivery", "delivery_object", "retrieval", "role", "event")


class Tidying:
    """What a database wants now and then."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def optimize(self) -> None:
        """Refresh SQLite's statistics where they are old, and cut its write-ahead log if nobody is in the way."""
        if not self._database.is_sqlite:
            return  # autovacuum does so
        with self._database.outside() as connection:
            connection.exec_driver_sql("PRAGMA analysis_limit = 1000")
            connection.exec_driver_sql("PRAGMA optimize")
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {CHECKPOINT_MS}")
            try:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_S * 1000}")

    def vacuum(self) -> list[str]:
        """Give back what is free. Only while nothing else is done: writers wait. Says what was vacuumed."""
        with self._database.outside() as connection:
            return self._vacuum_file(connection) if self._database.is_sqlite else self._vacuum_tables(connection)

    def _vacuum_file(self, connection: Connection) -> list[str]:
        free, pages, page = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("freelist_count", "page_count", "page_size")
        )
        if free <= FREE_SHARE * pages or free * page <= FREE_BYTES:
            return []
        live, file = (pages - free) * page, self._database.file
        if file is None or live > LIVE_BYTES_MAX or shutil.disk_usage(file.parent).free < 3 * live:
            return []
        with _copy_in(connection, file.parent.absolute()) as is_there:
            if not is_there:
                return []
            connection.exec_driver_sql("VACUUM")
        return ["main"]

    def _vacuum_tables(self, connection: Connection) -> list[str]:
        """Each busy table a week after its last time, which the server remembers."""
        rows = connection.exec_driver_sql("SELECT relname, last_vacuum FROM pg_stat_user_tables").all()
        since = self._clock.now() - VACUUM_EVERY
        due = [row[0] for row in rows if row[0] in BUSY_TABLES and (row[1] is None or row[1] < since)]
        connection.exec_driver_sql("SET statement_timeout = 0")
        try:
            for table in sorted(due):
                connection.exec_driver_sql(f'VACUUM (ANALYZE) "{table}"')
        finally:
            connection.exec_driver_sql("RESET statement_timeout")
        return sorted(due)


@contextmanager
def _copy_in(connection: Connection, folder: Path) -> Iterator[bool]:
    """Let SQLite write a VACUUM's copy into a folder, and not into /var/tmp; it goes once more into the log, which lies
    beside the file (https://www.sqlite.org/lang_vacuum.html). Gives whether this SQLite can.
    """
    quoted = str(folder).replace("'", "''")
    connection.exec_driver_sql(f"PRAGMA temp_store_directory = '{quoted}'")
    try:
        row = connection.exec_driver_sql("PRAGMA temp_store_directory").first()
        yield row is not None and row[0] == str(folder)
    finally:
        connection.exec_driver_sql("PRAGMA temp_store_directory = ''")
