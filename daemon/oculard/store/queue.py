"""Leased work in a table: claim, settle, renew, reap. One class serves jobs, deliveries and answers alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, select, update

from oculard.clock import Clock
from oculard.errors import OculardError
from oculard.job import Machine
from oculard.store.database import Database
from oculard.store.events import record


class LeaseLost(OculardError):
    """Somebody else holds the row now, or it has been settled: what was done must be thrown away."""

    reason = "lease-lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The right to work on one row until the lease ends."""

    id: int
    study_id: int | None
    attempts: int
    owner: str


class Queue:
    """The leased rows of one table, moved by one machine."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        table: Table,
        machine: Machine,
        study_of: Callable[[Any], Any] | None = None,
    ) -> None:
        self._database, self._clock = database, clock
        self.table, self.machine = table, machine
        self._study_of = study_of  # SQL expression for the study of a row; None when rows belong to no study

    def claim(
        self,
        owner: str,
        *,
        lease_s: float,
        limit: int = 1,
        where: Sequence[ColumnElement[bool]] = (),
        order: Sequence[Any] = (),
    ) -> list[Ticket]:
        """Take up to `limit` ready rows. The attempt is counted here, before the work."""
        table, now = self.table, self._clock.now()
        if not self._ready(now, where):
            return []  # no write lock for an empty queue
        tickets = []
        with self._database.write() as connection:
            query = (
                select(table.c.id, table.c.attempts)
                .where(table.c.state == self.machine.ready, table.c.run_after <= now, *where)
                .order_by(*order, table.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True, of=table)
            )
            for row in connection.execute(query).all():
                taken = self.move(
                    connection,
                    row.id,
                    self.machine.ready,
                    self.machine.claim,
                    actor=owner,
                    lease_owner=owner,
                    lease_until=now + timedelta(seconds=lease_s),
                    attempts=row.attempts + 1,
                )
                if taken:
                    study_id = self._study(connection, row.id)
                    tickets.append(Ticket(id=row.id, study_id=study_id, attempts=row.attempts + 1, owner=owner))
        return tickets

    def settle(
        self, ticket: Ticket, event: StrEnum, *, reason: str | None = None, delay_s: float = 0.0, **columns: Any
    ) -> None:
        """End the lease with an event. Raises LeaseLost when the ticket is no longer the holder's."""
        with self._database.write() as connection:
            self.settle_in(connection, ticket, event, reason=reason, delay_s=delay_s, **columns)

    def settle_in(
        self,
        connection: Connection,
        ticket: Ticket,
        event: StrEnum,
        *,
        reason: str | None = None,
        delay_s: float = 0.0,
        **columns: Any,
    ) -> None:
        """As `settle`, inside a transaction that also writes what the work gave."""
        settled = self.move(
            connection,
            ticket.id,
            self.machine.held,
            event,
            actor=ticket.owner,
            held_by=ticket.owner,
            reason=reason,
            run_after=self._clock.now() + timedelta(seconds=delay_s),
            **columns,
        )
        if not settled:
            raise LeaseLost(f"{self.machine.name} {ticket.id} is no longer held by {ticket.owner}")

    def renew(self, tickets: Sequence[Ticket], *, lease_s: float) -> None:
        """Prolong the leases that are still ours."""
        table = self.table
        with self._database.write() as connection:
            for ticket in tickets:
                connection.execute(
                    update(table)
                    .where(
                        table.c.id == ticket.id, table.c.state == self.machine.held, table.c.lease_owner == ticket.owner
                    )
                    .values(lease_until=self._clock.now() + timedelta(seconds=lease_s))
                )

    def reap(self, *, dead_owner: str | None = None) -> int:
        """Give back every row whose lease has ended, or whose holder is known to be dead. Says how many."""
        table, now = self.table, self._clock.now()
        over = table.c.lease_until < now if dead_owner is None else table.c.lease_owner == dead_owner
        with self._database.read() as connection:
            found = (
                connection.execute(select(table.c.id).where(table.c.state == self.machine.held, over)).scalars().all()
            )
        if not found:
            return 0
        with self._database.write() as connection:
            return sum(
                self.move(
                    connection, row, self.machine.held, self.machine.lost, actor="upkeep", guard=over, run_after=now
                )
                for row in found
            )

    def holders(self) -> set[str]:
        """Who holds a lease."""
        query = select(self.table.c.lease_owner).where(self.table.c.state == self.machine.held).distinct()
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def move(
        self,
        connection: Connection,
        row_id: int,
        source: StrEnum,
        event: StrEnum,
        *,
        actor: str,
        held_by: str | None = None,
        guard: ColumnElement[bool] | None = None,
        **columns: Any,
    ) -> bool:
        """Compare and swap one row along one move of the machine, and record it. False when the row had moved on."""
        table, now = self.table, self._clock.now()
        target = self.machine.target(source, event)
        if target is not self.machine.held:
            columns = {"lease_owner": None, "lease_until": None, **columns}
        conditions = [table.c.id == row_id, table.c.state == source]
        if held_by is not None:
            conditions.append(table.c.lease_owner == held_by)
        if guard is not None:
            conditions.append(guard)
        changed = connection.execute(
            update(table).where(and_(*conditions)).values(state=target, changed_at=now, **columns)
        )
        if changed.rowcount != 1:
            assert changed.rowcount == 0, f"one row must move, not {changed.rowcount}"
            return False
        record(
            connection,
            at=now,
            kind=self.machine.name,
            subject_id=row_id,
            study_id=self._study(connection, row_id),
            name=event,
            source=source,
            target=target,
            actor=actor,
            reason=columns.get("reason"),
        )
        return True

    def counts(self) -> dict[str, int]:
        """How many rows stand in each state."""
        with self._database.read() as connection:
            rows = connection.execute(select(self.table.c.state, func.count()).group_by(self.table.c.state)).all()
        return {row[0]: row[1] for row in rows}

    def _ready(self, now: datetime, where: Sequence[ColumnElement[bool]]) -> bool:
        table = self.table
        query = select(table.c.id).where(table.c.state == self.machine.ready, table.c.run_after <= now, *where).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def _study(self, connection: Connection, row_id: int) -> int | None:
        if self._study_of is None:
            return None
        study_id: int | None = connection.execute(self._study_of(row_id)).scalar_one()
        return study_id
