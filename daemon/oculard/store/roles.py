"""Which processes run, by their own word: what `status`, `/readyz` and the doctor look at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.database import Database, insert_or

BEAT_S = 10.0
DEAD_S = 45.0  # a process that has not been heard of for so long is not running
FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One process."""

    name: str
    role: str
    pid: int
    started_at: datetime
    beat_at: datetime
    says: dict[str, Any]


class Roles:
    """The processes' heartbeats."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._started_at = clock.now()

    def beat(self, name: str, role: str, says: dict[str, Any]) -> None:
        """Say that this process is alive, and what it has to tell."""
        now, table = self._clock.now(), tables.role
        values = {"role": role, "pid": os.getpid(), "started_at": self._started_at, "beat_at": now, "says": says}
        with self._database.write() as connection:
            new = insert_or(connection, table).values(name=name, **values)
            connection.execute(new.on_conflict_do_update(index_elements=[table.c.name], set_=values))
            connection.execute(delete(table).where(table.c.beat_at < now - FORGOTTEN))

    def forget(self, name: str) -> None:
        """This process ends."""
        with self._database.write() as connection:
            connection.execute(delete(tables.role).where(tables.role.c.name == name))

    def list(self) -> list[Role]:
        """All that are known, alive or not."""
        with self._database.read() as connection:
            rows = connection.execute(select(tables.role).order_by(tables.role.c.role, tables.role.c.name)).all()
        return [Role(**row._mapping) for row in rows]

    def is_alive(self, role: Role) -> bool:
        """Whether a process was heard of lately."""
        return abs(self._clock.now() - role.beat_at) < timedelta(seconds=DEAD_S)
