"""Claims: which jobs a worker may have now, and which of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import ColumnElement, Connection, false, or_, select

from oculard.job import JOB, JobState
from oculard.night import Hours
from oculard.store import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a worker is given: jobs of one estimator, so that they can share a batch."""

    where: Sequence[ColumnElement[bool]]
    limit: int


def choose(connection: Connection, now: datetime, *, limit: int, attempts_max: int, hours: Hours) -> Choice | None:
    """The most urgent job, and what may go with it; None when nothing is ready."""
    table = tables.job
    may = (table.c.attempts <= attempts_max, is_first(), _in_hours(hours, now))
    ready = select(table.c.id, table.c.family, table.c.estimator, table.c.run_window, table.c.attempts)
    ready = ready.where(table.c.state == JobState.QUEUED, table.c.run_after <= now, *may)
    first = connection.execute(ready.order_by(table.c.priority, table.c.id).limit(1)).first()
    if first is None:
        return None
    # What a worker has died of, or met trouble with, is tried alone: it must not spend its neighbours' attempts.
    company = table.c.attempts == 0 if first.attempts == 0 else table.c.id == first.id
    where = [table.c.family == first.family, table.c.estimator == first.estimator, company, *may]
    fitting = hours.fitting(first.estimator, now)
    if first.run_window == "night":
        return Choice(where=where, limit=min(limit, fitting))
    if fitting < limit:
        where.append(table.c.run_window == "now")  # a full batch would carry night jobs past the window
    return Choice(where=where, limit=limit)


@cache
def is_first() -> ColumnElement[bool]:
    """The job it amends, if any, has ended: else the amended report could not name its predecessor."""
    earlier = tables.job.alias("earlier")
    ended = (
        select(earlier.c.id).where(earlier.c.id == tables.job.c.after_job_id, earlier.c.state.in_(JOB.ends)).exists()
    )
    return or_(tables.job.c.after_job_id.is_(None), ended)


def _in_hours(hours: Hours, now: datetime) -> ColumnElement[bool]:
    """A night job may begin only if it is expected to end before the window does; a day job always may."""
    table = tables.job
    fitting = [name for name in hours.expected_s if hours.fitting(name, now)]
    measured = table.c.estimator.in_(fitting)
    first = table.c.estimator.not_in(list(hours.expected_s)) if hours.fitting("", now) else false()
    return or_(table.c.run_window == "now", measured, first)
