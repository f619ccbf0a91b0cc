"""The tables of bundles: which one reads, and what another one reads in its shadow."""

import sqlalchemy as sa

from node.worklist.schema.columns import Released, ShadowResult, at, closed, lease, texts
from node.worklist.schema.tables import WHOLE_LEASE, case, metadata

bundle_release = sa.Table(
    "bundle_release",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("what", closed(Released, "what"), nullable=False),
    *texts("folder", "name", "version"),
    sa.Column("digest", sa.String(64), nullable=False),
    *texts("was_folder", "was_name", "was_version"),
    sa.Column("was_digest", sa.String(64), nullable=False),
    sa.Column("by_settings", sa.Boolean, nullable=False),
    sa.Column("read", sa.Integer, nullable=False),
    *texts("who", "why"),
    at("at"),
)
"""Which bundle reads since when: the newest row stands above the settings, unless it says
`by_settings`. `read` is how many studies the shadow had read of it. Rows are only added."""

shadow_run = sa.Table(
    "shadow_run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    *texts("name", "version"),
    sa.Column("digest", sa.String(64), nullable=False),
    *texts("live_name", "live_version"),
    sa.Column("live_digest", sa.String(64), nullable=False),
    at("began_at"),
    sa.UniqueConstraint("digest", "live_digest"),
)
"""One bundle in the shadow of another."""

shadow_reading = sa.Table(
    "shadow_reading",
    metadata,
    sa.Column("run_id", sa.Integer, sa.ForeignKey(shadow_run.c.id), primary_key=True),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id), primary_key=True, index=True),
    *lease(),
    sa.Column("result", closed(ShadowResult, "result")),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("probability", sa.Float),
    sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("volume_ml", sa.Float),
    sa.Column("operating_point", sa.Text, nullable=False, server_default=""),
    sa.Column("threshold", sa.Float),
    sa.Column("seconds", sa.Float),
    sa.Column("more", sa.JSON, nullable=False, default=dict),
    sa.Column("live", sa.JSON, nullable=False, default=dict),
    sa.Column("origin", sa.JSON, nullable=False, default=dict),
    sa.Column("picture", sa.LargeBinary),
    sa.Column("live_picture", sa.LargeBinary),
    at("read_at", nullable=True),
    sa.CheckConstraint(WHOLE_LEASE, "lease"),
    sa.CheckConstraint("(result IS NULL) = (read_at IS NULL)", "ended"),
    sa.CheckConstraint(
        "result NOT IN ('SUSPECTED', 'NO_FINDING') OR probability IS NOT NULL", "read"
    ),
    sa.CheckConstraint(
        "result NOT IN ('NOT_ANALYSED', 'FAILED', 'KILLED', 'PURGED') OR reason != ''", "says_why"
    ),
)
"""What the bundle of a run says of a case, and in `live` what the live one had said of it; nothing
of it leaves the node. Key slices are kept where the two differ, until the results are purged."""
