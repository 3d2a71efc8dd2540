"""Studies: open while something may still come, settled when the plan has been made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, exists, select, update

from oculard.clock import Clock
from oculard.job import Order
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.events import record
from oculard.store.jobs import Jobs
from oculard.store.retrievals import is_being_brought

BEAT_DEAD_S = 120  # an open association that has not been heard of for so long belonged to a killed process


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One instance in custody, as settling and planning see it."""

    id: int
    sop_instance_uid: str
    sop_class_uid: str
    variant: int
    sha256: str
    sender: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study that has not settled."""

    id: int
    active_at: datetime
    is_receiving: bool  # an association that brought some of it is still open, or a back-fill has not brought all


class Studies:
    """Settling."""

    def __init__(self, database: Database, clock: Clock, jobs: Jobs) -> None:
        self._database, self._clock, self._jobs = database, clock, jobs

    def open(self) -> list[OpenStudy]:
        """All that are open, the longest quiet first."""
        study, reception = tables.study, tables.reception
        now, dead = self._clock.now(), timedelta(seconds=BEAT_DEAD_S)
        lately = reception.c.beat_at.between(now - dead, now + dead)  # far ahead: the clock was set back
        calling = exists().where(reception.c.study_id == study.c.id, lately)
        receiving = calling | is_being_brought()
        query = select(study.c.id, study.c.active_at, receiving.label("receiving")).where(study.c.state == "open")
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(study.c.active_at)).all()
        return [OpenStudy(id=row.id, active_at=row.active_at, is_receiving=bool(row.receiving)) for row in rows]

    def instances(self, study_id: int) -> list[Kept]:
        """What we hold of a study."""
        with self._database.read() as connection:
            return _kept(connection, study_id)

    def settle(
        self,
        study_id: int,
        *,
        active_at: datetime | None,
        decide: Callable[[Sequence[Kept]], Sequence[Order]],
        actor: str,
        why: str,
    ) -> list[int] | None:
        """Settle a study: plan it and order its jobs in one transaction. Gives the new jobs.

        None when an instance arrived since `active_at` was read (None settles without that look, as a person may).
        """
        now, table = self._clock.now(), tables.study
        with self._database.write() as connection:
            still = [table.c.id == study_id, table.c.state == "open"]
            if active_at is not None:
                still.append(table.c.active_at == active_at)
            settled = connection.execute(
                update(table).where(*still).values(state="settled", settled_at=now, settlings=table.c.settlings + 1)
            )
            if settled.rowcount == 0:
                return None
            connection.execute(delete(tables.reception).where(tables.reception.c.study_id == study_id))
            record(
                connection,
                at=now,
                kind="study",
                subject_id=study_id,
                study_id=study_id,
                name="settled",
                actor=actor,
                reason=why,
            )
            return self._jobs.orders.put(connection, study_id, self._plan(connection, study_id, decide), actor=actor)

    def _plan(
        self, connection: Connection, study_id: int, decide: Callable[[Sequence[Kept]], Sequence[Order]]
    ) -> Sequence[Order]:
        """The plan's orders. What is new is ordered on the images that are still there; done is done with all of them.

        Without the second look, one removed image that comes back would give a poorer report than the first.
        """
        kept, gone = _kept(connection, study_id), _removed(connection, study_id)
        orders = decide(kept)
        new = self._jobs.orders.unknown(connection, study_id, orders) if gone else []
        if all(gone.isdisjoint(order.instance_ids) for order in new):
            return orders
        return decide([image for image in kept if image.id not in gone])


def _kept(connection: Connection, study_id: int) -> list[Kept]:
    """The instances of a study; of a UID that came with different bytes, the first copy only."""
    table = tables.instance
    rows = connection.execute(
        select(*(table.c[name] for name in Kept.__dataclass_fields__))
        .where(table.c.study_id == study_id, table.c.variant == 0)
        .order_by(table.c.id)
    ).all()
    return [Kept(**row._mapping) for row in rows]


def _removed(connection: Connection, study_id: int) -> set[int]:
    """The instances of a study whose files retention has removed."""
    table = tables.instance
    query = select(table.c.id).where(table.c.study_id == study_id, table.c.removed_at.is_not(None))
    return set(connection.execute(query).scalars())
