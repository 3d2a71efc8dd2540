"""How long the disk lasts: the free space above the mark, at the pace of the last two weeks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from oculard.store import tables
from oculard.store.database import Database

LOOK_BACK = timedelta(days=14)
KNOWN_LEAST = timedelta(days=1)  # a pace of less than a day says nothing
DAYS_MAX = 3650.0


def days_left(database: Database, free_bytes: float, mark_bytes: float, now: datetime) -> float | None:
    """Days until the free space reaches the mark; 0 when it has. None when unknown, or more than ten years.

    What retention deleted in these weeks is taken off what came: a vault that is in balance lasts for ever.
    """
    if free_bytes <= mark_bytes:
        return 0.0
    since, instance, report, companion = now - LOOK_BACK, tables.instance, tables.report, tables.report_object
    images, reports, companions = (
        _bytes(instance.c.size_bytes),
        _bytes(report.c.size_bytes),
        _bytes(companion.c.size_bytes).join_from(companion, report),
    )
    with database.read() as connection:
        came = [
            _since(connection, images, instance.c.received_at, since),
            _since(connection, reports, report.c.created_at, since),
            _since(connection, companions, report.c.created_at, since),
        ]
        went = [
            _since(connection, images, instance.c.removed_at, since),
            _since(connection, reports, report.c.removed_at, since),
            _since(connection, companions, report.c.removed_at, since),
        ]
    first = min((moment for _, moment in came if moment is not None), default=None)
    if first is None or now - first < KNOWN_LEAST:
        return None
    grown = sum(size for size, _ in came) - sum(size for size, _ in went)
    if grown <= 0:
        return None
    days = (free_bytes - mark_bytes) / grown * ((now - first) / timedelta(days=1))
    return days if days <= DAYS_MAX else None


def _bytes(size: ColumnElement[int]) -> Select[Any]:
    return select(func.coalesce(func.sum(size), 0))


def _since(
    connection: Connection, query: Select[Any], at: ColumnElement[Any], since: datetime
) -> tuple[int, datetime | None]:
    """The bytes since a moment, and when the first of them came or went."""
    size, first = connection.execute(query.add_columns(func.min(at)).where(at > since)).one()
    return int(size), first
