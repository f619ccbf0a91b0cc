"""Each row of the audit trail holds a digest of itself and of the row before it."""

from datetime import UTC

import sqlalchemy as sa
from alembic import op

from node.worklist.trail.chained import GENESIS, digest

revision = "0017"
down_revision = "0016"

DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT"),
)
NEW = ("ECHOED", "DELIVERIES")


def upgrade() -> None:
    with op.batch_alter_table("audit") as table:
        for name in ("previous", "digest"):
            table.add_column(sa.Column(name, sa.String(64), server_default="", nullable=False))
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
    _link(op.get_bind())
    with op.batch_alter_table("audit") as table:
        table.alter_column("previous", server_default=None)
        table.alter_column("digest", server_default=None)


def _link(db: sa.Connection) -> None:
    """Number the rows without gaps, and chain them as they stand."""
    audit = sa.table(
        "audit",
        *(sa.column(name) for name in ("id", "what", "who", "study_instance_uid", "about")),
        *(sa.column(name) for name in ("address", "session", "previous", "digest")),
        sa.column("at", sa.DateTime(timezone=True)),
    )
    previous = GENESIS
    for number, row in enumerate(db.execute(sa.select(audit).order_by(audit.c.id)).mappings(), 1):
        line = {**row, "id": number, "previous": previous}
        line["at"] = line["at"] if line["at"].tzinfo else line["at"].replace(tzinfo=UTC)
        previous = digest(line)
        values = {"id": number, "previous": line["previous"], "digest": previous}
        db.execute(audit.update().where(audit.c.id == row["id"]).values(values))
