"""Accounts, their sessions, and the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

MOMENT = sa.DateTime(timezone=True)
VIEWS = sa.text("what IN ('STUDY', 'PICTURES', 'KEY_SLICE')")
DEEDS = (
    *("SIGNED_IN", "SIGN_IN_FAILED", "SIGNED_OUT", "LIST", "STUDY", "PICTURES", "KEY_SLICE"),
    *("FEEDBACK", "UNDONE", "ACCOUNT"),
)


def upgrade() -> None:
    _create_account()
    _create_session()
    _create_audit()


def _create_account() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("role", _closed("role", "VIEWER", "RADIOLOGIST", "ADMIN"), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("issuer", sa.Text()),
        sa.Column("subject", sa.Text()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("disabled_at", MOMENT),
        sa.CheckConstraint(
            "(password_hash IS NULL) = (subject IS NOT NULL) "
            "AND (issuer IS NULL) = (subject IS NULL)",
            name=op.f("ck_account_signs_in_one_way"),
        ),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_account_issuer_subject")),
        sa.UniqueConstraint("login", name=op.f("uq_account_login")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
    )


def _create_session() -> None:
    op.create_table(
        "session",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_session_account_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_session")),
    )
    op.create_index("ix_session_account_id", "session", ["account_id"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("what", _closed("what", *DEEDS), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64)),
        sa.Column("about", sa.Text()),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("session", sa.String(length=64)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_study_instance_uid", "audit", ["study_instance_uid"])
    op.create_index(
        "uq_audit_view",
        "audit",
        ["session", "what", "study_instance_uid"],
        unique=True,
        sqlite_where=VIEWS,
        postgresql_where=VIEWS,
    )


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)
