"""Disagreement of the base networks. What was read before counts as certain."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("case", sa.Column("uncertainty", sa.Float()))
    op.add_column(
        "case", sa.Column("uncertain", sa.Boolean(), nullable=False, server_default=sa.false())
    )
