"""Prior studies, how a series was closed, and the series of what is owed.

What came before the upgrade counts as current; of its reports the series is not known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "case", sa.Column("prior", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("case", sa.Column("closed_by", sa.Text()))
    op.add_column("case", sa.Column("saved_s", sa.Float()))
    op.add_column("delivery", sa.Column("series_instance_uid", sa.String(64)))
