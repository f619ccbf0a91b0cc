"""What was purged: of which study, by whom, when, and whether its files are gone."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

MOMENT = sa.DateTime(timezone=True)
DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED"),
)


def upgrade() -> None:
    op.add_column("study", sa.Column("pixels_purged_at", MOMENT))
    op.add_column("study", sa.Column("purged_until", MOMENT))
    op.add_column("instance", sa.Column("purged_at", MOMENT))
    op.add_column("case", sa.Column("purged_at", MOMENT))
    op.create_table(
        "purge",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("results", sa.Boolean(), nullable=False),
        sa.Column("series", sa.JSON(), nullable=False),
        sa.Column("objects", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("done_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_purge_study_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purge")),
    )
    op.create_index("ix_purge_study_instance_uid", "purge", ["study_instance_uid"])
    op.create_index("ix_purge_done_at", "purge", ["done_at"])
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
