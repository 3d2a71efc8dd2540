"""The storage commitment answers that we owe devices: kept before the request is acknowledged, tried until given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from oculard.clock import Clock
from oculard.job import ANSWER, DeliveryEvent, DeliveryState
from oculard.store import tables
from oculard.store.alarms import clear_alarm, raise_alarm
from oculard.store.database import Database, insert_or
from oculard.store.events import record
from oculard.store.queue import Queue, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer that is owed, with the ticket to give it."""

    ticket: Ticket
    transaction_uid: str
    calling_ae: str
    called_ae: str
    address: str
    items: tuple[tuple[str, str], ...]  # (SOP class UID, SOP instance UID)


class Answers:
    """The queue of answers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.queue = Queue(database, clock, tables.answer, ANSWER)

    def owe(
        self, *, transaction_uid: str, calling_ae: str, called_ae: str, address: str, items: Sequence[tuple[str, str]]
    ) -> None:
        """Keep a request durably; the same transaction asked twice is one answer."""
        now, table = self._clock.now(), tables.answer
        with self._database.write() as connection:
            new = insert_or(connection, table).values(
                transaction_uid=transaction_uid,
                calling_ae=calling_ae,
                called_ae=called_ae,
                address=address,
                items=[list(item) for item in items],
                created_at=now,
                state=DeliveryState.PENDING,
                run_after=now,
                changed_at=now,
            )
            row = connection.execute(new.on_conflict_do_nothing().returning(table.c.id)).first()
            if row is not None:
                actor = f"{calling_ae}@{address}"
                record(connection, at=now, kind="answer", subject_id=row.id, study_id=None, name="asked", actor=actor)

    def resend(self, *, actor: str) -> int:
        """A person gives parked answers another try. Says how many."""
        table, now = tables.answer, self._clock.now()
        with self._database.write() as connection:
            parked = connection.execute(select(table.c.id).where(table.c.state == DeliveryState.PARKED)).scalars().all()
            return sum(
                self.queue.move(
                    connection,
                    row_id,
                    DeliveryState.PARKED,
                    DeliveryEvent.RESEND,
                    actor=actor,
                    run_after=now,
                    attempts=0,
                    reason=None,
                )
                for row_id in parked
            )

    def claim(self, owner: str, *, lease_s: float) -> Answer | None:
        """The next answer to give, if one is due."""
        tickets = self.queue.claim(owner, lease_s=lease_s)
        if not tickets:
            return None
        table = tables.answer
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == tickets[0].id)).one()
        return Answer(
            ticket=tickets[0],
            transaction_uid=row.transaction_uid,
            calling_ae=row.calling_ae,
            called_ae=row.called_ae,
            address=row.address,
            items=tuple((sop_class, sop_instance) for sop_class, sop_instance in row.items),
        )

    def settle(self, answer: Answer, event: DeliveryEvent, *, reason: str | None, delay_s: float) -> None:
        """End the lease. A device that waits in vain is an alarm, until it is given an answer. Raises LeaseLost."""
        subject, now = answer.calling_ae, self._clock.now()
        with self._database.write() as connection:
            self.queue.settle_in(connection, answer.ticket, event, reason=reason, delay_s=delay_s)
            if event is DeliveryEvent.PARK:
                raise_alarm(connection, name="commitment-unanswered", subject=subject, at=now)
            elif event is DeliveryEvent.DONE:
                clear_alarm(connection, name="commitment-unanswered", subject=subject, at=now)
