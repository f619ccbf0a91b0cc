"""The worklist's tables. The database holds the invariants; the code only asks.

A part of a series (most have one) has one chain of cases: one first case, each later one
superseding the one before. A case that was not read says why, and one that was read has its
probability: neither can be stored otherwise. Only `archived_study` holds names.
"""

import sqlalchemy as sa

from node.announced import StepStatus
from node.news import What
from node.states import Priority, State
from node.worklist.schema.columns import (
    Decision,
    DeliveryStatus,
    Mistake,
    at,
    catalogued,
    closed,
    lease,
    uid,
)


def _index_of_uncatalogued(table: sa.Table) -> None:
    waiting = ~table.c.catalogued
    name = f"ix_{table.name}_uncatalogued"
    sa.Index(name, table.c.id, sqlite_where=waiting, postgresql_where=waiting)


WHOLE_LEASE = "(claimed_by IS NULL) = (lease_until IS NULL)"

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

study = sa.Table(
    "study",
    metadata,
    uid("study_instance_uid", primary_key=True),
    sa.Column("patient_id", sa.Text, nullable=False, index=True),
    sa.Column("patient_birth_date", sa.Text, nullable=False),
    sa.Column("accession_number", sa.Text, nullable=False, index=True),
    sa.Column("study_description", sa.Text, nullable=False),
    at("first_received_at"),
    at("pixels_purged_at", nullable=True),
    at("purged_until", nullable=True),
)

series = sa.Table(
    "series",
    metadata,
    uid("series_instance_uid", primary_key=True),
    uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    at("first_received_at"),
    at("last_received_at"),
    at("released_at", nullable=True),
    sa.Column("associations", sa.Integer, nullable=False, server_default="0"),
    sa.Index("ix_series_last_received_at", "last_received_at"),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid("sop_instance_uid", nullable=False, unique=True),
    uid(
        "series_instance_uid",
        sa.ForeignKey(series.c.series_instance_uid),
        nullable=False,
        index=True,
    ),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("header", sa.JSON, nullable=False),
    at("received_at"),
    at("committed_until", nullable=True),
    catalogued(new=False),
    at("purged_at", nullable=True),
)
"""`committed_until`: the node has committed itself to keep the object and its bytes until then."""
_index_of_uncatalogued(instance)

case = sa.Table(
    "case",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid("series_instance_uid", sa.ForeignKey(series.c.series_instance_uid), nullable=False),
    sa.Column("part", sa.Integer, nullable=False, server_default="0"),
    sa.Column("supersedes", sa.Integer, sa.ForeignKey("case.id"), unique=True),
    sa.Column("state", closed(State, "state"), nullable=False),
    sa.Column("priority", closed(Priority, "priority"), nullable=False),
    *lease(),
    sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"),
    sa.Column("probability", sa.Float),
    sa.Column("uncertainty", sa.Float),
    sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("volume_ml", sa.Float),
    sa.Column("subtypes", sa.JSON, nullable=False, default=dict),
    uid("key_slice_sop_instance_uid"),
    sa.Column("bundle", sa.Text),
    sa.Column("reason_code", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("limitations", sa.JSON, nullable=False, default=list),
    sa.Column("prior", sa.Boolean, nullable=False, server_default=sa.false()),
    at("closed_at", nullable=True),
    sa.Column("closed_by", sa.Text),
    sa.Column("saved_s", sa.Float),
    uid("preferred_series_uid"),
    sa.Column("preferred_by", sa.Text),
    sa.Column("scan", sa.Text, nullable=False, server_default=""),
    sa.Column("acquired", sa.Text, nullable=False, server_default=""),
    at("last_slice_at", nullable=True),
    at("assembled_at", nullable=True),
    at("triaged_at", nullable=True),
    at("flagged_at", nullable=True),
    at("reported_at", nullable=True),
    at("delivered_at", nullable=True),
    catalogued(new=True),
    at("purged_at", nullable=True),
    sa.CheckConstraint(WHOLE_LEASE, "lease"),
    sa.CheckConstraint("probability BETWEEN 0 AND 1", "probability"),
    sa.CheckConstraint("volume_ml >= 0", "volume"),
    sa.CheckConstraint(
        "priority NOT IN ('SUSPECTED', 'NOT_SUSPECTED') OR probability IS NOT NULL", "read"
    ),
    sa.CheckConstraint(
        "priority != 'NOT_ANALYSED' AND state NOT IN ('NOT_ANALYSED', 'SKIPPED', 'FAILED') "
        "OR reason IS NOT NULL",
        "says_why",
    ),
)
_index_of_uncatalogued(case)
sa.Index("ix_case_state_due_at", case.c.state, case.c.due_at)
sa.Index(
    "uq_case_first_of_series",
    case.c.series_instance_uid,
    case.c.part,
    unique=True,
    sqlite_where=case.c.supersedes.is_(None),
    postgresql_where=case.c.supersedes.is_(None),
)
sa.Index("ix_case_series_instance_uid", case.c.series_instance_uid)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload_path", sa.Text, nullable=False),
    sa.Column("dedup_key", sa.Text, nullable=False),
    sa.Column("address", sa.JSON, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("status", closed(DeliveryStatus, "status"), nullable=False),
    *lease(),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_message", sa.Text),
    at("sent_at", nullable=True),
    at("ask_at", nullable=True),
    sa.UniqueConstraint("case_id", "channel", "destination", "dedup_key"),
    sa.CheckConstraint(WHOLE_LEASE, "lease"),
)
"""`ask_at`: when to ask a destination that stored the object to commit itself to it; else None."""
sa.Index("ix_delivery_status_due_at", delivery.c.status, delivery.c.due_at)

confirmation = sa.Table(
    "confirmation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid("transaction_uid", nullable=False),
    sa.Column("delivery_id", sa.Integer, sa.ForeignKey(delivery.c.id), nullable=False, index=True),
    at("at"),
    sa.UniqueConstraint("transaction_uid", "delivery_id"),
)
"""Which deliveries a destination was asked to commit itself to, by which transaction."""

commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("caller", sa.Text, nullable=False),
    uid("transaction_uid", nullable=False),
    sa.Column("duplicate", sa.Boolean, nullable=False),
    sa.Column("asked", sa.JSON, nullable=False),
    sa.Column("status", closed(DeliveryStatus, "status"), nullable=False),
    *lease(),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_message", sa.Text),
    at("asked_at"),
    at("ended_at", nullable=True),
    sa.UniqueConstraint("caller", "transaction_uid", "duplicate"),
    sa.CheckConstraint(WHOLE_LEASE, "lease"),
)
"""What callers asked the node to keep, and whether it has reported; `duplicate` is a request under
the transaction UID of another one."""
sa.Index("ix_commitment_status_due_at", commitment.c.status, commitment.c.due_at)

