"""When each job of the node runs next; one that waits for its first run is listed too."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("next_at", MOMENT))
        table.alter_column("ran_at", existing_type=MOMENT, nullable=True)
