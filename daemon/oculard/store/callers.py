"""Who may send: those of the configuration, and those whom a person allowed after they had been refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Update, delete, select, update

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.database import Database, insert_or
from oculard.store.events import record

KEPT_MAX = 1000  # of the refused: a port scan must not fill the table, the oldest goes for the newest


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
    commitment_port: int | None  # where it listens for our storage commitment answers


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
            if again.rowcount:
                return
            oldest = select(table.c.id).where(table.c.state == "refused").order_by(table.c.last_at.desc())
            oldest = oldest.order_by(table.c.id.desc()).offset(KEPT_MAX - 1)
            connection.execute(delete(table).where(table.c.id.in_(oldest)))
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
        query = select(tables.caller.c.id).where(*_allowed(calling_ae, address))
        with self._database.read() as connection:
            return connection.execute(query.order_by(tables.caller.c.id).limit(1)).scalar_one_or_none()

    def commitment_port(self, *, calling_ae: str, address: str) -> int | None:
        """Where such an allowed caller listens for storage commitment answers, if a person said so."""
        port = tables.caller.c.commitment_port
        query = select(port).where(*_allowed(calling_ae, address), port.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query.order_by(tables.caller.c.id).limit(1)).scalar_one_or_none()

    def allow(self, number: int, *, actor: str, commitment_port: int | None = None) -> Caller | None:
        """Let this caller in; without a port it keeps the one it has. None when there is nobody of that number."""
        columns = {} if commitment_port is None else {"commitment_port": commitment_port}
        change = update(tables.caller).where(tables.caller.c.id == number).values(state="allowed", **columns)
        return self._decide(change, "allow", actor)

    def remove(self, number: int, *, actor: str) -> Caller | None:
        """Refuse an allowed caller from its next association on. None when nobody of that number is allowed."""
        table = tables.caller
        change = update(table).where(table.c.id == number, table.c.state == "allowed")
        return self._decide(change.values(state="refused", commitment_port=None), "remove", actor)

    def list(self, *, state: str | None = None) -> list[Caller]:
        """All of one state, or all; the latest first."""
        table = tables.caller
        query = select(table).order_by(table.c.last_at.desc(), table.c.id.desc())
        if state is not None:
            query = query.where(table.c.state == state)
        with self._database.read() as connection:
            return [Caller(**row._mapping) for row in connection.execute(query).all()]

    def _decide(self, change: Update, name: str, actor: str) -> Caller | None:
        """What a person decided about one caller, recorded with who did."""
        with self._database.write() as connection:
            row = connection.execute(change.returning(tables.caller)).first()
            if row is None:
                return None
            caller, now = Caller(**row._mapping), self._clock.now()
            record(
                connection,
                at=now,
                kind="caller",
                subject_id=caller.id,
                study_id=None,
                name=name,
                target=caller.state,
                actor=actor,
            )
        return caller


def _allowed(calling_ae: str, address: str) -> tuple[ColumnElement[bool], ...]:
    table = tables.caller
    return table.c.calling_ae == calling_ae, table.c.address == address, table.c.state == "allowed"
