"""Head CTs that an archive has and that never came: what each source lists, and how it answers."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    words = ("study_date", "study_time", "patient_id", "accession_number", "study_description")
    shows = sa.Enum("HEAD", "PERHAPS", "OTHER", name="shows", native_enum=False, length=16)
    op.create_table(
        "performed_study",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in words),
        sa.Column("images", sa.Integer()),
        sa.Column("shows", shows, nullable=False),
        sa.Column("series", sa.JSON(), nullable=False),
        sa.Column("exact", sa.Boolean(), nullable=False),
        sa.Column("first_told_at", MOMENT, nullable=False),
        sa.Column("last_told_at", MOMENT, nullable=False),
        sa.Column("came_at", MOMENT),
        sa.Column("set_aside_at", MOMENT),
        sa.Column("set_aside_by", sa.Text()),
        sa.CheckConstraint(
            "shows IN ('HEAD', 'PERHAPS', 'OTHER')", name=op.f("ck_performed_study_shows")
        ),
        sa.CheckConstraint(
            "(set_aside_at IS NULL) = (set_aside_by IS NULL)",
            name=op.f("ck_performed_study_set_aside"),
        ),
        sa.PrimaryKeyConstraint("source", "study_instance_uid", name=op.f("pk_performed_study")),
    )
    op.create_index(
        op.f("ix_performed_study_study_instance_uid"), "performed_study", ["study_instance_uid"]
    )
    op.create_table(
        "coverage_round",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("answered_at", MOMENT),
        sa.Column("studies", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("cut_off", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_coverage_round")),
    )
