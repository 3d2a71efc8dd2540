"""Leased work in a table: claim, settle, renew, reap. One class serves jobs, deliveries and answers alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Table,
    bindparam,
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
from oculard.store.picks import ANY, Pick
from oculard.store.statements import any_ready, claimed_rows, move, parameters, ready_rows, split


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


class Claimed(NamedTuple):
    """A claimed row's ticket, and what was read along with it: a row or more."""

    ticket: Ticket
    rows: Sequence[Row[Any]]


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
        # Of a row of the table; null where rows belong to none.
        self._study_of = cast(null(), BigInteger) if study is None else study
        self._is_holder = table.c.lease_owner == bindparam("given_holder")

    def claim(self, owner: str, pick: Pick = ANY, *, lease_s: float) -> list[Ticket]:
        """Take the ready rows of a pick. The attempt is counted here, before the work."""
        return [claimed.ticket for claimed in self.claim_rows(owner, pick, lease_s=lease_s)]

    def claim_rows(self, owner: str, pick: Pick, *, lease_s: float) -> list[Claimed]:
        """The same, with what the pick reads along."""
        if self._database.is_sqlite and not self._is_any_ready(pick):
            return []  # no write lock for an empty queue
        with self._database.single() as connection:
            return self.claim_in(connection, owner, pick, lease_s=lease_s)

    def claim_in(self, connection: Connection, owner: str, pick: Pick, *, lease_s: float) -> list[Claimed]:
        """The same, inside a transaction."""
        now = self._clock.now()
        until = now + timedelta(seconds=lease_s)
        if connection.dialect.name == "postgresql":
            rows = self._claim_at_once(connection, pick, now, owner, until)
        else:
            rows = self._claim_each(connection, pick, now, owner, until)
        return [self._claimed(owner, list(of_one)) for _, of_one in groupby(rows, key=attrgetter("id"))]

    def _claim_at_once(
        self, connection: Connection, pick: Pick, now: datetime, owner: str, until: datetime
    ) -> Sequence[Row[Any]]:
        machine = self.machine
        given = {"held": machine.held, "now": now, "owner": owner, "until": until}
        told = self._told(machine.ready, machine.claim, now, actor=owner)
        query = claim_at_once(self.table, machine.ready, self._study_of, pick)
        return connection.execute(query, parameters("given_", given) | parameters("event_", told)).all()

    def _claim_each(
        self, connection: Connection, pick: Pick, now: datetime, owner: str, until: datetime
    ) -> Sequence[Row[Any]]:
        """One after another: whoever writes to SQLite is alone."""
        machine, study, lease = self.machine, self._study_of, {"lease_owner": owner, "lease_until": until}
        rows = connection.execute(ready_rows(self.table, machine.ready, study, pick), {"given_now": now}).all()
        for row in rows:
            change = {"study_id": row.study, "attempts": row.attempts, **lease}
            taken = self.move(connection, row.id, machine.ready, machine.claim, actor=owner, **change)
            assert taken, "nobody else writes meanwhile"
        if pick.reads is None or not rows:
            return rows
        places = {row.id: place for place, row in enumerate(rows)}
        found = connection.execute(claimed_rows(self.table, study, pick), {"given_ids": list(places)}).all()
        return sorted(found, key=lambda row: places[row.id])

    def _claimed(self, owner: str, rows: Sequence[Row[Any]]) -> Claimed:
        first = rows[0]
        return Claimed(Ticket(id=first.id, study_id=first.study, attempts=first.attempts, owner=owner), rows)

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
        now, target = self._clock.now(), self.machine.target(source, event)
        if target is not self.machine.held:
            columns = {"lease_owner": None, "lease_until": None, **columns}
        plain, computed = split({"state": target, "changed_at": now, **columns})
        guards = (() if held_by is None else (self._is_holder,)) + (() if guard is None else (guard,))
        moved = move(self.table, tuple(plain), computed, guards)
        given = {"given_id": row_id, "given_state": source, **parameters("new_", plain)}
        if held_by is not None:
            given["given_holder"] = held_by
        told = self._told(source, event, now, actor=actor, reason=columns.get("reason"))
        if connection.dialect.name == "postgresql":
            statement = move_at_once(moved, self._study_of)
            changed = connection.execute(statement, given | parameters("event_", told)).rowcount
        elif changed := connection.execute(moved, given).rowcount:
            known = self._study(connection, row_id) if study_id is None else study_id
            record(connection, subject_id=row_id, study_id=known, **told)
        assert changed in (0, 1), f"one row must move, not {changed}"
        return changed == 1

    def _told(
        self, source: StrEnum, event: StrEnum, now: datetime, *, actor: str, reason: str | None = None
    ) -> dict[str, Any]:
        """What the record says of a move."""
        target = self.machine.target(source, event)
        told = {"at": now, "kind": self.machine.name, "name": event, "source": source, "target": target}
        return told | {"actor": actor, "reason": reason}

    def counts(self) -> dict[str, int]:
        """How many rows stand in each state."""
        with self._database.read() as connection:
            rows = connection.execute(select(self.table.c.state, func.count()).group_by(self.table.c.state)).all()
        return {row[0]: row[1] for row in rows}

    def _is_any_ready(self, pick: Pick) -> bool:
        query, given = any_ready(self.table, self.machine.ready, pick), {"given_now": self._clock.now()}
        with self._database.read() as connection:
            return connection.execute(query, given).first() is not None

    def _study(self, connection: Connection, row_id: int) -> int | None:
        query = select(self._study_of).select_from(self.table).where(self.table.c.id == row_id)
        study_id: int | None = connection.execute(query).scalar_one()
        return study_id
