"""Which scan of its study a case reads, and when it was acquired. Older cases share one scan."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("scan", "acquired"):
        op.add_column("case", sa.Column(name, sa.Text(), nullable=False, server_default=""))
