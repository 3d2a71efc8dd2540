"""A job may be on both eyes of a person.

Older programs write none of these rows and read them as any other: this is safe under the old code.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JOB = sa.Table(  # as 0001 made it: SQLite changes a constraint by writing the table anew, and tells nobody what it had
    "job",
    sa.MetaData(),
    sa.Column("id", IDENTITY, nullable=False),
    sa.Column("study_id", IDENTITY, nullable=False),
    sa.Column("family", sa.String(length=32), nullable=False),
    sa.Column("eye", sa.String(length=1), nullable=False),
    sa.Column("estimator", sa.String(length=64), nullable=False),
    sa.Column("inputs_digest", sa.String(length=64), nullable=False),
    sa.Column("generation", sa.Integer(), server_default=sa.text("0"), nullable=False),
    sa.Column("run_window", sa.String(length=8), nullable=False),
    sa.Column("priority", sa.Integer(), nullable=False),
    sa.Column("hindered", sa.Integer(), server_default=sa.text("0"), nullable=False),
    sa.Column("after_job_id", IDENTITY, nullable=True),
    sa.Column("created_at", sa.DateTime(), nullable=False),
    sa.Column("state", sa.String(length=16), nullable=False),
    sa.Column("run_after", sa.DateTime(), nullable=False),
    sa.Column("lease_owner", sa.String(length=128), nullable=True),
    sa.Column("lease_until", sa.DateTime(), nullable=True),
    sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
    sa.Column("reason", sa.String(length=64), nullable=True),
    sa.Column("changed_at", sa.DateTime(), nullable=False),
    sa.CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name="ck_job_lease_owner"),
    sa.CheckConstraint("eye IN ('R', 'L', 'U')", name="ck_job_eye"),
    sa.CheckConstraint("run_window IN ('now', 'night')", name="ck_job_run_window"),
    sa.CheckConstraint(
        "state IN ('waiting', 'queued', 'running', 'reported', 'rejected', 'failed')", name="ck_job_state"
    ),
    sa.CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="ck_job_lease_until"),
    sa.CheckConstraint("attempts >= 0", name="ck_job_attempts"),
    sa.ForeignKeyConstraint(["after_job_id"], ["job.id"], name="fk_job_after_job_id"),
    sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_job_study_id"),
    sa.PrimaryKeyConstraint("id", name="pk_job"),
    sa.UniqueConstraint(
        "study_id",
        "family",
        "eye",
        "estimator",
        "inputs_digest",
        name="uq_job_study_id_family_eye_estimator_inputs_digest",
    ),
    sa.Index("ix_job_ready", "state", "priority", "id"),
    sa.Index("ix_job_study_id", "study_id"),
)


def upgrade() -> None:
    with op.batch_alter_table("job", copy_from=JOB) as job:
        job.drop_constraint(op.f("ck_job_eye"), type_="check")
        job.create_check_constraint(op.f("ck_job_eye"), "eye IN ('R', 'L', 'B', 'U')")
