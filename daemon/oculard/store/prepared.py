"""Prepared statements: what is executed for every instance is compiled once, and on SQLite goes straight to its driver.

SQLAlchemy's own way to execute one costs several times what SQLite then does; a test compares what both ways write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.engine.default import DefaultDialect

Row = Sequence[Any]
Process = Callable[[Any], Any]


class Prepared:
    """One statement, made for each dialect when it is first needed.

    `columns` are the names of the values that every execution brings. `run` gives the rows as the driver does: a
    moment among them is no datetime, but None is None.
    """

    def __init__(self, make: Callable[[str], Executable], columns: Sequence[str]) -> None:
        self._make, self._columns, self._made = make, columns, dict[str, Executable]()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> list[Row]:
        """Execute it in the connection's transaction."""
        dialect = connection.dialect.name
        if dialect == "sqlite":
            text, binds, fixed = self._compiled
            given = {**values, **fixed}
            bound = [given[name] if process is None else process(given[name]) for name, process in binds]
            driver: Any = connection.connection.driver_connection
            rows: list[Row] = driver.execute(text, bound).fetchall()
            return rows
        if dialect not in self._made:
            self._made[dialect] = self._make(dialect)
        result = connection.execute(self._made[dialect], {name: values[name] for name in self._columns})
        return list(result.all()) if result.returns_rows else []

    @cached_property
    def _compiled(self) -> tuple[str, list[tuple[str, Process | None]], dict[str, Any]]:
        """SQLite's text, its parameters in order with what makes a value the driver's, and what is always the same."""
        from sqlalchemy.dialects import sqlite

        dialect: DefaultDialect = sqlite.dialect(paramstyle="qmark")  # the driver's own style
        statement: Any = self._make("sqlite")
        compiled = statement.compile(dialect=dialect, column_keys=list(self._columns))
        names = compiled.positiontup
        types = {name: compiled.binds[name].type.dialect_impl(dialect) for name in names}
        fixed = {name: compiled.binds[name].effective_value for name in names if name not in self._columns}
        return str(compiled), [(name, types[name].bind_processor(dialect)) for name in names], fixed
