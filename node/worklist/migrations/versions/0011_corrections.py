"""Whose a study is by a message of the hospital's patient index, where its images say otherwise."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    study = "study.study_instance_uid"
    op.create_table(
        "correction",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_instance_uid", sa.String(64), sa.ForeignKey(study), nullable=False),
        sa.Column("was_patient_id", sa.Text(), nullable=False),
        sa.Column("was_birth_date", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("last_delivery", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_correction_study_instance_uid", "correction", ["study_instance_uid"])
    op.create_index("ix_study_patient_id", "study", ["patient_id"])
