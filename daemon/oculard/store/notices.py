"""What people are to be told by e-mail, chat or webhook: kept once, tried until every address has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from oculard.clock import Clock
from oculard.job import NOTICE, DeliveryEvent, DeliveryState
from oculard.store import tables
from oculard.store.database import Database, insert_or
from oculard.store.events import record
from oculard.store.picks import Pick
from oculard.store.queue import Queue, Ticket

NIGHT, ALARM = "night", "alarm"
SUBJECT_MAX = 200
LEAST_TRIED = Pick(order=(tables.notice.c.attempts,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a notice says: as text, and as HTML for those that show it."""

    title: str
    text: str
    html: str | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(words, str) and words for words in (self.title, self.text)):
            raise ValueError("a notice has a title and a text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notice that is owed, with the ticket to give it."""

    ticket: Ticket
    kind: str
    subject: str
    content: Content
    taken: frozenset[str]  # fingerprints of the addresses that have it


class Notices:
    """The queue of notices."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.queue = Queue(database, clock, tables.notice, NOTICE)

    def tell(self, kind: str, subject: str, content: Mapping[str, str | None]) -> bool:
        """Keep a notice durably: its title, text and html. One subject of a kind is told once; says if it is new."""
        with self._database.write() as connection:
            return self.tell_in(connection, kind, subject, content)

    def tell_in(self, connection: Connection, kind: str, subject: str, content: Mapping[str, str | None]) -> bool:
        """As `tell`, inside a transaction that also remembers what was told of."""
        now, table = self._clock.now(), tables.notice
        new = insert_or(connection, table).values(
            kind=kind,
            subject=subject[:SUBJECT_MAX],
            content=asdict(Content(**content)),  # type: ignore[arg-type]  # it looks itself
            taken=[],
            created_at=now,
            state=DeliveryState.PENDING,
            run_after=now,
            changed_at=now,
        )
        row = connection.execute(new.on_conflict_do_nothing().returning(table.c.id)).first()
        if row is not None:
            record(connection, at=now, kind="notice", subject_id=row.id, study_id=None, name="written", actor="upkeep")
        return row is not None

    def claim(self, owner: str, *, lease_s: float) -> Notice | None:
        """The next notice to give, if one is due: the one that was tried least."""
        tickets, table = self.queue.claim(owner, LEAST_TRIED, lease_s=lease_s), tables.notice
        if not tickets:
            return None
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == tickets[0].id)).one()
        return Notice(
            ticket=tickets[0],
            kind=row.kind,
            subject=row.subject,
            content=Content(**row.content),
            taken=frozenset(row.taken),
        )

    def settle(
        self,
        notice: Notice,
        event: DeliveryEvent,
        *,
        taken: Iterable[str],
        reason: str | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """End the lease, and keep who has it by now. Raises LeaseLost."""
        columns: dict[str, Any] = {"taken": sorted(taken)}
        self.queue.settle(notice.ticket, event, reason=reason, delay_s=delay_s, **columns)

    def forget(self, *, before: datetime) -> int:
        """Delete what ended before that moment, given or parked. Says how many."""
        table = tables.notice
        old = (table.c.state.in_(NOTICE.ends), table.c.changed_at < before)
        with self._database.write() as connection:
            return connection.execute(delete(table).where(*old)).rowcount

    def resend(self, *, actor: str) -> int:
        """A person gives parked notices another try; who has one already is not told again. Says how many."""
        table, now = tables.notice, self._clock.now()
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
