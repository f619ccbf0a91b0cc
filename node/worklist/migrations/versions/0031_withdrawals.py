"""Results that a person withdrew, and that the audit trail notes it."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED", "QUARANTINE"),
    *("QUERIED", "RETRIEVED", "STORED", "DELIVERED", "STARTED", "STOPPED"),
    *("COMMITMENT", "COVERAGE", "REFUSED", "CANARY", "WATCH"),
)
NEW = ("RETRACTED",)


def upgrade() -> None:
    op.create_table(
        "withdrawal",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_withdrawal_case_id")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_withdrawal")),
    )
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
