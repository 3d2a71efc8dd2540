"""Jobs of the night: let run within quotas, taken back when the window closes, counted and timed for the plan.

What a night has had of its quota is read from the events, so that a missed or doubled wake-up changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from statistics import fmean
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, func, literal_column, or_, select

from oculard.clock import Clock
from oculard.job import JobEvent, JobState
from oculard.night import Window
from oculard.store import tables
from oculard.store.claims import is_first
from oculard.store.database import Database
from oculard.store.portions import PAUSE_S, PORTION, portions
from oculard.store.queue import Queue
from oculard.store.roles import DEAD_S

ACTOR = "night"  # who releases and withdraws, in the events
OVER = "night-over"
AHEAD = 2000  # so many jobs of a family are let run at most before the workers have begun them: the rest follows
MEASURED = 200  # the newest reports of an estimator tell how long its next job takes
SHORTEST_S = 0.001
LINE_MAX = 200_000  # more than any night can reach

WAITING = tables.job.c.state == literal_column("'waiting'")  # spelt out, for the sake of its partial index
OF_NIGHT = tables.job.c.run_window == "night"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many night jobs of one kind have not begun."""

    family: str
    estimator: str
    priority: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Jobs of one kind that stand in line one behind the other."""

    family: str
    estimator: str
    is_night: bool
    is_queued: bool  # let run already
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How long the newest jobs of an estimator took here."""

    mean_s: float
    p90_s: float
    reports: int


class NightJobs:
    """The queue of jobs, as the night sees it."""

    def __init__(self, database: Database, clock: Clock, queue: Queue) -> None:
        self._database, self._clock, self._queue = database, clock, queue

    def release(self, window: Window, quotas: Mapping[str, int]) -> int:
        """Let waiting jobs run, by family up to what is left of its quota, the most urgent first. Says how many.

        What an earlier night has left in the queue is taken back first: it counts against this night's quota.
        """
        self._withdraw(_left_over(window))
        with self._database.read() as connection:
            families = list(_distinct(connection, tables.job.c.family, WAITING))
        return sum(self._release_family(family, window, quotas.get(family)) for family in families)

    def withdraw(self) -> int:
        """The window is closed: what nobody has begun waits again. Says how many."""
        return self._withdraw()

    def used(self, window: Window) -> dict[str, int]:
        """By family, how many jobs this night has let run and has not taken back."""
        with self._database.read() as connection:
            return {row.family: row.used for row in connection.execute(_used(window)).all()}

    def waiting(self) -> list[Waiting]:
        """What has not begun, let run or not, the most urgent first."""
        table = tables.job
        kind = (table.c.family, table.c.estimator, table.c.priority)
        query = select(*kind, func.count().label("count")).where(OF_NIGHT).group_by(*kind)
        query = query.where(table.c.state.in_((JobState.WAITING, JobState.QUEUED)))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.priority, table.c.family, table.c.estimator)).all()
        return [Waiting(**row._mapping) for row in rows]

    def line(self) -> list[Run]:
        """What will be claimed, in that order: night jobs, and day jobs that nobody has begun."""
        table = tables.job
        query = select(table.c.family, table.c.estimator, table.c.run_window, table.c.state)
        query = query.where(or_(table.c.state == JobState.QUEUED, WAITING)).order_by(table.c.priority, table.c.id)
        with self._database.read() as connection:
            kinds = groupby(tuple(row) for row in connection.execute(query.limit(LINE_MAX)))
            return [
                Run(
                    family=family,
                    estimator=estimator,
                    is_night=window == "night",
                    is_queued=state == JobState.QUEUED,
                    count=sum(1 for _ in run),
                )
                for (family, estimator, window, state), run in kinds
            ]

    def speeds(self) -> dict[str, Speed]:
        """By estimator, how long its newest jobs took here that were done."""
        with self._database.read() as connection:
            names = list(_distinct(connection, tables.report.c.estimator))
            found = ((name, _speed(connection, name)) for name in names)
            return {name: speed for name, speed in found if speed is not None}

    def workers(self) -> int:
        """How many workers are alive."""
        role, alive = tables.role, self._clock.now() - timedelta(seconds=DEAD_S)
        query = select(func.count()).select_from(role).where(role.c.role == "worker", role.c.beat_at > alive)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def _release_family(self, family: str, window: Window, quota: int | None) -> int:
        count = 0
        while self._has_room(family, window, quota):
            moved = self._release_some(family, window, quota)
            count += moved
            if moved < PORTION:
                break
            self._clock.sleep(PAUSE_S)
        return count

    def _has_room(self, family: str, window: Window, quota: int | None) -> bool:
        with self._database.read() as connection:  # no write lock where nothing may be let run
            return self._room(connection, family, window, quota) > 0

    def _release_some(self, family: str, window: Window, quota: int | None) -> int:
        table, now = tables.job, self._clock.now()
        query = select(table.c.id).where(WAITING, OF_NIGHT, table.c.family == family, is_first())
        query = query.order_by(table.c.priority, table.c.id).limit(PORTION)
        with self._database.write() as connection:
            # Locked first, counted then: of two that release at once, the second counts what the first has done.
            ids = connection.execute(query.with_for_update()).scalars().all()
            chosen = ids[: max(0, self._room(connection, family, window, quota))]
            return self._move(connection, chosen, JobState.WAITING, JobEvent.RELEASE, run_after=now, reason=None)

    def _room(self, connection: Connection, family: str, window: Window, quota: int | None) -> int:
        """How many more may run now: of what a family's quota leaves, no more than can soon begin."""
        table = tables.job
        queued = select(func.count()).where(table.c.state == JobState.QUEUED, OF_NIGHT, table.c.family == family)
        room = AHEAD - int(connection.execute(queued).scalar_one())
        return room if quota is None else min(room, quota - self._spent(connection, family, window))

    def _spent(self, connection: Connection, family: str, window: Window) -> int:
        """How much of the family's quota this night has had."""
        return sum(row.used for row in connection.execute(_used(window)) if row.family == family)

    def _withdraw(self, *where: ColumnElement[bool]) -> int:
        table, count = tables.job, 0
        query = select(table.c.id).where(table.c.state == JobState.QUEUED, OF_NIGHT, *where)
        with self._database.read() as connection:
            ids = connection.execute(query).scalars().all()
        for some in portions(ids, self._clock):
            with self._database.write() as connection:
                count += self._move(connection, some, JobState.QUEUED, JobEvent.WITHDRAW, reason=OVER)
        return count

    def _move(
        self, connection: Connection, ids: Sequence[int], source: JobState, event: JobEvent, **columns: Any
    ) -> int:
        return sum(
            self._queue.move(connection, row_id, source, event, actor=ACTOR, guard=OF_NIGHT, **columns)
            for row_id in ids
        )


