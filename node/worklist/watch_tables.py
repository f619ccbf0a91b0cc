"""The tables of what the node watches itself by: what archives list, and its canaries."""

import sqlalchemy as sa

from node.announced import Shows
from node.worklist.columns import at, closed, texts, uid
from node.worklist.tables import metadata

performed_study = sa.Table(
    "performed_study",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    uid("study_instance_uid", primary_key=True, index=True),
    *texts("study_date", "study_time", "patient_id", "accession_number", "study_description"),
    sa.Column("images", sa.Integer),
    sa.Column("shows", closed(Shows, "shows"), nullable=False),
    sa.Column("series", sa.JSON, nullable=False),
    sa.Column("exact", sa.Boolean, nullable=False),
    at("first_told_at"),
    at("last_told_at"),
    at("came_at", nullable=True),
    at("set_aside_at", nullable=True),
    sa.Column("set_aside_by", sa.Text),
    sa.CheckConstraint("(set_aside_at IS NULL) = (set_aside_by IS NULL)", "set_aside"),
)
"""CT studies that a source lists; `came_at` is when all of one was found to be here."""

coverage_round = sa.Table(
    "coverage_round",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    at("asked_at"),
    at("answered_at", nullable=True),
    sa.Column("studies", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cut_off", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("error", sa.Text),
)
"""How the last question to each source went; `error` is None where it answered."""
