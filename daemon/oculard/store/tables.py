"""The tables, and the constraints that hold what the program promises even against its own bugs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from oculard.job import AMENDS, DeliveryState, JobState, RetrievalState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as UTC without a zone in every database alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002  its signature
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time cannot be stored: {value}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002  its signature
        return None if value is None else value.replace(tzinfo=UTC)


BACKFILL_ACTIVE = ("finding", "retrieving")  # under way
SR = "sr"  # the part that an object plays in a report
COMPANIONS = ("seg", "sc", "pdf")
Identity = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements INTEGER only


def one_of(column: str, values: Iterable[StrEnum | str]) -> CheckConstraint:
    """The column holds one of these words."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows for which a condition holds; the migrations make it so, and a test compares.

    As `postgresql_where` the condition would load PostgreSQL's dialect at every start, for SQLite too.
    """
    return Index(name, *columns, unique=unique, info={"where": where})


def lease_columns(states: type[StrEnum], held: StrEnum) -> list[Any]:
    """What every leased table has; a row is leased exactly while it is held."""
    return [
        Column("state", String(16), nullable=False),
        Column("run_after", Moment, nullable=False),
        Column("lease_owner", String(128)),
        Column("lease_until", Moment),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("reason", String(64)),
        Column("changed_at", Moment, nullable=False),
        one_of("state", states),
        CheckConstraint(f"(state = '{held}') = (lease_owner IS NOT NULL)", name="lease_owner"),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease_until"),
        CheckConstraint("attempts >= 0", name="attempts"),
    ]


study = Table(
    "study",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("study_instance_uid", String(64), nullable=False, unique=True),
    Column("patient_id", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("settlings", Integer, nullable=False, server_default=text("0")),
    Column("first_received_at", Moment, nullable=False),
    Column("active_at", Moment, nullable=False),  # last instance, or last association that brought one, ended
    Column("settled_at", Moment),
    one_of("state", ("open", "settled")),
    CheckConstraint("state = 'open' OR settled_at IS NOT NULL", name="settled_at"),
    Index("ix_study_patient_id", "patient_id"),
    Index("ix_study_accession_number", "accession_number"),
    partial_index("ix_study_open", "active_at", where="state = 'open'"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False, index=True),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("variant", Integer, nullable=False),  # 0 came first; others have the same UID and other bytes
    Column("sha256", String(64), nullable=False),  # of the data set, without file meta information
    Column("sop_class_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("path", Text, nullable=False),  # below the vault
    Column("size_bytes", BigInteger, nullable=False),  # of the file
    Column("sender", String(32), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("removed_at", Moment),  # its file was deleted by retention; the row stays, and the same bytes may come again
    Column("facts", JSON, nullable=False),
    UniqueConstraint("sop_instance_uid", "sha256"),
    UniqueConstraint("sop_instance_uid", "variant"),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("variant >= 0", name="variant"),
    Index("ix_instance_received_at", "received_at"),
    Index("ix_instance_path", "path"),
)

reception = Table(  # an association that is open and has brought instances of a study: the study is not complete yet
    "reception",
    metadata,
    Column("association", String(64), primary_key=True),
    Column("study_id", ForeignKey("study.id"), primary_key=True),
    Column("owner", String(128), nullable=False),  # the intake process that holds it open
    Column("beat_at", Moment, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False, index=True),
    Column("family", String(32), nullable=False),
    Column("eye", String(1), nullable=False),
    Column("estimator", String(64), nullable=False),  # name@version of the bundle
    Column("inputs_digest", String(64), nullable=False),
    Column("generation", Integer, nullable=False, server_default=text("0")),  # counts a person's requeues
    Column("run_window", String(8), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("hindered", Integer, nullable=False, server_default=text("0")),  # how often the world, not the job, failed
    Column("after_job_id", ForeignKey("job.id")),  # an amended report waits for the one it amends
    Column("created_at", Moment, nullable=False),
    *lease_columns(JobState, JobState.RUNNING),
    UniqueConstraint("study_id", "family", "eye", "estimator", "inputs_digest"),
    one_of("eye", AMENDS),
    one_of("run_window", ("now", "night")),
    Index("ix_job_ready", "state", "priority", "id"),
    partial_index("ix_job_waiting", "family", "priority", "id", where="state = 'waiting'"),
)

job_input = Table(
    "job_input",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
)

report = Table(
    "report",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("study_id", ForeignKey("study.id"), nullable=False, index=True),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("remark", Text, nullable=False),
    Column("estimator", String(64), nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("demonstration", Integer, nullable=False),
    Column("predecessor_id", ForeignKey("report.id")),
    Column("took", JSON, nullable=False),  # seconds by stage
    Column("created_at", Moment, nullable=False),
    Column("removed_at", Moment),  # its files were deleted by retention; the row stays
    UniqueConstraint("job_id", "generation"),
    Index("ix_report_created_at", "created_at"),
    Index("ix_report_estimator_id", "estimator", "id"),
    Index("ix_report_path", "path"),
)

report_object = Table(  # what accompanies a report's SR, which is the row of `report` itself
    "report_object",
    metadata,
    Column("report_id", ForeignKey("report.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),  # the order in which they are sent
    Column("role", String(8), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("series_instance_uid", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    one_of("role", COMPANIONS),
    CheckConstraint("ordinal >= 0", name="ordinal"),
    Index("ix_report_object_path", "path"),
)

finding = Table(
    "finding",
    metadata,
    Column("report_id", ForeignKey("report.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", Float),
    Column("choice", String(32)),
    Column("unit", String(16), nullable=False),
    Column("uncertainty", Float),
    Column("qualifier", String(16)),
    CheckConstraint("(value IS NULL) = (qualifier IS NOT NULL)", name="value"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("report_id", ForeignKey("report.id"), nullable=False),
    Column("peer", String(32), nullable=False),
    Column("sent_at", Moment),
    Column("transaction_uid", String(64)),  # of the storage commitment that is under way
    Column("silences", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Moment, nullable=False),
    *lease_columns(DeliveryState, DeliveryState.SENDING),
    UniqueConstraint("report_id", "peer"),
    Index("ix_delivery_ready", "state", "peer", "id"),
    Index("ix_delivery_transaction_uid", "transaction_uid"),
)

delivery_object = Table(  # what became of each object of the report when it was sent last
    "delivery_object",
    metadata,
    Column("delivery_id", ForeignKey("delivery.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("role", String(8), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),  # as the peer took it: the SR itself or its fallback variant
    Column("sop_instance_uid", String(64), nullable=False, index=True),
    Column("reason", String(64)),  # why it was left out; NULL when the peer took it
    Column("committed_at", Moment),
    one_of("role", (*COMPANIONS, SR)),
    CheckConstraint("reason IS NULL OR committed_at IS NULL", name="committed_at"),
)

answer = Table(  # what we owe a device that asked us for storage commitment
    "answer",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("transaction_uid", String(64), nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("items", JSON, nullable=False),  # [[SOP class UID, SOP instance UID], ...]
    Column("created_at", Moment, nullable=False),
    *lease_columns(DeliveryState, DeliveryState.SENDING),
    UniqueConstraint("calling_ae", "transaction_uid"),
)

event = Table(
    "event",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("study_id", BigInteger),
    Column("name", String(32), nullable=False),
    Column("source", String(16)),
    Column("target", String(16)),
    Column("actor", String(128), nullable=False),
    Column("reason", String(64)),
    Index("ix_event_kind_subject_id", "kind", "subject_id"),
    Index("ix_event_study_id", "study_id"),
    Index("ix_event_at", "at"),
)

caller = Table(  # who called without being in the configuration: kept, with the reason, until a person allows it
    "caller",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("proposed", JSON, nullable=False),  # what its association asked for, for the administrator
    Column("commitment_port", Integer),  # where an allowed one listens for our answers, if somebody said so
    UniqueConstraint("calling_ae", "called_ae", "address"),
    CheckConstraint("commitment_port BETWEEN 1 AND 65535", name="commitment_port"),
    one_of("state", ("refused", "allowed")),
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("name", String(32), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("raised_at", Moment, nullable=False),
    Column("cleared_at", Moment),
    Column("raise_told_at", Moment),  # when a notice of it was written
    Column("clear_told_at", Moment),
    partial_index("uq_alarm_standing", "name", "subject", unique=True, where="cleared_at IS NULL"),
)

role = Table(  # the processes that run, for `status`
    "role",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("beat_at", Moment, nullable=False),
    Column("says", JSON, nullable=False),
)

vault = Table(  # the id of the folder of files that belongs to this database: it holds the same
    "vault",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(32), nullable=False),
    CheckConstraint("id = 1", name="id"),
)

backfill = Table(  # a range of an archive that somebody wants annotated
    "backfill",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("archive", String(32), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("date_from", String(8), nullable=False),  # DICOM DA, the first study date of the range
    Column("date_to", String(8), nullable=False),  # and the last
    Column("modalities", JSON, nullable=False),  # [] means all
    Column("families", JSON, nullable=False),  # [] means all that the plan wants
    Column("anytime", Integer, nullable=False),  # 1: also outside the night
    Column("state", String(16), nullable=False),
    Column("found_to", String(8)),  # the cursor: every day up to this one has been asked for
    Column("remarks", JSON, nullable=False),  # what the archive did wrong: {reason: how often}
    Column("reason", String(64)),
    Column("created_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    one_of("origin", ("person", "night")),
    one_of("state", (*BACKFILL_ACTIVE, "done", "stopped")),
    CheckConstraint("anytime IN (0, 1)", name="anytime"),
    CheckConstraint("date_from <= date_to", name="dates"),
    partial_index("uq_backfill_night", "archive", "date_from", "date_to", unique=True, where="origin = 'night'"),
)

retrieval = Table(  # one study of a back-fill
    "retrieval",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("backfill_id", ForeignKey("backfill.id"), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("study_date", String(8), nullable=False),
    Column("expected", JSON, nullable=False),  # {series UID: instances}, as the archive said it last
    Column("held", JSON, nullable=False),  # {series UID: instances}, as we counted them last
    Column("asked_at", Moment),  # when it was first let come
    Column("brings", Integer),  # 1: nothing of it was here then, so what came has come by this; NULL before
    *lease_columns(RetrievalState, RetrievalState.RETRIEVING),
    CheckConstraint("brings IN (0, 1)", name="brings"),
    UniqueConstraint("backfill_id", "study_instance_uid"),
    Index("ix_retrieval_ready", "state", "backfill_id", "id"),
    Index("ix_retrieval_study_instance_uid", "study_instance_uid"),
)

watched_file = Table(  # a file of a watched folder that was looked at, as it was then
    "watched_file",
    metadata,
    Column("folder", String(32), primary_key=True),
    Column("path", Text, primary_key=True),  # below the folder
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("outcome", String(24), nullable=False),
    Column("reason", String(64)),
    Column("sop_instance_uid", String(64)),
    Column("looked_at", Moment, nullable=False),  # when this became of it
    Column("seen_at", Moment, nullable=False),  # when it was there last, to the day
    Index("ix_watched_file_looked_at", "looked_at"),
    Index("ix_watched_file_seen_at", "seen_at"),
)

notice = Table(  # what people are to be told by e-mail or webhook
    "notice",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject", String(200), nullable=False),  # of the night or of the alarm and its moment: told once
    Column("content", JSON, nullable=False),
    Column("taken", JSON, nullable=False),  # fingerprints of the addresses that have it: they are not told again
    Column("created_at", Moment, nullable=False),
    *lease_columns(DeliveryState, DeliveryState.SENDING),
    UniqueConstraint("kind", "subject"),
    one_of("kind", ("night", "alarm")),
)
