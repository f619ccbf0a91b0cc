"""The tables of how the node runs: jobs, processes, clock, purges, and why nothing is sent."""

import sqlalchemy as sa

from node.worklist.schema.columns import at, uid
from node.worklist.schema.tables import metadata, study

unreachable = sa.Table(
    "unreachable",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    at("since"),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    at("next_try_at"),
)
"""Destinations with which there was no connection when they were last tried."""

pause = sa.Table(
    "pause",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    at("since"),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", "one"),
)
"""While it has its row, nothing is sent."""

job = sa.Table(
    "job",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    at("ran_at", nullable=True),
    sa.Column("error", sa.Text),
    at("failed_at", nullable=True),
    at("next_at", nullable=True),
    sa.CheckConstraint("(error IS NULL) = (failed_at IS NULL)", "failed"),
)
"""What the node does again and again; `error` is of the last run that failed, `next_at` of a job
that has a time."""

process = sa.Table(
    "process",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    at("started_at"),
    at("ready_at", nullable=True),
    at("seen_at"),
    sa.Column("waits", sa.Text, nullable=False, server_default=""),
)
"""Which processes of the node run, and what each waits for ("": it gets on); the row of one that
was killed stays, and grows old."""

clock = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    at("at"),
)
"""One row: what the time was when a process last noted it."""

purge = sa.Table(
    "purge",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    sa.Column("results", sa.Boolean, nullable=False),
    sa.Column("series", sa.JSON, nullable=False),
    sa.Column("objects", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    at("at"),
    at("done_at", nullable=True),
    sa.Index("ix_purge_done_at", "done_at"),
)
"""Whose files were removed, when and why; without `done_at` that is under way. `instance.purged_at`
says so of each object, `case.purged_at` of the results, and `study.pixels_purged_at` while an
object of the study is purged; images came since where its last one came after `purged_until`."""
