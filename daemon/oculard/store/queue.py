"""Leased work in a table: claim, settle, renew, reap. One class serves jobs, deliveries and answers alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    cast,
    func,
    null,
    or_,
    select,
    update,
)

from oculard.clock import ASTRAY, Clock
from oculard.errors import OculardError
from oculard.job import Machine
from oculard.store.at_once import claim_at_once, move_at_once
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
        study: ColumnElement[Any] | None = None,
    ) -> None:
        self._database, self._clock = database, clock
        self.table, self.machine = table, machine
        self._study_of = (
            cast(null(), BigInteger) if study is None else study
        )  # of a row of the table; null where rows belong to none

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
        if not self._ready(self._clock.now(), where):
            return []  # no write lock for an empty queue
        with self._database.single() as connection:
            return self.claim_in(connection, owner, lease_s=lease_s, limit=limit, where=where, order=order)

    def claim_in(
        self,
        connection: Connection,
        owner: str,
        *,
        lease_s: float,
        limit: int,
        where: Sequence[ColumnElement[bool]],
        order: Sequence[Any] = (),
    ) -> list[Ticket]:
        """As `claim`, inside a transaction that also reads what was claimed."""
        table, now = self.table, self._clock.now()
        ready = select(table.c.id).where(table.c.state == self.machine.ready, table.c.run_after <= now, *where)
        ready = ready.order_by(*order, table.c.id).limit(limit)
        lease = {"lease_owner": owner, "lease_until": now + timedelta(seconds=lease_s)}
        if connection.dialect.name == "postgresql":
            rows = self._claim_at_once(connection, ready, order, now, lease)
        else:
            rows = self._claim_each(connection, ready, lease)
        return [Ticket(id=row.id, study_id=row.study_id, attempts=row.attempts, owner=owner) for row in rows]

    def _claim_at_once(
        self,
        connection: Connection,
        ready: Select[tuple[int]],
        order: Sequence[Any],
        now: datetime,
        lease: dict[str, Any],
    ) -> Sequence[Row[Any, Any, Any]]:
        machine = self.machine
        values = {"state": machine.held, "changed_at": now, "attempts": self.table.c.attempts + 1, **lease}
        event = {"at": now, "kind": machine.name, "name": machine.claim, "source": machine.ready}
        event |= {"target": machine.held, "actor": lease["lease_owner"]}
        return claim_at_once(connection, self.table, ready, self._study_of, order, values, event)

    def _claim_each(
        self, connection: Connection, ready: Select[tuple[int]], lease: dict[str, Any]
    ) -> Sequence[Row[Any, Any, Any]]:
        """One after another: whoever writes to SQLite is alone."""
        table, machine = self.table, self.machine
        rows = connection.execute(
            ready.with_only_columns(
                table.c.id, (table.c.attempts + 1).label("attempts"), self._study_of.label("study_id")
            )
        ).all()
        for row in rows:
            taken = self.move(
                connection,
                row.id,
                machine.ready,
                machine.claim,
                actor=lease["lease_owner"],
                study_id=row.study_id,
                attempts=row.attempts,
                **lease,
            )
            assert taken, "nobody else writes meanwhile"
        return rows

    def settle(
        self, ticket: Ticket, event: StrEnum, *, reason: str | None = None, delay_s: float = 0.0, **columns: Any
    ) -> None:
        """End the lease with an event. Raises LeaseLost when the ticket is no longer the holder's."""
        with self._database.single() as connection:
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
            study_id=ticket.study_id,
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
        """Give back every row whose lease has ended, or whose holder is known to be dead. Says how many.

        A lease that was taken in the future is over: the clock was set back, and its end may be years away.
        """
        table, now = self.table, self._clock.now()
        ended = or_(table.c.lease_until < now, table.c.changed_at > now + ASTRAY)
        over = ended if dead_owner is None else table.c.lease_owner == dead_owner
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

    def recall(self) -> int:
        """Let at once what was put off before the clock was set back: its time may be years away. Says how many."""
        table, now = self.table, self._clock.now()
        astray = (table.c.state == self.machine.ready, table.c.run_after > now, table.c.changed_at > now + ASTRAY)
        with self._database.read() as connection:
            if connection.execute(select(table.c.id).where(*astray).limit(1)).first() is None:
                return 0
        with self._database.write() as connection:
            return connection.execute(update(table).where(*astray).values(run_after=now, changed_at=now)).rowcount

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
        study_id: int | None = None,
        held_by: str | None = None,
        guard: ColumnElement[bool] | None = None,
        **columns: Any,
    ) -> bool:
        """Compare and swap one row along one move of the machine, and record it. False when the row had moved on.

        Its study is looked up where the caller does not know it.
        """
        table, now = self.table, self._clock.now()
        target = self.machine.target(source, event)
        if target is not self.machine.held:
            columns = {"lease_owner": None, "lease_until": None, **columns}
        conditions = [table.c.id == row_id, table.c.state == source]
        if held_by is not None:
            conditions.append(table.c.lease_owner == held_by)
        if guard is not None:
            conditions.append(guard)
        moved = update(table).where(and_(*conditions)).values(state=target, changed_at=now, **columns)
        told: dict[str, Any] = {"at": now, "kind": self.machine.name, "name": event, "source": source, "target": target}
        told |= {"actor": actor, "reason": columns.get("reason")}
        if connection.dialect.name == "postgresql":
            changed = move_at_once(connection, moved, self._study_of, told)
        elif changed := connection.execute(moved).rowcount:
            known = self._study(connection, row_id) if study_id is None else study_id
            record(connection, subject_id=row_id, study_id=known, **told)
        assert changed in (0, 1), f"one row must move, not {changed}"
        return changed == 1

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
        query = select(self._study_of).select_from(self.table).where(self.table.c.id == row_id)
        study_id: int | None = connection.execute(query).scalar_one()
        return study_id
