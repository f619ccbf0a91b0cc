"""What callers asked the node to keep, and what destinations were asked to."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

STATUS = "status IN ('OWED', 'SENT', 'DEAD', 'CANCELLED')"


def upgrade() -> None:
    op.add_column("instance", sa.Column("committed_until", sa.DateTime(timezone=True)))
    op.add_column("delivery", sa.Column("ask_at", sa.DateTime(timezone=True)))
    op.create_table(
        "confirmation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_confirmation")),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_confirmation_delivery_id")
        ),
        sa.UniqueConstraint(
            "transaction_uid",
            "delivery_id",
            name=op.f("uq_confirmation_transaction_uid_delivery_id"),
        ),
    )
    op.create_index(op.f("ix_confirmation_delivery_id"), "confirmation", ["delivery_id"])
    op.create_table(
        "commitment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("duplicate", sa.Boolean(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("last_status", sa.Integer()),
        sa.Column("last_message", sa.Text()),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint(
            "caller",
            "transaction_uid",
            "duplicate",
            name=op.f("uq_commitment_caller_transaction_uid_duplicate"),
        ),
        sa.CheckConstraint(
            "(claimed_by IS NULL) = (lease_until IS NULL)", name=op.f("ck_commitment_lease")
        ),
        sa.CheckConstraint(STATUS, name=op.f("ck_commitment_status")),
    )
    op.create_index("ix_commitment_status_due_at", "commitment", ["status", "due_at"])
