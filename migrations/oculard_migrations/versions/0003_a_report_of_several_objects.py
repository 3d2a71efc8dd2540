"""A report may consist of several DICOM objects, and a peer takes and promises to keep each of them.

What a peer took stood in the delivery itself: it moves to a table with a row for each object. Older programs do not
find it there any more: they are stopped before this.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TAKEN = """
INSERT INTO delivery_object (delivery_id, ordinal, role, sop_class_uid, sop_instance_uid, committed_at)
SELECT id, 0, 'sr', sent_sop_class_uid, sent_sop_instance_uid,
       CASE WHEN state = 'delivered' AND transaction_uid IS NOT NULL THEN changed_at END
FROM delivery
WHERE sent_sop_instance_uid IS NOT NULL
"""


def upgrade() -> None:
    op.create_table(
        "report_object",
        sa.Column("report_id", IDENTITY, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_report_object_ordinal")),
        sa.CheckConstraint("role IN ('seg', 'sc', 'pdf')", name=op.f("ck_report_object_role")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_object_report_id")),
        sa.PrimaryKeyConstraint("report_id", "ordinal", name=op.f("pk_report_object")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_report_object_sop_instance_uid")),
    )
    op.create_table(
        "delivery_object",
        sa.Column("delivery_id", IDENTITY, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("committed_at", sa.DateTime(), nullable=True),
        sa.CheckConstraint("reason IS NULL OR committed_at IS NULL", name=op.f("ck_delivery_object_committed_at")),
        sa.CheckConstraint("role IN ('seg', 'sc', 'pdf', 'sr')", name=op.f("ck_delivery_object_role")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_object_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "ordinal", name=op.f("pk_delivery_object")),
    )
    op.create_index("ix_delivery_object_sop_instance_uid", "delivery_object", ["sop_instance_uid"], unique=False)
    op.execute(TAKEN)
    op.drop_column("delivery", "sent_sop_class_uid")
    op.drop_column("delivery", "sent_sop_instance_uid")
