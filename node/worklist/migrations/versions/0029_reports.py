"""What radiologists' reports say of studies, and the reports that are of none."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

MOMENT = sa.DateTime(timezone=True)


def closed(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, length=16)


def upgrade() -> None:
    op.create_table(
        "report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("status", closed("status", "PRELIMINARY", "FINAL", "CORRECTED"), nullable=False),
        sa.Column("answer", closed("answer", "BLEEDS", "NONE", "CANNOT_TELL"), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("said_at", MOMENT, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "status IN ('PRELIMINARY', 'FINAL', 'CORRECTED')", name=op.f("ck_report_status")
        ),
        sa.CheckConstraint(
            "answer IN ('BLEEDS', 'NONE', 'CANNOT_TELL')", name=op.f("ck_report_answer")
        ),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_report_study_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint(
            "digest", "study_instance_uid", name=op.f("uq_report_digest_study_instance_uid")
        ),
    )
    op.create_index(op.f("ix_report_study_instance_uid"), "report", ["study_instance_uid"])
    op.create_table(
        "stray_report",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_stray_report")),
    )
    op.create_index("ix_stray_report_received_at", "stray_report", ["received_at"])
