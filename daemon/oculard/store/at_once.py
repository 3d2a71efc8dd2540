"""Picking, moving, recording and reading rows in one statement, as only PostgreSQL can: one journey, one transaction.

The statements are made once for each shape, as all of a queue are.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    insert,
    literal_column,
    select,
    update,
)

from oculard.store import tables
from oculard.store.picks import Pick
from oculard.store.statements import NOW, SHAPES, number, read_along, ready

IDENTITY = ("subject_id", "study_id")  # of the event: the row that moved, and its study
TOLD = ("at", "kind", "name", "source", "target", "actor", "reason")  # of the event, under `event_` and its name


@lru_cache(SHAPES)
def move_at_once(moved: Update, study: ColumnElement[Any]) -> Insert:
    """Move a row and append an event: it inserts as many as have moved. Parameters: the move's, and what is TOLD."""
    table = moved.table
    rows = moved.returning(table.c.id, study.label("study")).cte("moved")
    recorded = insert(tables.event).from_select([*IDENTITY, *TOLD], _events(rows))
    return recorded.execution_options(preserve_rowcount=True)


@lru_cache(SHAPES)
def claim_at_once(table: Table, state: StrEnum, study: ColumnElement[Any], pick: Pick) -> Select[Any]:
    """Move the rows that are ready and that nobody else is claiming; gives id, attempts and study of each, in order.

    Parameters: `given_` held, now, owner and until, and what is TOLD. A row that somebody has changed since the
    statement began is left for the next claim: what is read along with it would be older than the row.
    """
    version: ColumnElement[Any] = literal_column(f"{table.name}.ctid")
    picked = (
        ready(table, state, pick)
        .add_columns(version.label("version"))
        .with_for_update(skip_locked=True, of=table)
        .cte("picked")
    )
    keys = [one.label(f"key_{place}") for place, one in enumerate(pick.order)]
    lease = {
        "lease_owner": bindparam("given_owner"),
        "lease_until": bindparam("given_until", type_=table.c.lease_until.type),
    }
    values = {"state": bindparam("given_held"), "changed_at": NOW, "attempts": table.c.attempts + number(1), **lease}
    moved = update(table).where(table.c.id == picked.c.id, version == picked.c.version).values(**values)
    rows = moved.returning(*table.c, study.label("study"), *keys).cte("moved")
    recorded = insert(tables.event).from_select([*IDENTITY, *TOLD], _events(rows))
    query = select(rows.c.id, rows.c.attempts, rows.c.study).order_by(*(rows.c[key.name] for key in keys), rows.c.id)
    return read_along(query, rows, pick).add_cte(recorded.returning(tables.event.c.id).cte("recorded"))


def _events(rows: CTE) -> Select[Any]:
    said = [bindparam(f"event_{name}", type_=tables.event.c[name].type) for name in TOLD]
    return select(rows.c.id, rows.c.study, *said)
