"""Who may send: those of the configuration, and those whom a person allowed after they had been refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, update

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.database import Database, insert_or

KEPT_MAX = 1000  # a port scan must not fill the table: beyond this only the known ones are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who called without being in the configuration."""

    id: int
    calling_ae: str
    called_ae: str
    address: str
    state: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    proposed: list[Any]


class Callers:
    """The refused and the allowed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def refused(self, *, calling_ae: str, called_ae: str, address: str, reason: str, proposed: list[Any]) -> None:
        """Keep a refusal with its reason and what was proposed."""
        now, table = self._clock.now(), tables.caller
        with self._database.write() as connection:
            again = connection.execute(
                update(table)
                .where(table.c.calling_ae == calling_ae, table.c.called_ae == called_ae, table.c.address == address)
                .values(count=table.c.count + 1, last_at=now, reason=reason, proposed=proposed)
            )
            full = connection.execute(select(func.count()).select_from(table)).scalar_one() >= KEPT_MAX
            if again.rowcount or full:
                return
            new = insert_or(connection, table).values(
                calling_ae=calling_ae,
                called_ae=called_ae,
                address=address,
                state="refused",
                reason=reason,
                count=1,
                first_at=now,
                last_at=now,
                proposed=proposed,
            )
            connection.execute(new.on_conflict_do_nothing())

    def allowed_id(self, *, calling_ae: str, address: str) -> int | None:
        """The number of the caller whom a person allowed with this AE title from this address, if there is one."""
        table = tables.caller
        query = select(table.c.id).where(
            table.c.calling_ae == calling_ae, table.c.address == address, table.c.state == "allowed"
        )
        with self._database.read() as connection:
            return connection.execute(query.order_by(table.c.id).limit(1)).scalar_one_or_none()

    def allow(self, who: str) -> list[Caller]:
        """Let in everyone with this number, AE title or address; gives whom it let in."""
        table = tables.caller
        same = or_(table.c.calling_ae == who, table.c.address == who)
        if who.isdecimal():
            same = or_(same, table.c.id == int(who))
        with self._database.write() as connection:
            rows = connection.execute(update(table).where(same).values(state="allowed").returning(table)).all()
        return [Caller(**row._mapping) for row in rows]

    def list(self, *, state: str | None = None) -> list[Caller]:
        """All of one state, or all; the latest first."""
        table = tables.caller
        query = select(table).order_by(table.c.last_at.desc(), table.c.id.desc())
        if state is not None:
            query = query.where(table.c.state == state)
        with self._database.read() as connection:
            return [Caller(**row._mapping) for row in connection.execute(query).all()]
