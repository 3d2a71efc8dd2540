"""Picks: which of the rows that are ready a claim takes, in which order, and what it reads along with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select

Reads = Callable[[Select[Any], FromClause], Select[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pick:
    """Up to `limit` rows. A queue makes its statements once for each pick: who claims often keeps it.

    `reads` adds columns and joins to the query that gives the claimed rows, which are all columns of their table.
    """

    where: Sequence[ColumnElement[bool]] = ()
    order: Sequence[ColumnElement[Any]] = ()  # of equals the oldest comes first
    limit: int = 1
    reads: Reads | None = None


ANY = Pick()
