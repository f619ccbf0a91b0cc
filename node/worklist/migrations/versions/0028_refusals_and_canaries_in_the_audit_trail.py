"""The audit trail notes refused storage commitment, and who accepted what a canary found."""

from alembic import op

revision = "0028"
down_revision = "0027"

DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED", "QUARANTINE"),
    *("QUERIED", "RETRIEVED", "STORED", "DELIVERED", "STARTED", "STOPPED"),
    *("COMMITMENT", "COVERAGE"),
)
NEW = ("REFUSED", "CANARY")


def upgrade() -> None:
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
