"""Statements of a queue: each is made once for its shape, since making one costs more than a database spends on it.

What changes from one execution to the next is a parameter of theirs.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    Table,
    Update,
    and_,
    bindparam,
    literal_column,
    select,
    update,
)

from oculard.store.picks import Pick
from oculard.store.tables import Moment

SHAPES = 64  # of a statement that are kept; a queue has a few that come again and again
NOW = bindparam("given_now", type_=Moment())


def word(value: str) -> ColumnElement[str]:
    """One of our own words as part of a statement's text: a server plans once, and knows what it plans for."""
    assert value.isidentifier(), f"`{value}` is none of our words"
    return literal_column(f"'{value}'", String)


def number(value: int) -> ColumnElement[int]:
    """A number likewise."""
    return literal_column(str(int(value)), Integer)


@lru_cache(SHAPES)
def ready(table: Table, state: StrEnum, pick: Pick) -> Select[tuple[int]]:
    """The ids of the rows in that state that a claim may take, in its order. Parameter: `given_now`."""
    is_due = (table.c.state == word(state), table.c.run_after <= NOW)
    query = select(table.c.id).where(*is_due, *pick.where).order_by(*pick.order, table.c.id)
    return query.limit(number(pick.limit))


@lru_cache(SHAPES)
def any_ready(table: Table, state: StrEnum, pick: Pick) -> Select[tuple[int]]:
    """One of them, in no order: whether there is any."""
    return ready(table, state, pick).order_by(None).limit(number(1))


@lru_cache(SHAPES)
def ready_rows(table: Table, state: StrEnum, study: ColumnElement[Any], pick: Pick) -> Select[Any]:
    """The same rows as they will be when they have been claimed: id, attempts and study."""
    attempts = (table.c.attempts + 1).label("attempts")
    return ready(table, state, pick).with_only_columns(table.c.id, attempts, study.label("study"))


@lru_cache(SHAPES)
def claimed_rows(table: Table, study: ColumnElement[Any], pick: Pick) -> Select[Any]:
    """What a pick reads of the rows that were claimed. Parameter: `given_ids`."""
    rows = select(table.c.id, table.c.attempts, study.label("study"))
    return read_along(rows.where(table.c.id.in_(bindparam("given_ids", expanding=True))), table, pick)


def read_along(rows: Select[Any], source: FromClause, pick: Pick) -> Select[Any]:
    """The rows with what the pick reads of them."""
    return rows if pick.reads is None else pick.reads(rows, source)


@lru_cache(SHAPES)
def move(
    table: Table,
    names: tuple[str, ...],
    computed: tuple[tuple[str, ColumnElement[Any]], ...],
    guards: tuple[ColumnElement[bool], ...],
) -> Update:
    """One row's compare and swap. Parameters: `given_id`, `given_state`, and `new_` with each of the names."""
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    is_there = and_(table.c.id == bindparam("given_id"), table.c.state == bindparam("given_state"), *guards)
    return update(table).where(is_there).values(**values, **dict(computed))


def split(columns: dict[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, ColumnElement[Any]], ...]]:
    """A row's new values: those that are parameters, and those that the database computes."""
    computed = tuple((name, value) for name, value in columns.items() if isinstance(value, ColumnElement))
    return {name: value for name, value in columns.items() if not isinstance(value, ColumnElement)}, computed


def parameters(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Values under the names of a statement's parameters."""
    return {f"{prefix}{name}": value for name, value in values.items()}
