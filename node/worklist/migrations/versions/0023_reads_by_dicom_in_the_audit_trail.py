"""The audit trail notes what peers read and get, and how far a collector has it."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED"),
)
NEW = ("QUARANTINE", "QUERIED", "RETRIEVED", "STORED", "DELIVERED", "STARTED", "STOPPED")


def upgrade() -> None:
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
    op.create_table(
        "audit_forwarding",
        sa.Column("collector", sa.Text(), nullable=False),
        sa.Column("last_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("collector", name=op.f("pk_audit_forwarding")),
    )
