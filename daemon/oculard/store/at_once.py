"""Picking, moving and recording rows in one statement, as only PostgreSQL can: one journey, one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Row, Select, Table, Update, bindparam, insert, select, update

from oculard.store import tables

IDENTITY = ("subject_id", "study_id")  # of the event: the row that moved, and its study


def move_at_once(connection: Connection, moved: Update, study: ColumnElement[Any], event: Mapping[str, Any]) -> int:
    """Move rows, and append an event for each. Says how many moved."""
    rows = moved.returning(moved.table.c.id, study.label("study_id")).cte("moved")
    recorded = insert(tables.event).from_select([*IDENTITY, *event], _events(rows, event))
    return connection.execute(recorded, execution_options={"preserve_rowcount": True}).rowcount


def claim_at_once(
    connection: Connection,
    table: Table,
    ready: Select[tuple[int]],
    study: ColumnElement[Any],
    order: Sequence[ColumnElement[Any]],
    values: Mapping[str, Any],
    event: Mapping[str, Any],
) -> Sequence[Row[Any, Any, Any]]:
    """Move the rows that are ready and that nobody else is claiming; gives id, attempts and study of each, in order."""
    picked = ready.with_for_update(skip_locked=True, of=table).cte("picked")
    keys = [one.label(f"key_{number}") for number, one in enumerate(order)]
    moved = update(table).where(table.c.id.in_(select(picked.c.id))).values(**values)
    rows = moved.returning(table.c.id, table.c.attempts, study.label("study_id"), *keys).cte("moved")
    recorded = insert(tables.event).from_select([*IDENTITY, *event], _events(rows, event))
    query = select(rows.c.id, rows.c.attempts, rows.c.study_id).order_by(*(rows.c[key.name] for key in keys), rows.c.id)
    return connection.execute(query.add_cte(recorded.returning(tables.event.c.id).cte("recorded"))).all()


def _events(rows: CTE, event: Mapping[str, Any]) -> Select[Any]:
    columns = tables.event.c
    said = [bindparam(f"event_{name}", value, type_=columns[name].type) for name, value in event.items()]
    return select(rows.c.id, rows.c.study_id, *said)
