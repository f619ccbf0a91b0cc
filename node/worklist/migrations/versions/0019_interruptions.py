"""How often the stage of a case was ended from outside, which is no attempt of the case's."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column(
        "case", sa.Column("interruptions", sa.Integer(), nullable=False, server_default="0")
    )
