"""Jobs: claimed by workers, finished together with their report and its deliveries, moved by upkeep and by people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, String, and_, cast, insert, literal, or_, select

from oculard.clock import Clock
from oculard.job import AMENDS, JOB, DeliveryState, JobEvent, JobState
from oculard.night import Hours
from oculard.store import tables
from oculard.store.claims import Terms, alone, choose
from oculard.store.database import Database
from oculard.store.events import record
from oculard.store.orders import TWIN, Orders
from oculard.store.picks import Pick
from oculard.store.portions import portions
from oculard.store.queue import Claimed, Queue, Ticket

if TYPE_CHECKING:
    from oculard_models.contract import Finding

MANY = ("findings", "companions")  # of a report: tables of their own
# Of a job's work; a report says how many seconds each took. `read`, `layers` and `views` are an OCT volume's alone.
STAGES = ("examine", "read", "layers", "views", "estimate", "report")
NOT_BEGUN = (JobState.WAITING, JobState.QUEUED)


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

    def __post_init__(self) -> None:
        if not self.took.keys() <= set(STAGES):
            raise ValueError(f"expected the stages {', '.join(STAGES)}, got {', '.join(self.took)}")


class Jobs:
    """The queue of jobs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.queue = Queue(database, clock, tables.job, JOB, study=tables.job.c.study_id)
        self.orders = Orders(clock, self.queue)

    def claim(self, owner: str, *, lease_s: float, limit: int, attempts_max: int, hours: Hours) -> list[Job]:
        """Up to `limit` jobs of one estimator: that of the most urgent job, so that they can share a batch.

        Of the night's jobs as many as are expected to end before the window does. A job may be claimed once more than
        `attempts_max`: that last time only to report that it failed.
        """
        now = self._clock.now()
        terms = Terms.at(now, hours, attempts_max=attempts_max)
        pick: Pick | None = alone(terms)
        if limit > 1:
            with self._database.read() as connection:
                pick = choose(connection, now, terms, hours, limit=limit)
        if pick is None:
            return []
        return [_job(claimed) for claimed in self.queue.claim_rows(owner, pick, lease_s=lease_s)]

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
        spent = tables.job.c.attempts > attempts_max
        return self._move_all(JobState.QUEUED, JobEvent.GIVE_UP, spent, actor=actor, reason="attempts-spent")

    def adopt(self, family: str, estimator: str, *, eyes: Sequence[str], actor: str) -> int:
        """Give what nobody has begun to the bundle that serves its family now, after an upgrade. Says how many.

        `eyes`: those that the bundle has jobs for; one on both eyes stays with a bundle that combines them.
        """
        other = and_(_for_others(family, estimator, eyes), ~_has_twin(estimator))
        change = {"reason": "estimator-changed", "estimator": estimator}
        return sum(self._move_all(state, JobEvent.REFRESH, other, actor=actor, **change) for state in NOT_BEGUN)

    def drop_twins(self, family: str, estimator: str, *, eyes: Sequence[str], actor: str) -> int:
        """End what cannot be adopted: that bundle has a job of the same images, from the time before it was replaced.

        A dropped job lays no claim to its images: its own bundle may come back, and be given them again.
        """
        twins = and_(_for_others(family, estimator, eyes), _has_twin(estimator))
        nothing = literal("dropped ") + cast(tables.job.c.id, String)
        change = {"reason": TWIN, "inputs_digest": nothing}
        return sum(self._move_all(state, JobEvent.DROP, twins, actor=actor, **change) for state in NOT_BEGUN)

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
        replaces = (later.c.id > table.c.id, later.c.reason.is_distinct_from(TWIN))
        last = ~select(later.c.id).where(*same, *replaces).exists()
        return self._move_all(
            JobState.FAILED,
            JobEvent.REQUEUE,
            last if job_id is None else and_(last, table.c.id == job_id),
            actor=actor,
            run_after=self._clock.now(),
            attempts=0,
            reason=None,
            generation=table.c.generation + 1,
        )

    def _move_all(
        self, source: JobState, event: JobEvent, where: ColumnElement[bool], *, actor: str, **columns: Any
    ) -> int:
        """Move the jobs that a condition holds for, as long as it does: of 40,000 some have changed meanwhile."""
        table, count = tables.job, 0
        query = select(table.c.id).where(
            table.c.state == source, where
        )  # in no order: SQLite would go through all jobs
        with self._database.read() as connection:
            ids = connection.execute(query).scalars().all()
        for some in portions(sorted(ids), self._clock):
            with self._database.write() as connection:
                count += sum(
                    self.queue.move(connection, row_id, source, event, actor=actor, guard=where, **columns)
                    for row_id in some
                )
        return count

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


def _for_others(family: str, estimator: str, eyes: Sequence[str]) -> ColumnElement[bool]:
    """The jobs of a family that another bundle should do, on eyes that this one has jobs for."""
    table = tables.job
    return and_(table.c.family == family, table.c.estimator != estimator, table.c.eye.in_(eyes))


def _has_twin(estimator: str) -> ColumnElement[bool]:
    """The bundle has, or had, a job of the same images already."""
    table, twin = tables.job, tables.job.alias("twin")
    same = (twin.c[name] == table.c[name] for name in ("study_id", "family", "eye", "inputs_digest"))
    return select(twin.c.id).where(*same, twin.c.estimator == estimator).exists()


def _amends(later: ColumnElement[str], earlier: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a report on the later eye amends one on the earlier."""
    return or_(*(and_(later == eye, earlier.in_(amended)) for eye, amended in AMENDS.items()))


def _job(claimed: Claimed) -> Job:
    ticket, first = claimed.ticket, claimed.rows[0]
    assert ticket.study_id is not None, "every job belongs to a study"
    images = (row for row in claimed.rows if row.sop_instance_uid is not None)
    return Job(
        ticket=ticket,
        study_id=ticket.study_id,
        family=first.family,
        eye=first.eye,
        estimator=first.estimator,
        generation=first.generation,
        hindered=first.hindered,
        inputs=tuple(JobInput(sop_instance_uid=row.sop_instance_uid, path=row.path, facts=row.facts) for row in images),
    )


def _finding_columns(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("name", "value", "choice", "unit", "uncertainty", "qualifier")}
