"""Reports on their way: claimed by peer, sent, committed to, and resent when a peer stays silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, or_, select, update

from oculard.clock import ASTRAY, Clock
from oculard.job import DELIVERY, DeliveryEvent, DeliveryState, backoff_s
from oculard.store import objects, tables
from oculard.store.alarms import clear_alarm, raise_alarm
from oculard.store.database import Database
from oculard.store.objects import ReportObject, SentObject
from oculard.store.picks import Pick
from oculard.store.queue import Queue, Ticket

SILENCES_ALARM = 3
PICKS = 64  # that are kept: two a peer
ORPHANS_MAX = 1000  # in one transaction; the next call parks the rest
PEER_UNKNOWN = "peer-unknown"
UNCOMMITTED_S_MAX = 900.0  # longest pause before sending again what a peer took and did not commit to


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One report, all its objects, to send to one peer, with the ticket to do so."""

    ticket: Ticket
    peer: str
    report_id: int
    objects: tuple[ReportObject, ...]  # in the order in which they are sent: the SR last

    @property
    def sop_instance_uid(self) -> str:
        """The SR's: the report is known by it."""
        return self.objects[-1].sop_instance_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A storage commitment to ask for: persisted under its transaction before it is asked."""

    transaction_uid: str
    items: tuple[tuple[str, str], ...]  # (SOP class UID, SOP instance UID) as the peer took them


class Deliveries:
    """The queue of deliveries."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.queue = Queue(database, clock, tables.delivery, DELIVERY, study=_study())

    def claim(self, owner: str, peer: str, *, lease_s: float, limit: int) -> list[Delivery]:
        """What waits for one peer: the untried together, oldest first; then each that was tried, alone.

        What was tried before may be what broke an association or killed its sender: it must not take others along.
        """
        tickets = self.queue.claim(owner, _untried(peer, limit), lease_s=lease_s)
        if not tickets:
            tickets = self.queue.claim(owner, _tried(peer), lease_s=lease_s)
        if not tickets:
            return []
        by_id = {ticket.id: ticket for ticket in tickets}
        table = tables.delivery
        query = select(table.c.id, table.c.report_id).where(table.c.id.in_(by_id)).order_by(table.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            found = objects.of_reports(connection, [row.report_id for row in rows])
        return [
            Delivery(ticket=by_id[row.id], peer=peer, report_id=row.report_id, objects=found[row.report_id])
            for row in rows
        ]

    def took(self, delivery: Delivery, sent: Sequence[SentObject], *, awaits_commitment: bool) -> None:
        """The peer has what it accepts of the report; the delivery is done, or waits for the peer's commitment.

        Raises LeaseLost.
        """
        with self._database.write() as connection:
            self.queue.settle_in(
                connection,
                delivery.ticket,
                DeliveryEvent.SENT if awaits_commitment else DeliveryEvent.DONE,
                reason=objects.left_out(sent),
                sent_at=self._clock.now(),
                transaction_uid=None,
            )
            objects.write_sent(connection, delivery.ticket.id, sent)

    def begin_commitment(self, peer: str, transaction_uid: str, *, limit: int) -> Commitment | None:
        """Put what the peer took and was not asked about yet under one transaction, durably, before it is asked."""
        table = tables.delivery
        unasked = (table.c.peer == peer, table.c.state == DeliveryState.SENT, table.c.transaction_uid.is_(None))
        with self._database.read() as connection:
            if connection.execute(select(table.c.id).where(*unasked).limit(1)).first() is None:
                return None
        with self._database.write() as connection:
            ids = (
                connection.execute(select(table.c.id).where(*unasked).order_by(table.c.id).limit(limit)).scalars().all()
            )
            asked = connection.execute(
                update(table)
                .where(table.c.id.in_(ids), *unasked)
                .values(transaction_uid=transaction_uid)
                .returning(table.c.id)
            )
            items = tuple(objects.taken(connection, asked.scalars().all()))
        return Commitment(transaction_uid=transaction_uid, items=items) if items else None

    def forget_commitment(self, transaction_uid: str) -> None:
        """The request could not be made: it will be made again under a new transaction."""
        table = tables.delivery
        with self._database.write() as connection:
            connection.execute(
                update(table).where(table.c.transaction_uid == transaction_uid).values(transaction_uid=None)
            )

    def commitment_answered(
        self, transaction_uid: str, *, committed: Iterable[str], failed: Iterable[tuple[str, int]], actor: str
    ) -> int:
        """Take a peer's answer: a delivery of which it commits to every object is delivered, one of which it denies any
        is sent again as a whole. Says how many moved.

        An unknown transaction moves nothing. Asking and answering twice, or piece by piece, is harmless.
        """
        moved, denied = 0, dict(failed)
        with self._database.write() as connection:
            rows = _under(connection, transaction_uid)
            promises = objects.promise(connection, [row.id for row in rows], set(committed), at=self._clock.now())
            for row in rows:
                found = promises[row.id]
                statuses = [denied[uid] for uid in found.uids if uid in denied]
                if statuses:
                    reason = f"commitment-failed-{statuses[0]:04x}"
                    moved += self._uncommit(connection, row, reason=reason, actor=actor)
                elif found.is_whole:
                    moved += self._commit(connection, row, actor=actor)
            for peer in {row.peer for row in rows}:
                self._calm(connection, peer)
        return moved

    def awaits(self, transaction_uid: str) -> bool:
        """Whether an answer to this transaction would still move something."""
        table = tables.delivery
        waiting = (table.c.transaction_uid == transaction_uid, table.c.state == DeliveryState.SENT)
        with self._database.read() as connection:
            return connection.execute(select(table.c.id).where(*waiting).limit(1)).first() is not None

    def silent(self, peer: str, *, since: datetime, retry_s: float) -> int:
        """Send again what the peer took before `since` and never answered for; the third silence raises an alarm."""
        table, now = tables.delivery, self._clock.now()
        over = or_(table.c.sent_at < since, table.c.sent_at > now + ASTRAY)  # far ahead: the clock was set back
        late = (table.c.peer == peer, table.c.state == DeliveryState.SENT, over)
        with self._database.read() as connection:
            rows = connection.execute(select(table.c.id, table.c.silences).where(*late)).all()
        if not rows:
            return 0
        with self._database.write() as connection:
            for row in rows:
                self.queue.move(
                    connection,
                    row.id,
                    DeliveryState.SENT,
                    DeliveryEvent.SILENCE,
                    actor=peer,
                    reason="commitment-silent",
                    attempts=0,  # it went through: it is no suspect
                    silences=row.silences + 1,
                    transaction_uid=None,
                    run_after=now + timedelta(seconds=retry_s),
                )
                if row.silences + 1 >= SILENCES_ALARM:
                    raise_alarm(connection, name="commitment-silent", subject=peer, at=now)
        return len(rows)

    def has_parked(self, peer: str) -> bool:
        """Whether something for this peer waits for a person."""
        table = tables.delivery
        parked = (table.c.peer == peer, table.c.state == DeliveryState.PARKED)
        with self._database.read() as connection:
            return connection.execute(select(table.c.id).where(*parked).limit(1)).first() is not None

    def has_tried(self, peer: str, *, attempts: int) -> bool:
        """Whether something was tried so often and still waits for this peer."""
        table = tables.delivery
        tried = (table.c.peer == peer, table.c.attempts >= attempts, table.c.state == DeliveryState.PENDING)
        with self._database.read() as connection:
            return connection.execute(select(table.c.id).where(*tried).limit(1)).first() is not None

    def orphans(self, known: Collection[str], *, actor: str) -> Counter[str]:
        """Park what waits for a peer that is in no configuration any more, with an alarm. Counts by peer."""
        table, parked = tables.delivery, Counter[str]()
        waiting = table.c.state.in_((DeliveryState.PENDING, DeliveryState.SENT))
        query = select(table.c.id, table.c.peer, table.c.state).where(waiting, table.c.peer.not_in(known))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.id).limit(ORPHANS_MAX)).all()
        if not rows:
            return parked
        with self._database.write() as connection:
            for row in rows:
                state, event = DeliveryState(row.state), DeliveryEvent.PARK
                if self.queue.move(connection, row.id, state, event, actor=actor, reason=PEER_UNKNOWN):
                    parked[row.peer] += 1
            for peer in parked:
                raise_alarm(connection, name=PEER_UNKNOWN, subject=peer, at=self._clock.now())
        return parked

    def resend(
        self, *, peer: str | None = None, delivery_id: int | None = None, to: str | None = None, actor: str
    ) -> int:
        """A person sends parked deliveries again; `to` another peer, unless it has the report. Says how many."""
        table, moved = tables.delivery, 0
        query = select(table.c.id).where(table.c.state == DeliveryState.PARKED)
        if peer is not None:
            query = query.where(table.c.peer == peer)
        if delivery_id is not None:
            query = query.where(table.c.id == delivery_id)
        if to is not None:
            has = table.alias("has")
            query = query.where(~exists().where(has.c.report_id == table.c.report_id, has.c.peer == to))
        with self._database.write() as connection:
            for row_id in connection.execute(query).scalars().all():
                changed = self.queue.move(
                    connection,
                    row_id,
                    DeliveryState.PARKED,
                    DeliveryEvent.RESEND,
                    actor=actor,
                    run_after=self._clock.now(),
                    attempts=0,
                    reason=None,
                    **({} if to is None else _addressed(to)),
                )
                if changed and to is not None:
                    objects.forget_sent(connection, row_id)
                moved += changed
            self._found(connection)
        return moved

    def _found(self, connection: Connection) -> None:
        """The alarm of an unknown peer goes when nothing is parked for want of it."""
        table, alarm = tables.delivery, tables.alarm
        parked = select(table.c.peer).where(table.c.state == DeliveryState.PARKED, table.c.reason == PEER_UNKNOWN)
        over = (alarm.c.name == PEER_UNKNOWN, alarm.c.cleared_at.is_(None), alarm.c.subject.not_in(parked))
        for subject in connection.execute(select(alarm.c.subject).where(*over)).scalars().all():
            clear_alarm(connection, name=PEER_UNKNOWN, subject=subject, at=self._clock.now())

    def _commit(self, connection: Connection, row: Row[Any, Any, Any], *, actor: str) -> bool:
        return self.queue.move(connection, row.id, DeliveryState.SENT, DeliveryEvent.COMMIT, actor=actor)

    def _uncommit(self, connection: Connection, row: Row[Any, Any, Any], *, reason: str, actor: str) -> bool:
        """Send again what the peer took and does not promise to keep, later each time; the third time alarms."""
        now, silences = self._clock.now(), row.silences + 1
        moved = self.queue.move(
            connection,
            row.id,
            DeliveryState.SENT,
            DeliveryEvent.UNCOMMIT,
            actor=actor,
            reason=reason,
            attempts=0,  # it went through: it is no suspect
            silences=silences,
            transaction_uid=None,
            run_after=now + timedelta(seconds=backoff_s(silences, longest_s=UNCOMMITTED_S_MAX)),
        )
        if moved and silences >= SILENCES_ALARM:
            raise_alarm(connection, name="commitment-failed", subject=row.peer, at=now)
        return moved

    def _calm(self, connection: Connection, peer: str) -> None:
        """A peer's alarms go when nothing is left to which it did not commit three times."""
        table = tables.delivery
        failing = (table.c.peer == peer, table.c.silences >= SILENCES_ALARM, table.c.state.not_in(DELIVERY.ends))
        if connection.execute(select(table.c.id).where(*failing).limit(1)).first() is None:
            for name in ("commitment-silent", "commitment-failed"):
                clear_alarm(connection, name=name, subject=peer, at=self._clock.now())


@lru_cache(PICKS)
def _untried(peer: str, limit: int) -> Pick:
    table = tables.delivery
    return Pick(where=(table.c.peer == peer, table.c.attempts == 0), limit=limit)


@lru_cache(PICKS)
def _tried(peer: str) -> Pick:
    table = tables.delivery
    return Pick(where=(table.c.peer == peer, table.c.attempts > 0), order=(table.c.attempts,))


def _under(connection: Connection, transaction_uid: str) -> Sequence[Row[Any, Any, Any]]:
    """The deliveries of a transaction, locked: two answers at once must see each other's promises."""
    table = tables.delivery
    query = select(table.c.id, table.c.peer, table.c.silences).where(table.c.transaction_uid == transaction_uid)
    return connection.execute(query.order_by(table.c.id).with_for_update()).all()


def _addressed(peer: str) -> dict[str, Any]:
    """The columns of a delivery to another peer, which has taken and promised nothing yet."""
    return {"peer": peer, "silences": 0, "sent_at": None, "transaction_uid": None}


def _study() -> ColumnElement[Any]:
    """The study of a delivery's report."""
    report = tables.report
    return select(report.c.study_id).where(report.c.id == tables.delivery.c.report_id).scalar_subquery()
