"""Group commit: writers that wait for each other share one transaction, and one wait for the disk.

SQLite lets one writer in at a time, and each commit waits until it is on disk. Whoever comes first writes for all that
have come meanwhile. On a server, whose writers do not wait for each other, each has a transaction of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from oculard.store.database import Database, DatabaseDown

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Work(Generic[T]):
    """What one writer wants written, and what came of it."""

    do: Callable[[Connection], T]
    result: T | None = None
    error: DatabaseDown | None = None
    is_done: bool = False


class GroupCommit(Generic[T]):
    """One place where the writers of a process meet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Work[T]] = []
        self._door, self._desk = threading.Lock(), threading.Lock()

    def write(self, do: Callable[[Connection], T]) -> T:
        """Do it in a transaction that is on disk when this returns. Raises what `do` raises, or DatabaseDown."""
        if not self._database.is_sqlite:
            with self._database.write() as connection:
                return do(connection)
        work = _Work(do)
        with self._door:
            self._waiting.append(work)
        with self._desk:
            if not work.is_done:
                self._write_for_all(work)
        if work.error is not None:
            raise work.error
        return work.result  # type: ignore[return-value]  # it is what `do` gave

    def _write_for_all(self, work: _Work[T]) -> None:
        """Write for everybody who waits. Where that fails, everybody writes alone: nobody pays for another's fault."""
        with self._door:
            batch, self._waiting = ([work], self._waiting) if work not in self._waiting else (self._waiting, [])
        try:
            self._write_together(batch)
        except DatabaseDown as why:
            for other in batch:
                other.error, other.is_done = why, True
        except Exception:
            if len(batch) == 1:
                raise
            self._write_together([work])

    def _write_together(self, batch: list[_Work[T]]) -> None:
        with self._database.write() as connection:
            results = [work.do(connection) for work in batch]
        for work, result in zip(batch, results, strict=True):
            work.result, work.is_done = result, True
