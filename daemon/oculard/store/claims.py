"""Claims: which jobs a worker may have now, and which of them together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, FromClause, Select, or_, select

from oculard.job import JOB, JobState
from oculard.night import Hours
from oculard.store import tables
from oculard.store.picks import Pick
from oculard.store.statements import NOW, number, word

PICKS = 64  # that are kept: a worker asks for the same few again and again
URGENT = (tables.job.c.priority,)
ALONG = ("family", "eye", "estimator", "generation", "hindered")  # of a job, beside its images


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every job must meet to be claimed now: a night job begins only if it is expected to end in time."""

    attempts_max: int
    fitting: tuple[str, ...]  # the estimators whose night jobs are
    strange: tuple[str, ...] | None  # those of all estimators but these are, too; None: of none

    @classmethod
    def at(cls, now: datetime, hours: Hours, *, attempts_max: int) -> Self:
        """The terms of a moment; they change a few times a night."""
        measured = tuple(sorted(hours.expected_s))
        fitting = tuple(name for name in measured if hours.fitting(name, now))
        return cls(attempts_max=attempts_max, fitting=fitting, strange=measured if hours.fitting("", now) else None)


def choose(connection: Connection, now: datetime, terms: Terms, hours: Hours, *, limit: int) -> Pick | None:
    """The most urgent job and what may go with it; None when nothing is ready."""
    first = connection.execute(_most_urgent(terms), {"given_now": now}).first()
    if first is None:
        return None
    if first.attempts > 0:
        # What a worker has died of, or met trouble with, is tried alone: it must not spend its neighbours' attempts.
        return alone(terms)
    fitting = hours.fitting(first.estimator, now)
    if first.run_window == "night":
        return _together(terms, first.family, first.estimator, limit=min(limit, fitting))
    if fitting < limit:  # a full batch would carry night jobs past the window
        return _together(terms, first.family, first.estimator, limit=limit, window="now")
    return _together(terms, first.family, first.estimator, limit=limit)


@lru_cache(PICKS)
def alone(terms: Terms) -> Pick:
    """The most urgent job."""
    return Pick(where=_met(terms), order=URGENT, reads=images)


@lru_cache(PICKS)
def _together(terms: Terms, family: str, estimator: str, *, limit: int, window: str | None = None) -> Pick:
    """Untried jobs of one estimator."""
    table = tables.job
    same = (table.c.family == family, table.c.estimator == estimator, table.c.attempts == number(0))
    in_window = () if window is None else (table.c.run_window == word(window),)
    return Pick(where=(*same, *_met(terms), *in_window), order=URGENT, limit=limit, reads=images)


@lru_cache(PICKS)
def _most_urgent(terms: Terms) -> Select[Any]:
    table = tables.job
    columns = (table.c.family, table.c.estimator, table.c.run_window, table.c.attempts)
    is_due = (table.c.state == word(JobState.QUEUED), table.c.run_after <= NOW)
    return select(*columns).where(*is_due, *_met(terms)).order_by(*URGENT, table.c.id).limit(number(1))


@cache
def is_first() -> ColumnElement[bool]:
    """The job it amends, if any, has ended: else the amended report could not name its predecessor."""
    earlier = tables.job.alias("earlier")
    is_over = earlier.c.state.in_([word(state) for state in sorted(JOB.ends)])
    ended = select(earlier.c.id).where(earlier.c.id == tables.job.c.after_job_id, is_over).exists()
    return or_(tables.job.c.after_job_id.is_(None), ended)


def _met(terms: Terms) -> tuple[ColumnElement[bool], ...]:
    table = tables.job
    in_hours = [table.c.run_window == word("now")]
    if terms.fitting:
        in_hours.append(table.c.estimator.in_(terms.fitting))
    if terms.strange is not None:
        in_hours.append(table.c.estimator.not_in(terms.strange))
    return table.c.attempts <= number(terms.attempts_max), is_first(), or_(*in_hours)


def images(rows: Select[Any], jobs: FromClause) -> Select[Any]:
    """Of each job what a worker must know, and a row for each of its images, in the order in which they came."""
    given, image = tables.job_input, tables.instance
    columns = (*(jobs.c[name] for name in ALONG), image.c.sop_instance_uid, image.c.path, image.c.facts)
    joined = jobs.outerjoin(given, given.c.job_id == jobs.c.id).outerjoin(image, image.c.id == given.c.instance_id)
    return rows.add_columns(*columns).select_from(joined).order_by(image.c.id)
