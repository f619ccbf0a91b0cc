"""How many images a series has, told by procedure steps, notifications and archives."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    status = sa.Enum(
        "IN_PROGRESS",
        "COMPLETED",
        "DISCONTINUED",
        name="status",
        native_enum=False,
        create_constraint=True,
        length=16,
    )
    op.create_table(
        "procedure_step",
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("status", status, nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "sop_instance_uid", "study_instance_uid", name=op.f("pk_procedure_step")
        ),
    )
    op.create_index(
        op.f("ix_procedure_step_study_instance_uid"), "procedure_step", ["study_instance_uid"]
    )
    op.create_table(
        "announcement",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("told_by", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("listed", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("images >= 0", name=op.f("ck_announcement_images")),
        sa.PrimaryKeyConstraint(
            "study_instance_uid", "series_instance_uid", "told_by", name=op.f("pk_announcement")
        ),
    )
