"""What a person decided about an object in quarantine. What was set aside before is undecided.

An object is open once; decided, its row stays, and the same bytes sent again open another.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    decision = sa.Enum(
        "RELEASED",
        "DISCARDED",
        "DELETED",
        "REPLACED",
        name="decision",
        native_enum=False,
        create_constraint=True,
        length=16,
    )
    with op.batch_alter_table("quarantine") as table:
        table.add_column(sa.Column("decision", decision))
        table.add_column(sa.Column("decided_at", sa.DateTime(timezone=True)))
        table.add_column(sa.Column("decided_by", sa.Text()))
        table.add_column(sa.Column("why", sa.Text()))
        table.create_check_constraint(
            op.f("ck_quarantine_decided"),
            "(decision IS NULL) = (decided_at IS NULL) "
            "AND (decision IS NULL) = (decided_by IS NULL)",
        )
        table.drop_constraint("uq_quarantine_path_code", type_="unique")
    op.create_index(
        "uq_quarantine_open",
        "quarantine",
        ["path", "code"],
        unique=True,
        sqlite_where=sa.text("decision IS NULL"),
        postgresql_where=sa.text("decision IS NULL"),
    )
