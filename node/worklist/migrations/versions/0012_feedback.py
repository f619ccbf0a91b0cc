"""What a person found wrong, and where; feedback that was undone; indexes for the page."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

MOMENT = sa.DateTime(timezone=True)
KEPT = ("study_instance_uid", "who", "agrees", "shown", "at")
INDEXED = (
    ("study", "accession_number"),
    ("series", "last_received_at"),
)


def upgrade() -> None:
    _extend_acknowledgements(op.get_bind())
    for table, column in INDEXED:
        op.create_index(f"ix_{table}_{column}", table, [column])


def _extend_acknowledgements(db: sa.Connection) -> None:
    """Make the table anew, since SQLite adds no constraint to one; nothing refers to it."""
    columns: list[sa.Column[Any]] = [
        sa.column("id"),  # type: ignore[list-item]
        *(sa.column(name, MOMENT if name == "at" else None) for name in KEPT),  # type: ignore[list-item]
    ]
    old = sa.table("acknowledgement", *columns)
    rows = db.execute(sa.select(old).order_by(old.c.id)).mappings().all()
    op.drop_table("acknowledgement")
    table = _create()
    for row in rows:
        db.execute(table.insert().values({name: row[name] for name in KEPT}))
    op.create_index(
        "ix_acknowledgement_study_instance_uid", "acknowledgement", ["study_instance_uid"]
    )


def _create() -> sa.Table:
    return op.create_table(
        "acknowledgement",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Boolean()),
        sa.Column(
            "shown",
            _closed("shown", "SUSPECTED", "NOT_ANALYSED", "PENDING", "NOT_SUSPECTED"),
            nullable=False,
        ),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("mistake", _closed("mistake", "MISSED", "FALSE_ALARM")),
        sa.Column("place", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("undone_at", MOMENT),
        sa.Column("undone_by", sa.Text()),
        sa.CheckConstraint(
            "mistake IS NULL OR (agrees IS NOT NULL AND NOT agrees)",
            name=op.f("ck_acknowledgement_disagrees"),
        ),
        sa.CheckConstraint(
            "(undone_at IS NULL) = (undone_by IS NULL)", name=op.f("ck_acknowledgement_undone")
        ),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_acknowledgement_study_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acknowledgement")),
    )


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)
