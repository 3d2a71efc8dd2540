"""Jobs: ordered by the plan, claimed by workers, finished together with their report and its deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, false, insert, or_, select

from oculard.clock import Clock
from oculard.job import AMENDS, JOB, DeliveryState, JobEvent, JobState, Order
from oculard.night import Hours
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.events import record
from oculard.store.queue import Queue, Ticket

if TYPE_CHECKING:
    from oculard_models.contract import Finding

MANY = ("findings", "companions")  # of a report: tables of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInput:
    """One image of a job."""

    sop_instance_uid: str
    path: str  # below the vault
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job in a worker's hands."""

    ticket: Ticket
    study_id: int
    family: str
    eye: str
    estimator: str
    generation: int
    hindered: int  # how often the world stood in the way
    inputs: tuple[JobInput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReport:
    """A report's row: what a successor must name, and what `trace` shows."""

    id: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A DICOM object that accompanies a report's SR, and whose file is in the vault already."""

    role: str  # "seg", "sc" or "pdf"
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if self.role not in tables.COMPANIONS:
            raise ValueError(f"expected a companion {', '.join(tables.COMPANIONS)}, got `{self.role}`")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """A report whose file is in the vault already, and what it found."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: str
    sha256: str
    size_bytes: int
    outcome: str
    remark: str
    weights_sha256: str
    demonstration: bool
    predecessor_id: int | None
    findings: tuple[Finding, ...]
    took: dict[str, float]  # seconds by stage
    companions: tuple[Companion, ...] = ()  # in the order in which they are sent, before the SR


class Jobs:
    """The queue of jobs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.queue = Queue(database, clock, tables.job, JOB, study_of=_study_of)

    def order(self, connection: Connection, study_id: int, orders: Sequence[Order], *, actor: str) -> list[int]:
        """Put the plan's jobs into the queue, inside the settling transaction. Known inputs give no second job."""
        wanted = self.unknown(connection, study_id, orders)
        new = [order for order in wanted if not self._refresh(connection, study_id, order, actor)]
        return [self._insert(connection, study_id, order, actor) for order in new]

    def unknown(self, connection: Connection, study_id: int, orders: Sequence[Order]) -> list[Order]:
        """Those of the orders that no job has had: of other inputs, or for another bundle."""
        return [order for order in orders if not self._is_known(connection, study_id, order)]

    def claim(self, owner: str, *, lease_s: float, limit: int, attempts_max: int, hours: Hours) -> list[Job]:
        """Up to `limit` jobs of one estimator: that of the most urgent job, so that they can share a batch.

        Of the night's jobs as many as are expected to end before the window does. A job may be claimed once more than
        `attempts_max`: that last time only to report that it failed.
        """
        table, now = tables.job, self._clock.now()
        may = (table.c.attempts <= attempts_max, _is_first(), _in_hours(hours, now))
        ready = select(table.c.id, table.c.family, table.c.estimator, table.c.run_window, table.c.attempts)
        ready = ready.where(table.c.state == JobState.QUEUED, table.c.run_after <= now, *may)
        with self._database.read() as connection:
            first = connection.execute(ready.order_by(table.c.priority, table.c.id).limit(1)).first()
        if first is None:
            return []
        # What a worker has died of, or met trouble with, is tried alone: it must not spend its neighbours' attempts.
        company = table.c.attempts == 0 if first.attempts == 0 else table.c.id == first.id
        where = [table.c.family == first.family, table.c.estimator == first.estimator, company, *may]
        fitting = hours.fitting(first.estimator, now)
        if first.run_window == "night":
            limit = min(limit, fitting)
        elif fitting < limit:
            where.append(table.c.run_window == "now")  # a full batch would carry night jobs past the window
        tickets = self.queue.claim(owner, lease_s=lease_s, limit=limit, where=where, order=(table.c.priority,))
        with self._database.read() as connection:
            return [_job(connection, ticket) for ticket in tickets]

    def finish(self, job: Job, event: JobEvent, report: NewReport, *, reason: str | None, peers: Sequence[str]) -> int:
        """Settle a job with its report, companions, findings and deliveries in one transaction; gives the report's id.

        Raises LeaseLost.
        """
        now = self._clock.now()
        with self._database.write() as connection:
            self.queue.settle_in(connection, job.ticket, event, reason=reason)
            values = {name: getattr(report, name) for name in NewReport.__dataclass_fields__ if name not in MANY}
            values["demonstration"] = int(report.demonstration)
            report_id = connection.execute(
                insert(tables.report)
                .values(
                    job_id=job.ticket.id,
                    generation=job.generation,
                    study_id=job.study_id,
                    estimator=job.estimator,
                    created_at=now,
                    **values,
                )
                .returning(tables.report.c.id)
            ).scalar_one()
            for ordinal, companion in enumerate(report.companions):
                row = asdict(companion) | {"report_id": report_id, "ordinal": ordinal}
                connection.execute(insert(tables.report_object).values(**row))
            for finding in report.findings:
                connection.execute(insert(tables.finding).values(report_id=report_id, **_finding_columns(finding)))
            for peer in peers:
                self._deliver(connection, report_id, job.study_id, peer)
        return int(report_id)

    def hinder(self, job: Job, *, reason: str, delay_s: float) -> None:
        """The world stood in the way: the job waits, and the attempt is given back. Raises LeaseLost."""
        kept = {"attempts": job.ticket.attempts - 1, "hindered": job.hindered + 1}
        self.queue.settle(job.ticket, JobEvent.RETRY, reason=reason, delay_s=delay_s, **kept)

    def history(self, job: Job) -> list[KeptReport]:
        """Earlier jobs' reports on the same eye by the same family, newest first: an amended report names the newest.

        A report on both eyes amends one on either of them.
        """
        report, table, study = tables.report, tables.job, tables.study
        query = (
            select(report.c.id, report.c.sop_class_uid, report.c.sop_instance_uid, report.c.series_instance_uid)
            .add_columns(study.c.study_instance_uid)
            .join_from(report, table, report.c.job_id == table.c.id)
            .join(study, study.c.id == report.c.study_id)
            .where(report.c.study_id == job.study_id, table.c.family == job.family, table.c.eye.in_(AMENDS[job.eye]))
            .where(table.c.id <= job.ticket.id)
            .order_by(report.c.id.desc())
        )
        with self._database.read() as connection:
            return [KeptReport(**row._mapping) for row in connection.execute(query).all()]

    def give_up(self, *, attempts_max: int, actor: str) -> int:
        """Fail what even the attempt to report its failure did not survive. Says how many; they have no report."""
        spent = (tables.job.c.attempts > attempts_max,)
        return self._move_all(JobState.QUEUED, JobEvent.GIVE_UP, spent, actor=actor, reason="attempts-spent")

    def adopt(self, family: str, estimator: str, *, eyes: Sequence[str], actor: str) -> int:
        """Give what nobody has begun to the bundle that serves its family now, after an upgrade. Says how many.

        `eyes`: those that the bundle has jobs for; one on both eyes stays with a bundle that combines them.
        """
        table = tables.job
        other = (table.c.family == family, table.c.estimator != estimator, table.c.eye.in_(eyes))
        return sum(
            self._move_all(state, JobEvent.REFRESH, other, actor=actor, reason="estimator-changed", estimator=estimator)
            for state in (JobState.WAITING, JobState.QUEUED)
        )

    def requeue(self, *, job_id: int | None = None, actor: str) -> int:
        """A person lets failed jobs run again: one, or all. Their next report is a new one that names the old.

        A job that a later one has replaced, because more images came, stays as it is.
        """
        table, later = tables.job, tables.job.alias("later")
        same = (
            later.c.study_id == table.c.study_id,
            later.c.family == table.c.family,
            _amends(later.c.eye, table.c.eye),
        )
        replaced = select(later.c.id).where(*same, later.c.id > table.c.id).exists()
        where = (~replaced,) if job_id is None else (~replaced, table.c.id == job_id)
        return self._move_all(
            JobState.FAILED,
            JobEvent.REQUEUE,
            where,
            actor=actor,
            run_after=self._clock.now(),
            attempts=0,
            reason=None,
            generation=table.c.generation + 1,
        )

    def _move_all(
        self, source: JobState, event: JobEvent, where: Sequence[ColumnElement[bool]], *, actor: str, **columns: Any
    ) -> int:
        query = select(tables.job.c.id).where(tables.job.c.state == source, *where)
        with self._database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return 0
        with self._database.write() as connection:
            ids = connection.execute(query).scalars().all()
            return sum(self.queue.move(connection, row_id, source, event, actor=actor, **columns) for row_id in ids)

    def _is_known(self, connection: Connection, study_id: int, order: Order) -> bool:
        table = tables.job
        query = select(table.c.id).where(
            *_same_work(study_id, order),
            table.c.eye == order.eye,
            table.c.estimator == order.estimator,
            table.c.inputs_digest == order.inputs_digest,
        )
        return connection.execute(query).first() is not None

    def _refresh(self, connection: Connection, study_id: int, order: Order, actor: str) -> bool:
        """Give a job that nobody has looked at yet the newer inputs, instead of estimating the older ones first.

        A job on one eye becomes the job on both, when the other eye has come.
        """
        table = tables.job
        untouched = connection.execute(
            select(table.c.id, table.c.state)
            .where(*_same_work(study_id, order), table.c.state.in_((JobState.WAITING, JobState.QUEUED)))
            .where(table.c.attempts == 0, table.c.generation == 0, table.c.estimator == order.estimator)
            .order_by(table.c.id.desc())
            .limit(1)
            .with_for_update()
        ).first()
        if untouched is None:
            return False
        moved = self.queue.move(
            connection,
            untouched.id,
            JobState(untouched.state),
            JobEvent.REFRESH,
            actor=actor,
            reason="inputs-changed",
            eye=order.eye,
            after_job_id=_newest(connection, study_id, order, before=untouched.id),
            inputs_digest=order.inputs_digest,
            priority=order.priority,
            run_window=order.window,
        )
        assert moved, "the row is locked by this transaction"
        if untouched.state == JobState.WAITING and order.window == "now":
            now = self._clock.now()
            self.queue.move(connection, untouched.id, JobState.WAITING, JobEvent.RELEASE, actor=actor, run_after=now)
        connection.execute(delete(tables.job_input).where(tables.job_input.c.job_id == untouched.id))
        _insert_inputs(connection, untouched.id, order)
        return True

    def _insert(self, connection: Connection, study_id: int, order: Order, actor: str) -> int:
        now, table = self._clock.now(), tables.job
        state = JobState.WAITING if order.window == "night" else JobState.QUEUED
        job_id = connection.execute(
            insert(table)
            .values(
                study_id=study_id,
                family=order.family,
                eye=order.eye,
                estimator=order.estimator,
                inputs_digest=order.inputs_digest,
                run_window=order.window,
                priority=order.priority,
                after_job_id=_newest(connection, study_id, order),
                created_at=now,
                state=state,
                run_after=now,
                changed_at=now,
            )
            .returning(table.c.id)
        ).scalar_one()
        _insert_inputs(connection, job_id, order)
        record(
            connection,
            at=now,
            kind="job",
            subject_id=job_id,
            study_id=study_id,
            name="ordered",
            target=state,
            actor=actor,
        )
        return int(job_id)

    def _deliver(self, connection: Connection, report_id: int, study_id: int, peer: str) -> None:
        now, table = self._clock.now(), tables.delivery
        pending = {"state": DeliveryState.PENDING, "run_after": now, "changed_at": now, "created_at": now}
        row_id = connection.execute(
            insert(table).values(report_id=report_id, peer=peer, **pending).returning(table.c.id)
        ).scalar_one()
        record(
            connection,
            at=now,
            kind="delivery",
            subject_id=row_id,
            study_id=study_id,
            name="owed",
            target="pending",
            actor=peer,
        )


def _same_work(study_id: int, order: Order) -> tuple[ColumnElement[bool], ...]:
    """The jobs whose reports the order's report would amend."""
    table = tables.job
    return table.c.study_id == study_id, table.c.family == order.family, table.c.eye.in_(AMENDS[order.eye])


def _amends(later: ColumnElement[str], earlier: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a report on the later eye amends one on the earlier."""
    return or_(*(and_(later == eye, earlier.in_(amended)) for eye, amended in AMENDS.items()))


def _newest(connection: Connection, study_id: int, order: Order, *, before: int | None = None) -> int | None:
    """The newest job that the order's report amends; None when it is the first."""
    table = tables.job
    older = () if before is None else (table.c.id < before,)
    query = select(table.c.id).where(*_same_work(study_id, order), *older).order_by(table.c.id.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _insert_inputs(connection: Connection, job_id: int, order: Order) -> None:
    rows = [{"job_id": job_id, "instance_id": instance_id} for instance_id in order.instance_ids]
    connection.execute(insert(tables.job_input), rows)


def _is_first() -> ColumnElement[bool]:
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


def _job(connection: Connection, ticket: Ticket) -> Job:
    table, instance = tables.job, tables.instance
    row = connection.execute(select(table).where(table.c.id == ticket.id)).one()
    inputs = connection.execute(
        select(instance.c.sop_instance_uid, instance.c.path, instance.c.facts)
        .join_from(tables.job_input, instance)
        .where(tables.job_input.c.job_id == ticket.id)
        .order_by(instance.c.id)
    ).all()
    return Job(
        ticket=ticket,
        study_id=row.study_id,
        family=row.family,
        eye=row.eye,
        estimator=row.estimator,
        generation=row.generation,
        hindered=row.hindered,
        inputs=tuple(JobInput(**found._mapping) for found in inputs),
    )


def _finding_columns(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("name", "value", "choice", "unit", "uncertainty", "qualifier")}


def _study_of(job_id: int) -> Select[tuple[int]]:
    return select(tables.job.c.study_id).where(tables.job.c.id == job_id)
