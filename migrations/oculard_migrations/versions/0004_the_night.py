"""The night: back-fills and their studies, watched folders, notices to people; what retention removed; reading by time.

Older programs may run on this schema, except that they do not know a job that was withdrawn.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("instance", sa.Column("removed_at", sa.DateTime(), nullable=True))
    op.add_column("report", sa.Column("removed_at", sa.DateTime(), nullable=True))
    op.add_column("alarm", sa.Column("raise_told_at", sa.DateTime(), nullable=True))
    op.add_column("alarm", sa.Column("clear_told_at", sa.DateTime(), nullable=True))
    op.create_index("ix_report_created_at", "report", ["created_at"], unique=False)
    op.create_index("ix_report_estimator_id", "report", ["estimator", "id"], unique=False)
    op.create_index(
        "ix_job_waiting",
        "job",
        ["family", "priority", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_event_at", "event", ["at"], unique=False)
    op.create_index("ix_instance_received_at", "instance", ["received_at"], unique=False)
    for table in ("instance", "report", "report_object"):
        op.create_index(f"ix_{table}_path", table, ["path"], unique=False)
    op.create_table(
        "vault",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_vault_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault")),
    )
    _back_fill()
    _folders()
    _notices()


def _back_fill() -> None:
    op.create_table(
        "backfill",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("archive", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("date_from", sa.String(length=8), nullable=False),
        sa.Column("date_to", sa.String(length=8), nullable=False),
        sa.Column("modalities", sa.JSON(), nullable=False),
        sa.Column("families", sa.JSON(), nullable=False),
        sa.Column("anytime", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("found_to", sa.String(length=8), nullable=True),
        sa.Column("remarks", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("origin IN ('person', 'night')", name=op.f("ck_backfill_origin")),
        sa.CheckConstraint("state IN ('finding', 'retrieving', 'done', 'stopped')", name=op.f("ck_backfill_state")),
        sa.CheckConstraint("anytime IN (0, 1)", name=op.f("ck_backfill_anytime")),
        sa.CheckConstraint("date_from <= date_to", name=op.f("ck_backfill_dates")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfill")),
    )
    op.create_index(
        "uq_backfill_night",
        "backfill",
        ["archive", "date_from", "date_to"],
        unique=True,
        sqlite_where=sa.text("origin = 'night'"),
        postgresql_where=sa.text("origin = 'night'"),
    )
    op.create_table(
        "retrieval",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("backfill_id", IDENTITY, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.String(length=8), nullable=False),
        sa.Column("expected", sa.JSON(), nullable=False),
        sa.Column("held", sa.JSON(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=True),
        sa.Column("brings", sa.Integer(), nullable=True),
        sa.CheckConstraint("brings IN (0, 1)", name=op.f("ck_retrieval_brings")),
        *_lease("retrieval", ("wanted", "retrieving", "complete", "gone", "failed"), held="retrieving"),
        sa.ForeignKeyConstraint(["backfill_id"], ["backfill.id"], name=op.f("fk_retrieval_backfill_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retrieval")),
        sa.UniqueConstraint(
            "backfill_id", "study_instance_uid", name=op.f("uq_retrieval_backfill_id_study_instance_uid")
        ),
    )
    op.create_index("ix_retrieval_ready", "retrieval", ["state", "backfill_id", "id"], unique=False)
    op.create_index("ix_retrieval_study_instance_uid", "retrieval", ["study_instance_uid"], unique=False)


def _folders() -> None:
    op.create_table(
        "watched_file",
        sa.Column("folder", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("looked_at", sa.DateTime(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("folder", "path", name=op.f("pk_watched_file")),
    )
    op.create_index("ix_watched_file_looked_at", "watched_file", ["looked_at"], unique=False)
    op.create_index("ix_watched_file_seen_at", "watched_file", ["seen_at"], unique=False)


def _notices() -> None:
    op.create_table(
        "notice",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("taken", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        *_lease("notice", ("pending", "sending", "sent", "delivered", "parked"), held="sending"),
        sa.CheckConstraint("kind IN ('night', 'alarm')", name=op.f("ck_notice_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sa.UniqueConstraint("kind", "subject", name=op.f("uq_notice_kind_subject")),
    )


def _lease(table: str, states: tuple[str, ...], *, held: str) -> list[sa.schema.SchemaItem]:
    words = ", ".join(f"'{state}'" for state in states)
    return [
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("run_after", sa.DateTime(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint(f"state IN ({words})", name=op.f(f"ck_{table}_state")),
        sa.CheckConstraint(f"(state = '{held}') = (lease_owner IS NOT NULL)", name=op.f(f"ck_{table}_lease_owner")),
        sa.CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name=op.f(f"ck_{table}_lease_until")),
        sa.CheckConstraint("attempts >= 0", name=op.f(f"ck_{table}_attempts")),
    ]
