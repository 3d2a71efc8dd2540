"""Retention: removes files of studies of which everything is done, delivered and committed; the rows stay.

The row says `removed` before the file goes: a crash between leaves a file too many, which the sweep of orphans deletes.
A file is deleted only under its study's lock, and only while no row lives on it: an instance that comes back meanwhile
is kept again or refused, never lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, exists, or_, select, union_all, update

from oculard.clock import Clock
from oculard.job import DeliveryState, JobState
from oculard.store import tables
from oculard.store.database import Database, hold_files
from oculard.store.events import record
from oculard.store.vault import Vault

ACTOR = "retention"
WHY = "all-delivered"
PATHS_MAX = 500  # asked for at once


class Retention:
    """What may be removed, and its removal. `committing`: the peers whose storage commitment must have come."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, *, committing: Collection[str]) -> None:
        self._database, self._vault, self._clock, self._committing = database, vault, clock, committing

    def next_studies(self, after_id: int, *, limit: int) -> Sequence[int]:
        """The numbers of the studies that follow one, for a walk through all of them."""
        study = tables.study
        query = select(study.c.id).where(study.c.id > after_id).order_by(study.c.id).limit(limit)
        with self._database.read() as connection:
            return connection.execute(query).scalars().all()

    def remove_images(self, study_ids: Collection[int], *, done_before: datetime) -> int:
        """Remove the image files of those studies of which all was done before a moment. Says how many."""
        return self._remove(tables.instance, study_ids, done_before, (~_differs(),))

    def remove_reports(self, study_ids: Collection[int], *, done_before: datetime) -> int:
        """Remove the report files, companions included, of those studies of which all was done before a moment."""
        return self._remove(tables.report, study_ids, done_before, (~_is_nowhere_else(),))

    def delete_unused(self, study_id: int, paths: Iterable[str]) -> int:
        """Delete files whose rows are all marked as removed. Says how many. Raises VaultUnwritable."""
        deleted, paths = 0, list(paths)
        for start in range(0, len(paths), PATHS_MAX):
            some = paths[start : start + PATHS_MAX]
            with self._database.write() as connection:
                _lock(connection, study_id)
                hold_files(connection, some)  # the same bytes may come for another study
                used = _living(connection, some)
                for path in sorted(set(some) - used):
                    deleted += self._vault.delete(path)
        return deleted

    def _remove(
        self,
        table: Table,
        study_ids: Collection[int],
        done_before: datetime,
        spared: Sequence[ColumnElement[bool]],
    ) -> int:
        study, count = tables.study, 0
        kept = exists().where(table.c.study_id == study.c.id, table.c.removed_at.is_(None), *spared)
        done = _is_done(done_before, self._committing)
        with self._database.read() as connection:
            due = connection.execute(select(study.c.id).where(study.c.id.in_(study_ids), kept, done)).scalars().all()
        for study_id in due:
            gone = self._mark(table, study_id, done, spared)
            count += len(gone)
            self.delete_unused(study_id, self._paths(table, gone))
        return count

    def _mark(
        self, table: Table, study_id: int, done: ColumnElement[bool], spared: Sequence[ColumnElement[bool]]
    ) -> list[Row[tuple[int, str]]]:
        """Mark what is still there of a study, if it still may go at this very moment."""
        now, study = self._clock.now(), tables.study
        with self._database.write() as connection:
            _lock(connection, study_id)
            which = (table.c.study_id == study_id, table.c.removed_at.is_(None), *spared)
            still = exists().where(study.c.id == table.c.study_id, done).correlate(table)
            marked = update(table).where(*which, still).values(removed_at=now).returning(table.c.id, table.c.path)
            gone = list(connection.execute(marked).all())
            for row in gone:
                record(
                    connection,
                    at=now,
                    kind=table.name,
                    subject_id=row.id,
                    study_id=study_id,
                    name="removed",
                    actor=ACTOR,
                    reason=WHY,
                )
        return gone

    def _paths(self, table: Table, gone: Sequence[Row[tuple[int, str]]]) -> list[str]:
        """The files of rows, with those of a report's companions."""
        paths = [row.path for row in gone]
        if table is tables.report and gone:
            companion = tables.report_object
            query = select(companion.c.path).where(companion.c.report_id.in_([row.id for row in gone]))
            with self._database.read() as connection:
                paths += connection.execute(query).scalars()
        return paths


