"""The charts of the watch, what people decided of them, and that the audit trail notes it."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"

MOMENT = sa.DateTime(timezone=True)
DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED", "QUARANTINE"),
    *("QUERIED", "RETRIEVED", "STORED", "DELIVERED", "STARTED", "STOPPED"),
    *("COMMITMENT", "COVERAGE", "REFUSED", "CANARY"),
)
NEW = ("WATCH",)


def upgrade() -> None:
    op.create_table(
        "chart",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("scanner", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("figure", sa.JSON(), nullable=False),
        sa.Column("drawn_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chart")),
        sa.UniqueConstraint("scanner", "outcome", name=op.f("uq_chart_scanner_outcome")),
    )
    decided = sa.Enum("ACKNOWLEDGED", "RENEWED", name="what", native_enum=False, length=16)
    op.create_table(
        "chart_decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("scanner", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("what", decided, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "what IN ('ACKNOWLEDGED', 'RENEWED')", name=op.f("ck_chart_decision_what")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chart_decision")),
    )
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
