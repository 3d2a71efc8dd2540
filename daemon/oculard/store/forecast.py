"""How long the disk lasts: the free space above the mark, at the pace of the last two weeks."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, func, select

from oculard.store import tables
from oculard.store.database import Database

LOOK_BACK = timedelta(days=14)
KNOWN_LEAST = timedelta(days=1)  # a pace of less than a day says nothing
DAYS_MAX = 3650.0


def days_left(database: Database, free_bytes: float, mark_bytes: float, now: datetime) -> float | None:
    """Days until the free space reaches the mark; 0 when it has. None when unknown, or more than ten years."""
    if free_bytes <= mark_bytes:
        return 0.0
    since = now - LOOK_BACK
    with database.read() as connection:
        came = [
            _came(connection, tables.instance, tables.instance.c.received_at, since),
            _came(connection, tables.report, tables.report.c.created_at, since),
        ]
    first = min((moment for _, moment in came if moment is not None), default=None)
    if first is None or now - first < KNOWN_LEAST:
        return None
    bytes_a_day = sum(size for size, _ in came) / ((now - first) / timedelta(days=1))
    days = (free_bytes - mark_bytes) / bytes_a_day if bytes_a_day else DAYS_MAX + 1
    return days if days <= DAYS_MAX else None


def _came(
    connection: Connection, table: Table, at: ColumnElement[datetime], since: datetime
) -> tuple[int, datetime | None]:
    """The bytes that came since a moment, and when the first of them did."""
    query = select(func.coalesce(func.sum(table.c.size_bytes), 0), func.min(at)).where(at > since)
    size, first = connection.execute(query).one()
    return int(size), first
