"""Which part of its series a case reads, and how many associations carried a series.

Older cases read whole series.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

FIRST = sa.text("supersedes IS NULL")


def upgrade() -> None:
    op.add_column("case", sa.Column("part", sa.Integer(), nullable=False, server_default="0"))
    count = sa.Column("associations", sa.Integer(), nullable=False, server_default="0")
    op.add_column("series", count)
    op.drop_index("uq_case_first_of_series", "case")
    op.create_index(
        "uq_case_first_of_series",
        "case",
        ["series_instance_uid", "part"],
        unique=True,
        sqlite_where=FIRST,
        postgresql_where=FIRST,
    )
