"""How long the disk lasts: the free space above the mark, at the pace of the last two weeks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

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
    since = now - LOOK_BACK
    instance, report, companion = tables.instance, tables.report, tables.report_object
    with database.read() as connection:

        def total(query: Select[Any], moment: ColumnElement[datetime | None]) -> tuple[int, datetime | None]:
            size, first = connection.execute(query.add_columns(func.min(moment)).where(moment > since)).one()
            return int(size), first

        sizes: Sequence[tuple[Select[Any], ColumnElement[datetime], ColumnElement[datetime | None]]] = (
            (_bytes(instance.c.size_bytes), instance.c.received_at, instance.c.removed_at),
            (_bytes(report.c.size_bytes), report.c.created_at, report.c.removed_at),
            (
                _bytes(companion.c.size_bytes).join_from(companion, report),
                report.c.created_at,
                report.c.removed_at,
            ),
        )
        came = [total(query, at) for query, at, _ in sizes]
        went = [total(query, at) for query, _, at in sizes]
    first = min((moment for _, moment in came if moment is not None), default=None)
    if first is None or now - first < KNOWN_LEAST:
        return None
    grown = sum(size for size, _ in came) - sum(size for size, _ in went)
    if grown <= 0:
        return None
    days = (free_bytes - mark_bytes) / (grown / ((now - first) / timedelta(days=1)))
    return days if days <= DAYS_MAX else None


def _bytes(size: ColumnElement[int]) -> Select[Any]:
    return select(func.coalesce(func.sum(size), 0))