acknowledgement = sa.Table(
    "acknowledgement",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("agrees", sa.Boolean),
    sa.Column("shown", closed(Priority, "shown"), nullable=False),
    at("at"),
    sa.Column("mistake", closed(Mistake, "mistake")),
    sa.Column("place", sa.Text),
    sa.Column("reason", sa.Text),
    at("undone_at", nullable=True),
    sa.Column("undone_by", sa.Text),
    sa.CheckConstraint("mistake IS NULL OR (agrees IS NOT NULL AND NOT agrees)", "disagrees"),
    sa.CheckConstraint("(undone_at IS NULL) = (undone_by IS NULL)", "undone"),
)

news = sa.Table(
    "news",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid("study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id), nullable=False),
    sa.Column("what", closed(What, "what"), nullable=False),
    sa.Column("priority", closed(Priority, "priority"), nullable=False),
    sa.Column("prior", sa.Boolean, nullable=False),
    sa.Column("result", sa.String(64), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    at("at"),
    sa.UniqueConstraint("study_instance_uid", "number"),
)
sa.Index("ix_news_at", news.c.at)

correction = sa.Table(
    "correction",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    sa.Column("was_patient_id", sa.Text, nullable=False),
    sa.Column("was_birth_date", sa.Text, nullable=False),
    sa.Column("patient_id", sa.Text, nullable=False),
    sa.Column("birth_date", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("last_delivery", sa.Integer, nullable=False),
    at("at"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    at("at"),
    sa.Column("what", sa.Text, nullable=False),
    uid("study_instance_uid", index=True),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id)),
    sa.Column("detail", sa.JSON, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    at("at"),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    uid("study_instance_uid", index=True),
    uid("series_instance_uid"),
    uid("sop_instance_uid"),
    sa.Column("decision", closed(Decision, "decision")),
    at("decided_at", nullable=True),
    sa.Column("decided_by", sa.Text),
    sa.Column("why", sa.Text),
    sa.CheckConstraint(
        "(decision IS NULL) = (decided_at IS NULL) AND (decision IS NULL) = (decided_by IS NULL)",
        "decided",
    ),
)
sa.Index(
    "uq_quarantine_open",
    quarantine.c.path,
    quarantine.c.code,
    unique=True,
    sqlite_where=quarantine.c.decision.is_(None),
    postgresql_where=quarantine.c.decision.is_(None),
)

procedure_step = sa.Table(
    "procedure_step",
    metadata,
    uid("sop_instance_uid", primary_key=True),
    uid("study_instance_uid", primary_key=True, index=True),
    sa.Column("status", closed(StepStatus, "status"), nullable=False),
    sa.Column("modality", sa.Text, nullable=False),
    sa.Column("images", sa.JSON, nullable=False),
    at("at"),
)
"""Modality performed procedure steps; of a step that has ended, the announcements have the list."""

announcement = sa.Table(
    "announcement",
    metadata,
    uid("study_instance_uid", primary_key=True),
    uid("series_instance_uid", primary_key=True),
    sa.Column("told_by", sa.Text, primary_key=True),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("listed", sa.JSON, nullable=False),
    at("at"),
    sa.CheckConstraint("images >= 0", "images"),
)
"""How many images a series has, told from outside; also of studies of which nothing has come."""
