"""Which bundle reads, and what another one reads in its shadow."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

MOMENT = sa.DateTime(timezone=True)
DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT", "ECHOED", "DELIVERIES", "PURGED", "QUARANTINE"),
    *("QUERIED", "RETRIEVED", "STORED", "DELIVERED", "STARTED", "STOPPED"),
    *("COMMITMENT", "COVERAGE", "REFUSED", "CANARY", "WATCH", "RETRACTED"),
)
NEW = ("BUNDLE",)
DECIDED = ("PROMOTED", "ROLLED_BACK")
RESULTS = ("SUSPECTED", "NO_FINDING", "NOT_ANALYSED", "FAILED", "KILLED", "PURGED")


def upgrade() -> None:
    op.create_table(
        "bundle_release",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "what", sa.Enum(*DECIDED, name="what", native_enum=False, length=16), nullable=False
        ),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("folder", "name", "version")),
        sa.Column("digest", sa.String(64), nullable=False),
        *(sa.Column(f"was_{name}", sa.Text(), nullable=False) for name in ("folder", "name")),
        sa.Column("was_version", sa.Text(), nullable=False),
        sa.Column("was_digest", sa.String(64), nullable=False),
        sa.Column("by_settings", sa.Boolean(), nullable=False),
        sa.Column("read", sa.Integer(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.CheckConstraint(f"what IN {DECIDED}", name=op.f("ck_bundle_release_what")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle_release")),
    )
    op.create_table(
        "shadow_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("live_name", sa.Text(), nullable=False),
        sa.Column("live_version", sa.Text(), nullable=False),
        sa.Column("live_digest", sa.String(64), nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_run")),
        sa.UniqueConstraint("digest", "live_digest", name=op.f("uq_shadow_run_digest_live_digest")),
    )
    op.create_table(
        "shadow_reading",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("lease_until", MOMENT),
        sa.Column("result", sa.Enum(*RESULTS, name="result", native_enum=False, length=16)),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("probability", sa.Float()),
        sa.Column("uncertain", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("volume_ml", sa.Float()),
        sa.Column("operating_point", sa.Text(), nullable=False, server_default=""),
        sa.Column("threshold", sa.Float()),
        sa.Column("seconds", sa.Float()),
        sa.Column("more", sa.JSON(), nullable=False),
        sa.Column("live", sa.JSON(), nullable=False),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("picture", sa.LargeBinary()),
        sa.Column("live_picture", sa.LargeBinary()),
        sa.Column("read_at", MOMENT),
        sa.CheckConstraint(f"result IN {RESULTS}", name=op.f("ck_shadow_reading_result")),
        sa.CheckConstraint(
            "(claimed_by IS NULL) = (lease_until IS NULL)", name=op.f("ck_shadow_reading_lease")
        ),
        sa.CheckConstraint(
            "(result IS NULL) = (read_at IS NULL)", name=op.f("ck_shadow_reading_ended")
        ),
        sa.CheckConstraint(
            "result NOT IN ('SUSPECTED', 'NO_FINDING') OR probability IS NOT NULL",
            name=op.f("ck_shadow_reading_read"),
        ),
        sa.CheckConstraint(
            "result NOT IN ('NOT_ANALYSED', 'FAILED', 'KILLED', 'PURGED') OR reason != ''",
            name=op.f("ck_shadow_reading_says_why"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["shadow_run.id"], name=op.f("fk_shadow_reading_run_id")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_shadow_reading_case_id")),
        sa.PrimaryKeyConstraint("run_id", "case_id", name=op.f("pk_shadow_reading")),
    )
    op.create_index(op.f("ix_shadow_reading_case_id"), "shadow_reading", ["case_id"])
    with op.batch_alter_table("audit") as table:
        table.drop_constraint(op.f("ck_audit_what"), type_="check")
        words = ", ".join(f"'{deed}'" for deed in DEEDS + NEW)
        table.create_check_constraint(op.f("ck_audit_what"), f"what IN ({words})")
