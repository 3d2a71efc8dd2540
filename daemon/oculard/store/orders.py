"""Orders: the plan's jobs put into the queue. The same inputs are never estimated twice by the same bundle."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from oculard.clock import Clock
from oculard.job import AMENDS, JobEvent, JobState, Order
from oculard.store import tables
from oculard.store.events import record
from oculard.store.queue import Queue

TWIN = "twin-job"  # of a job that was dropped: another one does the same


class Orders:
    """Puts jobs into the queue, inside the transactions of those who plan."""

    def __init__(self, clock: Clock, queue: Queue) -> None:
        self._clock, self._queue = clock, queue

    def put(self, connection: Connection, study_id: int, orders: Sequence[Order], *, actor: str) -> list[int]:
        """Put the plan's jobs into the queue, inside the settling transaction. Known inputs give no second job."""
        wanted = self.unknown(connection, study_id, orders)
        new = [order for order in wanted if not self._refresh(connection, study_id, order, actor)]
        return [self._insert(connection, study_id, order, actor) for order in new]

    def unknown(self, connection: Connection, study_id: int, orders: Sequence[Order]) -> list[Order]:
        """Those of the orders that no job has had: of other inputs, or for another bundle."""
        return [order for order in orders if not self._is_known(connection, study_id, order)]

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
        moved = self._queue.move(
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
            self._queue.move(connection, untouched.id, JobState.WAITING, JobEvent.RELEASE, actor=actor, run_after=now)
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


def _same_work(study_id: int, order: Order) -> tuple[ColumnElement[bool], ...]:
    """The jobs whose reports the order's report would amend."""
    table = tables.job
    return table.c.study_id == study_id, table.c.family == order.family, table.c.eye.in_(AMENDS[order.eye])


def _newest(connection: Connection, study_id: int, order: Order, *, before: int | None = None) -> int | None:
    """The newest job that the order's report amends, none that was dropped; None when it is the first."""
    table = tables.job
    which = [*_same_work(study_id, order), table.c.reason.is_distinct_from(TWIN)]
    if before is not None:
        which.append(table.c.id < before)
    query = select(table.c.id).where(*which).order_by(table.c.id.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _insert_inputs(connection: Connection, job_id: int, order: Order) -> None:
    rows = [{"job_id": job_id, "instance_id": instance_id} for instance_id in order.instance_ids]
    connection.execute(insert(tables.job_input), rows)
