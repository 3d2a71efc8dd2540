"""Group commit: writers that wait for each other share one transaction, and one wait for the disk.

SQLite lets one writer in at a time, and each commit waits until it is on disk. Whoever comes first writes for all that
have come meanwhile, and does first what each wants done before: names are synced one after the other, of which the
first one writes the file system's journal for all. On a server, whose writers do not wait for each other, each has a
transaction of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from oculard.store.database import Database, DatabaseDown
from oculard.store.vault import VaultTrouble

T = TypeVar("T")


def _nothing() -> None:
    """Nothing is to be done first."""


@dataclass(slots=True, eq=False)
class _Work(Generic[T]):
    """What one writer wants written, and what came of it."""

    first: Callable[[], object]
    do: Callable[[Connection], T]
    result: T | None = None
    error: DatabaseDown | VaultTrouble | None = None
    is_done: bool = False


class GroupCommit(Generic[T]):
    """One place where the writers of a process meet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Work[T]] = []
        self._door, self._desk = threading.Lock(), threading.Lock()

    def write(self, do: Callable[[Connection], T], *, first: Callable[[], object] = _nothing) -> T:
        """Do it in a transaction that is on disk when this returns, after what is to be done first.

        Raises what `do` raises, DatabaseDown, or the VaultTrouble that came first.
        """
        if not self._database.is_sqlite:
            first()
            with self._database.write() as connection:
                return do(connection)
        work = _Work(first, do)
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
        batch = [other for other in batch if self._is_ready(other)]
        try:
            self._write_together(batch)
        except DatabaseDown as why:
            for other in batch:
                other.error, other.is_done = why, True
        except Exception:
            if len(batch) == 1:
                raise
            if not work.is_done:
                self._write_together([work])

    @staticmethod
    def _is_ready(work: _Work[T]) -> bool:
        """Do what comes first; where that fails, it is its own writer's trouble alone."""
        try:
            work.first()
        except VaultTrouble as why:
            work.error, work.is_done = why, True
        return not work.is_done

    def _write_together(self, batch: list[_Work[T]]) -> None:
        if not batch:
            return
        with self._database.write() as connection:
            results = [work.do(connection) for work in batch]
        for work, result in zip(batch, results, strict=True):
            work.result, work.is_done = result, True
