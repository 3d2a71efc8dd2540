"""Retrievals: the studies of back-fills, claimed by fetchers, settled when what came has been counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, exists, select, union, update

from oculard.clock import Clock
from oculard.job import RETRIEVAL, RetrievalEvent, RetrievalState, Wish
from oculard.store import tables
from oculard.store.backfills import ACTIVE, in_turn
from oculard.store.database import Database
from oculard.store.picks import Pick
from oculard.store.queue import Queue, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """One study in a fetcher's hands."""

    ticket: Ticket
    backfill_id: int
    study_instance_uid: str
    wish: Wish
    was_asked: bool = False  # the archive was asked to send it before


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is in custody of one study, by series; without objects that came twice with other bytes."""

    study_id: int | None = None
    present: Mapping[str, int] = field(default_factory=dict)
    known: Mapping[str, int] = field(default_factory=dict)  # present, or removed by retention
    ours: frozenset[str] = frozenset()  # series of our own reports: the archive has them from us


class Retrievals:
    """The queue of studies that are to be fetched."""

    def __init__(self, database: Database, clock: Clock, queue: Queue) -> None:
        self._database, self._clock, self._queue = database, clock, queue

    def claim(
        self, owner: str, archive: str, *, anytime_only: bool, lease_s: float, after: int = 0
    ) -> Retrieval | None:
        """The next study to fetch from an archive, of the order whose turn it is after the one that had it last."""
        backfill, table = tables.backfill, tables.retrieval
        turn = _next_order(archive, self._clock.now(), anytime_only=anytime_only, after=after)
        tickets = self._queue.claim(owner, Pick(where=(table.c.backfill_id == turn,)), lease_s=lease_s)
        if not tickets:
            return None
        columns = (table.c.backfill_id, table.c.study_instance_uid, table.c.asked_at)
        query = select(*columns, backfill.c.families, backfill.c.anytime)
        query = query.join_from(table, backfill).where(table.c.id == tickets[0].id)
        with self._database.read() as connection:
            row = connection.execute(query).one()
        return Retrieval(
            ticket=tickets[0],
            backfill_id=row.backfill_id,
            study_instance_uid=row.study_instance_uid,
            wish=_wish(row.families, row.anytime),
            was_asked=row.asked_at is not None,
        )

    def ask(self, retrieval: Retrieval) -> None:
        """Remember that the archive is asked to send now. Where nothing is here, what comes comes by this back-fill."""
        table, uid, now = tables.retrieval, retrieval.study_instance_uid, self._clock.now()
        same = (table.c.study_instance_uid == uid, table.c.id != retrieval.ticket.id)
        with self._database.write() as connection:
            brings = int(not _is_any_present(connection, uid))
            first = (table.c.id == retrieval.ticket.id, table.c.asked_at.is_(None))
            asked = connection.execute(update(table).where(*first).values(asked_at=now, brings=brings))
            if asked.rowcount and brings:  # what others brought has been annotated and removed
                over = table.c.state.in_(RETRIEVAL.ends)
                connection.execute(update(table).where(*same, over).values(brings=0))

    def join(self, retrieval: Retrieval) -> None:
        """Give this order a say in a study that another one has brought, and that has not settled yet."""
        table, other, study = tables.retrieval, tables.retrieval.alias("other"), tables.study
        uid = retrieval.study_instance_uid
        is_open = exists().where(study.c.study_instance_uid == uid, study.c.state == "open")
        is_brought = exists().where(other.c.study_instance_uid == uid, other.c.brings == 1)
        with self._database.write() as connection:
            mine = update(table).where(table.c.id == retrieval.ticket.id, is_open, is_brought)
            connection.execute(mine.values(brings=1))

    def settle(
        self,
        retrieval: Retrieval,
        event: RetrievalEvent,
        *,
        expected: Mapping[str, int] | None = None,
        held: Mapping[str, int] | None = None,
        **columns: Any,
    ) -> None:
        """End the lease with what the archive said and what was counted, where that is known. Raises LeaseLost."""
        counted = {"expected": expected, "held": held}
        columns |= {name: dict(value) for name, value in counted.items() if value is not None}
        self._queue.settle(retrieval.ticket, event, **columns)

    def held(self, study_instance_uid: str) -> Held:
        """What is in custody of a study."""
        table, study = tables.instance, tables.study
        with self._database.read() as connection:
            study_id = connection.execute(
                select(study.c.id).where(study.c.study_instance_uid == study_instance_uid)
            ).scalar_one_or_none()
            if study_id is None:
                return Held()
            query = select(table.c.series_instance_uid, table.c.removed_at)
            rows = connection.execute(query.where(table.c.study_id == study_id, table.c.variant == 0)).all()
            return Held(
                study_id=study_id,
                present=Counter(row.series_instance_uid for row in rows if row.removed_at is None),
                known=Counter(row.series_instance_uid for row in rows),
                ours=_ours(connection, study_id),
            )

    def wish(self, study_id: int) -> Wish:
        """What the back-fills that brought a study want done with it; nothing special where a device sent it."""
        backfill, table, study = tables.backfill, tables.retrieval, tables.study
        query = (
            select(backfill.c.families, backfill.c.anytime)
            .join_from(table, backfill)
            .join(study, brought())
            .where(study.c.id == study_id)
        )
        with self._database.read() as connection:
            wishes = [_wish(row.families, row.anytime) for row in connection.execute(query).all()]
        if not wishes:
            return Wish()
        families = {family for wish in wishes for family in wish.families}
        every = any(not wish.families for wish in wishes)
        return Wish(
            families=() if every else tuple(sorted(families)), window="night" if all(w.window for w in wishes) else None
        )


def brought() -> ColumnElement[bool]:
    """A study that came by a retrieval: nothing of it was here when the archive was asked."""
    table, study = tables.retrieval, tables.study
    return (table.c.study_instance_uid == study.c.study_instance_uid) & (table.c.brings == 1)


def is_being_brought() -> ColumnElement[bool]:
    """Whether a back-fill that goes on has not brought all of a study yet: it must not settle by halves."""
    backfill, table = tables.backfill, tables.retrieval
    under_way = table.c.state.in_((RetrievalState.WANTED, RetrievalState.RETRIEVING))
    return (
        exists()
        .where(brought(), under_way, backfill.c.id == table.c.backfill_id, backfill.c.state.in_(ACTIVE))
        .correlate(tables.study)
    )


def _next_order(archive: str, now: datetime, *, anytime_only: bool, after: int) -> ScalarSelect[int]:
    """Of the orders that have a study which may be fetched now, the one whose turn it is."""
    backfill, ready = tables.backfill, tables.retrieval.alias("ready")
    is_ready = (ready.c.state == RetrievalState.WANTED, ready.c.run_after <= now)
    has_one = exists().where(ready.c.backfill_id == backfill.c.id, *is_ready)
    query = select(backfill.c.id).where(backfill.c.archive == archive, backfill.c.state.in_(ACTIVE), has_one)
    if anytime_only:
        query = query.where(backfill.c.anytime == 1)
    return query.order_by(*in_turn(after)).limit(1).scalar_subquery()


def _is_any_present(connection: Connection, study_instance_uid: str) -> bool:
    """Whether an image of a study is here that retention has not removed."""
    table, study = tables.instance, tables.study
    query = select(table.c.id).join_from(table, study).where(study.c.study_instance_uid == study_instance_uid)
    return connection.execute(query.where(table.c.removed_at.is_(None)).limit(1)).first() is not None


def _ours(connection: Connection, study_id: int) -> frozenset[str]:
    report, companion = tables.report, tables.report_object
    of_reports: Select[tuple[str]] = select(report.c.series_instance_uid).where(report.c.study_id == study_id)
    of_companions = (
        select(companion.c.series_instance_uid).join_from(companion, report).where(report.c.study_id == study_id)
    )
    return frozenset(connection.execute(union(of_reports, of_companions)).scalars())


def _wish(families: list[str], anytime: int) -> Wish:
    return Wish(families=tuple(families), window=None if anytime else "night")
