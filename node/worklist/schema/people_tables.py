"""The tables of people: their accounts and sessions, what they withdrew, what was done."""

import sqlalchemy as sa

from node.worklist.schema.columns import Deed, Role, at, closed, uid
from node.worklist.schema.tables import case, metadata

account = sa.Table(
    "account",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("login", sa.Text, nullable=False, unique=True),
    sa.Column("role", closed(Role, "role"), nullable=False),
    sa.Column("password_hash", sa.Text),
    sa.Column("issuer", sa.Text),
    sa.Column("subject", sa.Text),
    at("created_at"),
    at("disabled_at", nullable=True),
    sa.UniqueConstraint("issuer", "subject"),
    sa.CheckConstraint(
        "(password_hash IS NULL) = (subject IS NOT NULL) AND (issuer IS NULL) = (subject IS NULL)",
        "signs_in_one_way",
    ),
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("account_id", sa.Integer, sa.ForeignKey(account.c.id), nullable=False, index=True),
    sa.Column("csrf", sa.Text, nullable=False),
    at("created_at"),
    at("seen_at"),
    at("expires_at"),
)

withdrawal = sa.Table(
    "withdrawal",
    metadata,
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id), primary_key=True),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    at("at"),
)
"""The cases that withdraw the results of those that they supersede: such a case reads nothing."""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    at("at"),
    sa.Column("what", closed(Deed, "what"), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    uid("study_instance_uid", index=True),
    sa.Column("about", sa.Text),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("session", sa.String(64)),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Index("ix_audit_at", "at"),
)
VIEWS = "what IN ('STUDY', 'PICTURES', 'KEY_SLICE')"
sa.Index(
    "uq_audit_view",
    audit.c.session,
    audit.c.what,
    audit.c.study_instance_uid,
    unique=True,
    sqlite_where=sa.text(VIEWS),
    postgresql_where=sa.text(VIEWS),
)

audit_forwarding = sa.Table(
    "audit_forwarding",
    metadata,
    sa.Column("collector", sa.Text, primary_key=True),
    sa.Column("last_id", sa.Integer, nullable=False),
    at("at"),
)
"""Up to which row of the audit trail each collector has it."""
