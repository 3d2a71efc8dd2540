"""Reading what happened: the whole way of a study, the lists of jobs and deliveries, the counts for status."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, or_, select

from oculard.clock import Clock
from oculard.job import DELIVERY, JOB
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.instances import IDENTITY_MAX
from oculard.store.objects import of_reports

Row = dict[str, Any]


class Trace:
    """Questions about the past; nothing here writes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def find(self, identity: str) -> list[int]:
        """The studies that a UID (study, image, or object of a report), an accession number or a patient ID belongs to.

        An object of a report may have another UID at a peer than here: the SR's fallback has one of its own.
        """
        study, instance, report = tables.study, tables.instance, tables.report
        companion, sent = tables.report_object, tables.delivery_object
        by_image = select(instance.c.study_id).where(instance.c.sop_instance_uid == identity)
        by_report = select(report.c.study_id).where(report.c.sop_instance_uid == identity)
        by_companion = (
            select(report.c.study_id).join_from(companion, report).where(companion.c.sop_instance_uid == identity)
        )
        by_variant = (
            select(report.c.study_id)
            .join_from(sent, tables.delivery)
            .join(report)
            .where(sent.c.sop_instance_uid == identity)
        )
        query = select(study.c.id).where(
            or_(
                study.c.study_instance_uid == identity,
                study.c.accession_number == identity[:IDENTITY_MAX],
                study.c.patient_id == identity[:IDENTITY_MAX],
                study.c.id.in_(by_image),
                study.c.id.in_(by_report),
                study.c.id.in_(by_companion),
                study.c.id.in_(by_variant),
            )
        )
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(study.c.id)).scalars())

    def study(self, study_id: int) -> Row:
        """Everything that is known about one study, from the first image to the PACS's commitment."""
        with self._database.read() as connection:
            found = _rows(connection, tables.study, tables.study.c.id == study_id)[0]
            reports = _rows(connection, tables.report, tables.report.c.study_id == study_id)
            ids = [report["id"] for report in reports]
            for report in reports:
                report["findings"] = _rows(connection, tables.finding, tables.finding.c.report_id == report["id"])
            deliveries = _rows(connection, tables.delivery, tables.delivery.c.report_id.in_(ids))
            sent = tables.delivery_object.c.delivery_id.in_([delivery["id"] for delivery in deliveries])
            return found | {
                "instances": _rows(connection, tables.instance, tables.instance.c.study_id == study_id),
                "jobs": _rows(connection, tables.job, tables.job.c.study_id == study_id),
                "reports": reports,
                "objects": [
                    {"report_id": report_id} | asdict(one)
                    for report_id, objects in sorted(of_reports(connection, ids).items())
                    for one in objects
                ],
                "deliveries": deliveries,
                "sent": _rows(connection, tables.delivery_object, sent),
                "events": _rows(connection, tables.event, tables.event.c.study_id == study_id),
            }

    def jobs(self, *, state: str | None, limit: int) -> list[Row]:
        """The newest jobs, of one state or of all, with the study they belong to."""
        job, study = tables.job, tables.study
        query = select(job, study.c.study_instance_uid).join_from(job, study)
        if state is not None:
            query = query.where(job.c.state == state)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(job.c.id.desc()).limit(limit)).all()
        return [dict(row._mapping) for row in rows]

    def deliveries(self, *, state: str | None, limit: int) -> list[Row]:
        """The newest deliveries, of one state or of all."""
        delivery, report = tables.delivery, tables.report
        query = select(delivery, report.c.sop_instance_uid.label("report_uid")).join_from(delivery, report)
        if state is not None:
            query = query.where(delivery.c.state == state)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(delivery.c.id.desc()).limit(limit)).all()
        return [dict(row._mapping) for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """How many of everything that has a state stand in each, and how many instances there are."""
        counted = {"study": tables.study, "job": tables.job, "delivery": tables.delivery, "answer": tables.answer}
        counted |= {"retrieval": tables.retrieval, "notice": tables.notice}
        with self._database.read() as connection:
            counts = {name: _by_state(connection, table) for name, table in counted.items()}
            counts["caller"] = _by_state(connection, tables.caller)
            size = func.coalesce(func.sum(tables.instance.c.size_bytes), 0)
            kept = connection.execute(select(func.count(), size).where(tables.instance.c.removed_at.is_(None))).one()
        return counts | {"instance": {"kept": kept[0], "bytes": int(kept[1])}}

    def has_backfill(self) -> bool:
        """Whether a back-fill is under way."""
        table = tables.backfill
        query = select(table.c.id).where(table.c.state.in_(tables.BACKFILL_ACTIVE)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def oldest(self) -> dict[str, datetime | None]:
        """Since when the oldest job and the oldest delivery that have not ended have been there."""
        with self._database.read() as connection:
            return {
                "job": _oldest(connection, tables.job, tables.job.c.state.not_in(JOB.ends)),
                "delivery": _oldest(connection, tables.delivery, tables.delivery.c.state.not_in(DELIVERY.ends)),
            }


def _rows(connection: Connection, table: Table, where: ColumnElement[bool]) -> list[Row]:
    order = list(table.primary_key.columns)
    return [dict(row._mapping) for row in connection.execute(select(table).where(where).order_by(*order)).all()]


def _by_state(connection: Connection, table: Table) -> dict[str, int]:
    rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state).order_by(table.c.state)).all()
    return {row[0]: row[1] for row in rows}


def _oldest(connection: Connection, table: Table, where: ColumnElement[bool]) -> datetime | None:
    since: datetime | None = connection.execute(select(func.min(table.c.created_at)).where(where)).scalar_one()
    return since
