"""What happened in a span of time, read from the events and from the rows they speak of. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Subquery, Table, and_, case, func, or_, select

from oculard.job import DELIVERY, JOB, RETRIEVAL, DeliveryState, JobEvent, JobState, Machine
from oculard.store import tables
from oculard.store.backfills import ACTIVE, gaps
from oculard.store.database import Database
from oculard.store.jobs import STAGES
from oculard.store.night_jobs import ACTOR

Row = dict[str, Any]
ENDED = (JobEvent.DONE, JobEvent.REJECT, JobEvent.GIVE_UP)
SLOWEST = 5
LISTED_MAX = 200  # rows of one list: more are counted elsewhere, and nobody reads them
UNFETCHED_MAX = 200_000  # studies of one back-fill


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From a moment up to another one, which is not in it any more."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError("a span ends after it has begun")


class Mornings:
    """Questions about a span. Each answer is a list of rows, or counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def has_begun(self, before: datetime) -> bool:
        """Whether anything had ever happened here before that moment."""
        with self._database.read() as connection:
            return (
                connection.execute(select(tables.event.c.id).where(tables.event.c.at < before).limit(1)).first()
                is not None
            )

    def events(self, span: Span) -> dict[str, dict[str, int]]:
        """Every event, counted by kind and name: spans that follow each other add up to the table."""
        event = tables.event
        query = select(event.c.kind, event.c.name, func.count()).where(*_within(event.c.at, span))
        counts: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for kind, name, count in connection.execute(query.group_by(event.c.kind, event.c.name)).all():
                counts.setdefault(kind, {})[name] = count
        return counts

    def received(self, span: Span) -> list[Row]:
        """Images that came, by sender and by what they turned out to be."""
        event, instance = tables.event, tables.instance
        came = event.join(instance, instance.c.id == event.c.subject_id)
        what = (event.c.kind == "instance", event.c.name.in_(("received", "duplicate", "differing-duplicate")))
        return self._counted(
            came, (instance.c.sender, event.c.name.label("outcome")), *what, *_within(event.c.at, span)
        )

    def ended(self, span: Span) -> list[Row]:
        """Jobs that ended, by family, estimator, how and why."""
        event, job = tables.event, tables.job
        what = (event.c.kind == "job", event.c.name.in_(ENDED))
        columns = (job.c.family, job.c.estimator, event.c.name.label("event"), event.c.reason)
        return self._counted(
            event.join(job, job.c.id == event.c.subject_id), columns, *what, *_within(event.c.at, span)
        )

    def took(self, span: Span) -> dict[tuple[str, str], float]:
        """By family and estimator, the mean of the seconds that a job took which got a report."""
        report, job = tables.report, tables.job
        query = select(job.c.family, report.c.estimator, func.avg(_seconds()))
        query = query.join_from(report, job, job.c.id == report.c.job_id).where(*_within(report.c.created_at, span))
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(job.c.family, report.c.estimator)).all()
        return {(family, estimator): mean_s for family, estimator, mean_s in rows}

    def slowest(self, span: Span) -> list[Row]:
        """The jobs with a report that took longest."""
        report, job = tables.report, tables.job
        query = select(report.c.job_id, job.c.family, job.c.eye, report.c.estimator, _seconds().label("seconds"))
        query = query.join_from(report, job, job.c.id == report.c.job_id).where(*_within(report.c.created_at, span))
        with self._database.read() as connection:
            return _rows(connection, query.order_by(_seconds().desc(), report.c.id).limit(SLOWEST))

    def models(self, span: Span) -> list[Row]:
        """Which weights made the reports."""
        report = tables.report
        columns = (report.c.estimator, report.c.weights_sha256, report.c.demonstration)
        return self._counted(report, columns, *_within(report.c.created_at, span))

    def not_reached(self, span: Span, window_start: datetime) -> list[Row]:
        """Night jobs that had not begun at the span's end, by family and whether this night had let them run."""
        event, job = tables.event, tables.job
        let_run = (
            select(event.c.id)
            .where(event.c.kind == "job", event.c.subject_id == job.c.id, event.c.name == JobEvent.RELEASE)
            .where(event.c.at >= window_start, event.c.at < span.end)
            .exists()
        )
        then = _states(job, JOB, span)
        query = select(job.c.family, case((let_run, 1), else_=0).label("let_run"))
        query = query.join_from(job, then, then.c.id == job.c.id)
        found = query.where(job.c.run_window == "night", then.c.state.in_((JobState.WAITING, JobState.QUEUED)))
        table = found.subquery()
        return self._counted(table, (table.c.family, table.c.let_run))

    def let_run(self, span: Span, window_start: datetime) -> dict[str, int]:
        """By family, how many jobs this night had let run: what it took of its quota."""
        event, job = tables.event, tables.job
        query = (
            select(job.c.family, func.count(event.c.subject_id.distinct()))
            .join_from(event, job, job.c.id == event.c.subject_id)
            .where(event.c.kind == "job", event.c.name == JobEvent.RELEASE, event.c.actor == ACTOR)
            .where(event.c.at >= window_start, event.c.at < span.end)
            .group_by(job.c.family)
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def deliveries(self, span: Span) -> list[Row]:
        """What became of deliveries, by peer, event and reason."""
        event, delivery = tables.event, tables.delivery
        columns = (delivery.c.peer, event.c.name.label("event"), event.c.reason)
        joined = event.join(delivery, delivery.c.id == event.c.subject_id)
        return self._counted(joined, columns, event.c.kind == "delivery", *_within(event.c.at, span))

    def owed(self, span: Span) -> list[Row]:
        """What stood with each peer at the span's end: on its way, or parked."""
        table, then = tables.delivery, _states(tables.delivery, DELIVERY, span)
        joined = table.join(then, then.c.id == table.c.id)
        return self._counted(joined, (table.c.peer, then.c.state), then.c.state != DeliveryState.DELIVERED)

    def failed_still(self, span: Span) -> int:
        """Jobs that failed and that nobody had requeued at the span's end."""
        event = tables.event
        failed = (event.c.kind == "job", event.c.name == JobEvent.GIVE_UP, *_within(event.c.at, span))
        query = select(func.count()).where(*failed, event.c.id == _newest("job", event.c.subject_id, span))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def new_senders(self, span: Span) -> list[str]:
        """Who sent for the first time ever."""
        event, instance = tables.event, tables.instance
        came = (
            select(instance.c.sender)
            .distinct()
            .join_from(event, instance, instance.c.id == event.c.subject_id)
            .where(event.c.kind == "instance", event.c.name == "received", *_within(event.c.at, span))
            .limit(LISTED_MAX)
        )
        before = select(instance.c.id).where(instance.c.received_at < span.start).limit(1)
        with self._database.read() as connection:
            senders = connection.execute(came).scalars().all()
            new = (name for name in senders if not connection.execute(before.where(instance.c.sender == name)).first())
            return sorted(new)

    def refused_callers(self, span: Span) -> list[Row]:
        """Who called and was not let in."""
        table = tables.caller
        who = (table.c.calling_ae, table.c.called_ae, table.c.address)
        called = or_(*(and_(*_within(at, span)) for at in (table.c.first_at, table.c.last_at)))
        columns = (*who, table.c.reason, table.c.count, table.c.first_at)
        return self._listed(table, columns, table.c.state == "refused", called)

    def alarms(self, span: Span) -> list[Row]:
        """Alarms that stood at some time of it; `cleared_at` is empty for those that stood at its end."""
        table = tables.alarm
        stood = (table.c.raised_at < span.end, or_(table.c.cleared_at.is_(None), table.c.cleared_at >= span.start))
        rows = self._listed(table, (table.c.name, table.c.subject, table.c.raised_at, table.c.cleared_at), *stood)
        for row in rows:
            if row["cleared_at"] is not None and row["cleared_at"] >= span.end:
                row["cleared_at"] = None
        return rows

    def backfills(self, span: Span) -> list[Row]:
        """Back-fills that moved or stand, with the studies of each by state, and how much of them is missing."""
        table, retrieval = tables.backfill, tables.retrieval
        columns = (table.c.id, table.c.archive, table.c.date_from, table.c.date_to, table.c.state, table.c.remarks)
        touched = (table.c.created_at < span.end, or_(table.c.changed_at >= span.start, table.c.state.in_(ACTIVE)))
        found = self._listed(table, (*columns, table.c.reason), *touched)
        for row in found:
            mine = retrieval.c.backfill_id == row["id"]
            states = self._counted(retrieval, (retrieval.c.state, retrieval.c.reason), mine)
            row["studies"] = [state | {"ended": state["state"] in RETRIEVAL.ends} for state in states]
            row["missing"] = self._missing(mine)
            row["gaps"] = gaps(row["remarks"])
        return found

    def _missing(self, mine: ColumnElement[bool]) -> int:
        """Instances that the archive said it has, and that did not come, of the studies that failed."""
        table = tables.retrieval
        query = select(table.c.expected, table.c.held).where(mine, table.c.state == "failed").limit(UNFETCHED_MAX)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return sum(max(0, count - row.held.get(uid, 0)) for row in rows for uid, count in row.expected.items())

    def folders(self, span: Span) -> list[Row]:
        """Files of watched folders, by what became of them."""
        table = tables.watched_file
        return self._counted(
            table, (table.c.folder, table.c.outcome, table.c.reason), *_within(table.c.looked_at, span)
        )

    def bad_ends(self, span: Span) -> list[Row]:
        """Jobs that failed or were rejected, one by one; the failed first."""
        event, job = tables.event, tables.job
        columns = (event.c.name.label("event"), job.c.id.label("job_id"), job.c.family, job.c.eye, event.c.reason)
        what = (event.c.kind == "job", event.c.name.in_((JobEvent.REJECT, JobEvent.GIVE_UP)))
        joined = event.join(job, job.c.id == event.c.subject_id)
        return self._listed(joined, columns, *what, *_within(event.c.at, span))

    def patients(self, job_ids: Collection[int]) -> dict[int, Row]:
        """By job, what identifies the patient: only for a site that asks for it."""
        job, study = tables.job, tables.study
        query = select(job.c.id, study.c.patient_id, study.c.accession_number)
        query = query.join_from(job, study, study.c.id == job.c.study_id).where(job.c.id.in_(job_ids))
        with self._database.read() as connection:
            return {row.pop("id"): row for row in _rows(connection, query)}

    def _counted(self, source: FromClause, columns: tuple[Any, ...], *where: ColumnElement[bool]) -> list[Row]:
        query = select(*columns, func.count().label("count")).select_from(source).where(*where)
        with self._database.read() as connection:
            return _rows(connection, query.group_by(*columns).order_by(*columns))

    def _listed(self, source: FromClause, columns: tuple[Any, ...], *where: ColumnElement[bool]) -> list[Row]:
        query = select(*columns).select_from(source).where(*where).order_by(*columns[:2]).limit(LISTED_MAX)
        with self._database.read() as connection:
            return _rows(connection, query)


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row._mapping) for row in connection.execute(query).all()]


def _seconds() -> ColumnElement[float]:
    """How long the job of a report took: its stages together."""
    took = tables.report.c.took
    first, *others = (func.coalesce(took[stage].as_float(), 0.0) for stage in STAGES)
    return sum(others, start=first)


def _within(at: ColumnElement[Any], span: Span) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return at >= span.start, at < span.end


def _newest(kind: str, subject_id: ColumnElement[int], span: Span) -> ColumnElement[int]:
    """The last event before the span's end of one thing: where it stood then."""
    own = tables.event.alias("own")
    of_it = (own.c.kind == kind, own.c.subject_id == subject_id, own.c.at < span.end)
    return select(func.max(own.c.id)).where(*of_it).scalar_subquery()


def _states(table: Table, machine: Machine, span: Span) -> Subquery:
    """Where each row stood at the span's end, wherever it is now; what had ended before the span is left out."""
    event = tables.event.alias("last")
    moved = or_(table.c.changed_at >= span.start, table.c.state.not_in(machine.ends - {DeliveryState.PARKED}))
    newest = _newest(machine.name, table.c.id, span)
    query = select(table.c.id, event.c.target.label("state")).join_from(table, event, event.c.id == newest)
    return query.where(table.c.created_at < span.end, moved).subquery()
