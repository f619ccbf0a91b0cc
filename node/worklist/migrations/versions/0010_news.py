"""What was said of each study, by messages; the first to the last."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

WHAT = ("FLAG", "RAISE", "SUPERSEDE", "RETRACT")
PRIORITY = ("SUSPECTED", "NOT_ANALYSED", "PENDING", "NOT_SUSPECTED")


def _closed(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    study, case = "study.study_instance_uid", "case.id"
    op.create_table(
        "news",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_instance_uid", sa.String(64), sa.ForeignKey(study), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), sa.ForeignKey(case), nullable=False),
        sa.Column("what", _closed("what", WHAT), nullable=False),
        sa.Column("priority", _closed("priority", PRIORITY), nullable=False),
        sa.Column("prior", sa.Boolean(), nullable=False),
        sa.Column("result", sa.String(64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("study_instance_uid", "number"),
    )
    op.create_index("ix_news_at", "news", ["at"])
