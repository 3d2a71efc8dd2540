"""Annotating again: settled studies whose newest results are of another bundle than serves now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from oculard.clock import Clock
from oculard.job import AMENDS, JOB, Order
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.jobs import Jobs
from oculard.store.studies import Kept

DAY = "%Y%m%d"
Decide = Callable[[Sequence[Kept]], Sequence[Order]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What the plan would do again of one study, or what was ordered."""

    orders: tuple[Order, ...] = ()
    under_way: int = 0  # such jobs have not ended yet: they go first
    removed: int = 0  # such jobs need images that retention has removed
    jobs: tuple[int, ...] = ()  # the new jobs, where they were ordered


class Reannotations:
    """Looks for what another bundle has done, and orders it again. The older reports stay."""

    def __init__(self, database: Database, clock: Clock, jobs: Jobs) -> None:
        self._database, self._clock, self._jobs = database, clock, jobs

    def studies(self, first: date, last: date, zone: ZoneInfo) -> list[int]:
        """The settled studies whose first image was taken on these days; received, where no image says when."""
        study, instance = tables.study, tables.instance
        taken = func.min(func.nullif(instance.c.facts["acquired_at"].as_string(), "")).label("taken")
        query = (
            select(study.c.id, study.c.first_received_at, taken)
            .join_from(study, instance)
            .where(study.c.state == "settled")
            .group_by(study.c.id, study.c.first_received_at)
            .order_by(study.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        begins, ends = first.strftime(DAY), last.strftime(DAY)
        return [row.id for row in rows if begins <= _day_of(row.taken, row.first_received_at, zone) <= ends]

    def look(self, study_id: int, decide: Decide) -> Again:
        """What would be ordered; nothing for a study that has not settled: it is planned when it does."""
        with self._database.read() as connection:
            return self._look(connection, study_id, decide)

    def order(self, study_id: int, decide: Decide, *, actor: str) -> Again:
        """Order it, in one transaction; asking twice changes nothing."""
        seen = self.look(study_id, decide)
        if not seen.orders:
            return seen  # no write lock where there is nothing to do
        with self._database.write() as connection:
            locked = select(tables.study.c.id).where(tables.study.c.id == study_id).with_for_update()
            connection.execute(locked).one()
            found = self._look(connection, study_id, decide)
            jobs = self._jobs.orders.put(connection, study_id, found.orders, actor=actor)
            return Again(orders=found.orders, under_way=found.under_way, removed=found.removed, jobs=tuple(jobs))

    def _look(self, connection: Connection, study_id: int, decide: Decide) -> Again:
        study, table = tables.study, tables.instance
        state = connection.execute(select(study.c.state).where(study.c.id == study_id)).scalar_one()
        if state != "settled":
            return Again()
        columns = [table.c[name] for name in Kept.__dataclass_fields__]
        rows = connection.execute(
            select(*columns, table.c.removed_at)
            .where(table.c.study_id == study_id, table.c.variant == 0)
            .order_by(table.c.id)
        ).all()
        kept = [Kept(**{name: getattr(row, name) for name in Kept.__dataclass_fields__}) for row in rows]
        new = self._jobs.orders.unknown(connection, study_id, decide(kept))
        removed = {row.id for row in rows if row.removed_at is not None}
        free = [order for order in new if not _is_under_way(connection, study_id, order)]
        orders = tuple(order for order in free if removed.isdisjoint(order.instance_ids))
        return Again(orders=orders, under_way=len(new) - len(free), removed=len(free) - len(orders))


def _is_under_way(connection: Connection, study_id: int, order: Order) -> bool:
    """Whether a job whose report this one would amend has not ended."""
    table = tables.job
    same = (table.c.study_id == study_id, table.c.family == order.family, table.c.eye.in_(AMENDS[order.eye]))
    query = select(table.c.id).where(*same, table.c.state.not_in(JOB.ends)).limit(1)
    return connection.execute(query).first() is not None


def _day_of(taken: str | None, received_at: datetime, zone: ZoneInfo) -> str:
    """A study's day as DICOM DA."""
    return taken[:8] if taken and taken[:8].isdecimal() else received_at.astimezone(zone).strftime(DAY)
