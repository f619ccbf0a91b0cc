"""The audit trail notes storage commitment, and who took a study off the coverage list; a process
says what it waits for."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED", "QUARANTINE"),
    *("QUERIED", "RETRIEVED", "STORED", "DELIVERED", "STARTED", "STOPPED"),
)
NEW = ("COMMITMENT", "COVERAGE")


def upgrade() -> None:
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
    op.add_column("process", sa.Column("waits", sa.Text(), nullable=False, server_default=""))