def _lock(connection: Connection, study_id: int) -> None:
    """Nothing arrives for the study, and nothing is ordered for it, until the transaction ends."""
    study = tables.study
    connection.execute(select(study.c.id).where(study.c.id == study_id).with_for_update()).one()


def _living(connection: Connection, paths: Collection[str]) -> set[str]:
    """Those of the paths on which a row lives that is not removed."""
    instance, report, companion = tables.instance, tables.report, tables.report_object
    query = union_all(
        select(instance.c.path).where(instance.c.path.in_(paths), instance.c.removed_at.is_(None)),
        select(report.c.path).where(report.c.path.in_(paths), report.c.removed_at.is_(None)),
        select(companion.c.path)
        .join_from(companion, report)
        .where(companion.c.path.in_(paths), report.c.removed_at.is_(None)),
    )
    return set(connection.execute(query).scalars())


def _differs() -> ColumnElement[bool]:
    """An instance that came with other bytes before or after, which no person has acknowledged yet."""
    alarm, instance = tables.alarm, tables.instance
    standing = (alarm.c.name == "differing-duplicate", alarm.c.cleared_at.is_(None))
    return exists().where(*standing, alarm.c.subject == instance.c.sop_instance_uid).correlate(instance)


def _is_nowhere_else() -> ColumnElement[bool]:
    """A report with a companion that no peer took: it is in the vault alone."""
    report, companion, delivery, sent = tables.report, tables.report_object, tables.delivery, tables.delivery_object
    taken = (
        exists()
        .where(delivery.c.report_id == companion.c.report_id, sent.c.delivery_id == delivery.c.id)
        .where(sent.c.sop_instance_uid == companion.c.sop_instance_uid, sent.c.reason.is_(None))
        .correlate(companion)
    )
    return exists().where(companion.c.report_id == report.c.id, ~taken).correlate(report)


def _is_done(before: datetime, committing: Collection[str]) -> ColumnElement[bool]:
    """A study that settled, whose jobs all ended well, whose reports all peers have for good; the last before a moment.

    What has no report, or no peer, is never done.
    """
    study, job, report, delivery = tables.study, tables.job, tables.report, tables.delivery
    ended_well = (JobState.REPORTED, JobState.REJECTED)
    of_study, on_its_way = job.c.study_id == study.c.id, report.c.study_id == study.c.id
    reported = exists().where(report.c.job_id == job.c.id)
    busy = exists().where(of_study, or_(job.c.state.not_in(ended_well), job.c.changed_at >= before, ~reported))
    delivered = exists().where(delivery.c.report_id == report.c.id)
    unsent = exists().where(on_its_way, or_(report.c.created_at >= before, ~delivered))
    arrived = and_(delivery.c.state == DeliveryState.DELIVERED, delivery.c.changed_at < before)
    owed = exists().where(
        on_its_way, delivery.c.report_id == report.c.id, ~and_(arrived, _is_promised(before, committing))
    )
    return and_(
        study.c.state == "settled",
        study.c.settled_at < before,
        study.c.active_at < before,
        exists().where(on_its_way),
        ~busy.correlate(study),
        ~unsent.correlate(study),
        ~owed.correlate(study),
    )


def _is_promised(before: datetime, committing: Collection[str]) -> ColumnElement[bool]:
    """The peer never promises to keep what it has, or has promised every object that it took."""
    delivery, sent = tables.delivery, tables.delivery_object
    took = exists().where(sent.c.delivery_id == delivery.c.id, sent.c.reason.is_(None))
    late = or_(sent.c.committed_at.is_(None), sent.c.committed_at >= before)
    unpromised = exists().where(sent.c.delivery_id == delivery.c.id, sent.c.reason.is_(None), late)
    return or_(delivery.c.peer.not_in(committing), and_(took, ~unpromised))
