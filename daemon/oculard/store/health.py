"""How the work goes, as questions to the tables: what waits too long, what fails too often, which clock is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select

from oculard.clock import Clock
from oculard.job import JOB, DeliveryEvent, DeliveryState, JobEvent, JobState
from oculard.store import tables
from oculard.store.database import Database

ANEW = (JobEvent.RELEASE, JobEvent.REQUEUE)  # since then a job may run; a retry is no new beginning
OWED_ANEW = (DeliveryEvent.RESEND, DeliveryEvent.UNCOMMIT, DeliveryEvent.SILENCE)  # since then a report is due


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How many jobs ended in a while, and how many of them failed."""

    jobs: int
    failed: int


class Health:
    """Questions of the watchdog; nothing here writes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def is_silent(self, peer: str, *, since: datetime) -> bool:
        """Whether a report has been due for this peer since that moment, and the peer has taken nothing since."""
        table = tables.delivery
        waiting = table.c.state.in_((DeliveryState.PENDING, DeliveryState.SENDING))
        due = (table.c.peer == peer, waiting, table.c.created_at <= since, ~_again("delivery", OWED_ANEW, since))
        took = (table.c.peer == peer, table.c.sent_at > since)
        with self._database.read() as connection:
            return _any(connection, *due) and not _any(connection, *took)

    def old_families(self, *, since: datetime) -> set[str]:
        """The families of which a job could have run since that moment, and has not ended.

        One that waits for its night could not; one that is tried again and again could.
        """
        table = tables.job
        ready = (table.c.state.in_((JobState.QUEUED, JobState.RUNNING)), table.c.created_at <= since)
        query = select(table.c.family).where(*ready, ~_again("job", ANEW, since)).distinct()
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def ended(self, *, since: datetime) -> Ended:
        """Of the jobs that ended since that moment and did not begin anew, how many failed."""
        event, table = tables.event, tables.job
        query = (
            select(table.c.state, func.count(event.c.subject_id.distinct()))
            .join_from(event, table, table.c.id == event.c.subject_id)
            .where(event.c.at >= since, event.c.kind == JOB.name, event.c.target.in_(JOB.ends))
            .where(table.c.state.in_(JOB.ends))
            .group_by(table.c.state)
        )
        with self._database.read() as connection:
            counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(query).all()}
        return Ended(jobs=sum(counts.values()), failed=counts.get(JobState.FAILED, 0))

    def database_ahead_s(self) -> float:
        """How far the database server's clock is ahead of ours; 0 where the database has none of its own."""
        if self._database.is_sqlite:
            return 0.0
        before = self._clock.now()
        with self._database.read() as connection:
            theirs: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        after = self._clock.now()
        if before <= theirs <= after:
            return 0.0
        return (theirs - (after if theirs > after else before)).total_seconds()

    def events_ahead_s(self) -> float:
        """How far the newest event lies in our future; 0 when it does not."""
        with self._database.read() as connection:
            newest: datetime | None = connection.execute(select(func.max(tables.event.c.at))).scalar_one()
        return 0.0 if newest is None else max(0.0, (newest - self._clock.now()).total_seconds())


def _again(kind: str, names: tuple[JobEvent, ...] | tuple[DeliveryEvent, ...], since: datetime) -> ColumnElement[bool]:
    """Whether the row of the outer query began anew after that moment."""
    event, table = tables.event, tables.metadata.tables[kind]
    return (
        select(event.c.id)
        .where(event.c.kind == kind, event.c.subject_id == table.c.id, event.c.name.in_(names), event.c.at > since)
        .exists()
    )


def _any(connection: Connection, *where: ColumnElement[bool]) -> bool:
    return connection.execute(select(tables.delivery.c.id).where(*where).limit(1)).first() is not None
