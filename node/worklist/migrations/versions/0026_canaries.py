"""The phantoms that the node sends to itself, what came of them, and the alarms that they raise."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

MOMENT = sa.DateTime(timezone=True)
PRIORITIES = ("SUSPECTED", "NOT_ANALYSED", "PENDING", "NOT_SUSPECTED")


def upgrade() -> None:
    op.create_table(
        "canary",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("sent_at", MOMENT, nullable=False),
        sa.Column("phantom", sa.String(64), nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("trouble", sa.Text()),
        sa.Column("priority", sa.Enum(*PRIORITIES, name="priority", native_enum=False, length=16)),
        sa.Column("probability", sa.Float()),
        sa.Column("volume_ml", sa.Float()),
        sa.Column("bundle", sa.Text()),
        sa.Column("door_to_flag_s", sa.Float()),
        sa.Column("reference", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("purged_at", MOMENT),
        sa.CheckConstraint(
            "priority IN ('SUSPECTED', 'NOT_ANALYSED', 'PENDING', 'NOT_SUSPECTED')",
            name=op.f("ck_canary_priority"),
        ),
        sa.CheckConstraint(
            "NOT reference OR probability IS NOT NULL", name=op.f("ck_canary_reference")
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_canary")),
    )
    op.create_table(
        "alarm",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("raised_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_index(
        "uq_alarm_standing",
        "alarm",
        ["what"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