def _left_over(window: Window) -> ColumnElement[bool]:
    """Not let run by this night."""
    event = tables.event
    released = (
        select(event.c.id)
        .where(event.c.kind == "job", event.c.subject_id == tables.job.c.id, event.c.name == JobEvent.RELEASE)
        .where(event.c.actor == ACTOR, event.c.at >= window.start)
        .exists()
    )
    return ~released


def _used(window: Window) -> Select[tuple[str, int]]:
    """By family, the jobs that this night has let run and not taken back."""
    event, later, table = tables.event, tables.event.alias("later"), tables.job
    withdrawn = (
        select(later.c.id)
        .where(later.c.kind == "job", later.c.subject_id == event.c.subject_id)
        .where(later.c.id > event.c.id, later.c.name == JobEvent.WITHDRAW)
        .exists()
    )
    return (
        select(table.c.family, func.count(event.c.subject_id.distinct()).label("used"))
        # An outer join, though each event has its job: SQLite would go through all jobs of all years.
        .join_from(event, table, table.c.id == event.c.subject_id, isouter=True)
        .where(event.c.at >= window.start, event.c.at < window.end)
        .where(event.c.kind == "job", event.c.name == JobEvent.RELEASE, event.c.actor == ACTOR, ~withdrawn)
        .group_by(table.c.family)
    )


def _distinct(connection: Connection, column: Column[str], *where: ColumnElement[bool]) -> Iterator[str]:
    """The values of an index's first column, each found by one step in the index."""
    value = ""
    while value is not None:
        value = connection.execute(select(func.min(column)).where(column > value, *where)).scalar_one()
        if value is not None:
            yield value


def _speed(connection: Connection, estimator: str) -> Speed | None:
    """Of the jobs that were done: an ungradable image or a failure ends at once, and says nothing of the next job."""
    report, job = tables.report, tables.job
    done = (job.c.state == JobState.REPORTED, job.c.generation == report.c.generation)
    query = select(report.c.took).join_from(report, job, job.c.id == report.c.job_id)
    query = query.where(report.c.estimator == estimator, *done).order_by(report.c.id.desc()).limit(MEASURED)
    took = sorted(sum(stages.values()) for stages in connection.execute(query).scalars())
    if not took:
        return None
    p90_s = took[math.ceil(0.9 * len(took)) - 1]
    return Speed(mean_s=max(SHORTEST_S, fmean(took)), p90_s=max(SHORTEST_S, p90_s), reports=len(took))
