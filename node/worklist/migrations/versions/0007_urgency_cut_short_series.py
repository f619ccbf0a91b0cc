"""The series of an object in quarantine: how many of its images are missing there."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("series_instance_uid", sa.String(64)))
