"""The worklist's tables. The database holds the invariants; the code only asks.

A part of a series (most have one) has one chain of cases: one first case, each later one
superseding the one before. A case that was not read says why, and one that was read has its
probability: neither can be stored otherwise. Nothing here holds a patient's name.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from node.news import What
from node.records import StepStatus
from node.states import Priority, State


class DeliveryStatus(StrEnum):
    """Where one owed parcel stands."""

    OWED = "OWED"
    SENT = "SENT"
    DEAD = "DEAD"
    """Given up or refused for good: a person must look."""
    CANCELLED = "CANCELLED"
    """No longer owed: the case was replayed or superseded before it was sent."""


class Decision(StrEnum):
    """What became of an object in quarantine."""

    RELEASED = "RELEASED"
    """Filed by a person's will."""
    DISCARDED = "DISCARDED"
    """Not to be filed; its bytes stay on disk."""
    DELETED = "DELETED"
    """Not to be filed; its bytes were removed by a person's will."""
    REPLACED = "REPLACED"
    """A released object of the same SOPInstanceUID took its place, or a whole one did."""


class Mistake(StrEnum):
    """In which way a person found a result to be wrong."""

    MISSED = "MISSED"
    """There is a hemorrhage, or one more, that was not suspected."""
    FALSE_ALARM = "FALSE_ALARM"
    """What was suspected is no hemorrhage."""


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC, in and out, also where the database keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the value in UTC; a naive one is an error."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the stored value with its zone."""
        del dialect
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value).astimezone(
            UTC
        )


def _closed(values: type[StrEnum], name: str) -> sa.Enum:
    return sa.Enum(values, name=name, native_enum=False, create_constraint=True, length=16)


def _uid(name: str, *keys: sa.ForeignKey, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), *keys, **options)


def _at(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, Utc, nullable=nullable)


def _lease() -> tuple[sa.Column[Any], ...]:
    """Return the columns of a row that workers claim; a claim is both of the last two, or none."""
    return (
        sa.Column("attempts", sa.Integer, nullable=False, default=0),
        _at("due_at"),
        sa.Column("claimed_by", sa.Text),
        _at("lease_until", nullable=True),
    )


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
    _uid("study_instance_uid", primary_key=True),
    sa.Column("patient_id", sa.Text, nullable=False, index=True),
    sa.Column("patient_birth_date", sa.Text, nullable=False),
    sa.Column("accession_number", sa.Text, nullable=False, index=True),
    sa.Column("study_description", sa.Text, nullable=False),
    _at("first_received_at"),
)

series = sa.Table(
    "series",
    metadata,
    _uid("series_instance_uid", primary_key=True),
    _uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    _at("first_received_at"),
    _at("last_received_at"),
    _at("released_at", nullable=True),
    sa.Column("associations", sa.Integer, nullable=False, server_default="0"),
    sa.Index("ix_series_last_received_at", "last_received_at"),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _uid("sop_instance_uid", nullable=False, unique=True),
    _uid(
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
    _at("received_at"),
)

case = sa.Table(
    "case",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _uid("series_instance_uid", sa.ForeignKey(series.c.series_instance_uid), nullable=False),
    sa.Column("part", sa.Integer, nullable=False, server_default="0"),
    sa.Column("supersedes", sa.Integer, sa.ForeignKey("case.id"), unique=True),
    sa.Column("state", _closed(State, "state"), nullable=False),
    sa.Column("priority", _closed(Priority, "priority"), nullable=False),
    *_lease(),
    sa.Column("probability", sa.Float),
    sa.Column("uncertainty", sa.Float),
    sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("volume_ml", sa.Float),
    sa.Column("subtypes", sa.JSON, nullable=False, default=dict),
    _uid("key_slice_sop_instance_uid"),
    sa.Column("bundle", sa.Text),
    sa.Column("reason_code", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("limitations", sa.JSON, nullable=False, default=list),
    sa.Column("prior", sa.Boolean, nullable=False, server_default=sa.false()),
    _at("closed_at", nullable=True),
    sa.Column("closed_by", sa.Text),
    sa.Column("saved_s", sa.Float),
    _uid("preferred_series_uid"),
    sa.Column("preferred_by", sa.Text),
    sa.Column("scan", sa.Text, nullable=False, server_default=""),
    sa.Column("acquired", sa.Text, nullable=False, server_default=""),
    _at("last_slice_at", nullable=True),
    _at("assembled_at", nullable=True),
    _at("triaged_at", nullable=True),
    _at("flagged_at", nullable=True),
    _at("reported_at", nullable=True),
    _at("delivered_at", nullable=True),
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
    sa.Column("status", _closed(DeliveryStatus, "status"), nullable=False),
    *_lease(),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_message", sa.Text),
    _at("sent_at", nullable=True),
    sa.UniqueConstraint("case_id", "channel", "destination", "dedup_key"),
    sa.CheckConstraint(WHOLE_LEASE, "lease"),
)
sa.Index("ix_delivery_status_due_at", delivery.c.status, delivery.c.due_at)

acknowledgement = sa.Table(
    "acknowledgement",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("agrees", sa.Boolean),
    sa.Column("shown", _closed(Priority, "shown"), nullable=False),
    _at("at"),
    sa.Column("mistake", _closed(Mistake, "mistake")),
    sa.Column("place", sa.Text),
    sa.Column("reason", sa.Text),
    _at("undone_at", nullable=True),
    sa.Column("undone_by", sa.Text),
    sa.CheckConstraint("mistake IS NULL OR (agrees IS NOT NULL AND NOT agrees)", "disagrees"),
    sa.CheckConstraint("(undone_at IS NULL) = (undone_by IS NULL)", "undone"),
)

news = sa.Table(
    "news",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _uid("study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id), nullable=False),
    sa.Column("what", _closed(What, "what"), nullable=False),
    sa.Column("priority", _closed(Priority, "priority"), nullable=False),
    sa.Column("prior", sa.Boolean, nullable=False),
    sa.Column("result", sa.String(64), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    _at("at"),
    sa.UniqueConstraint("study_instance_uid", "number"),
)
sa.Index("ix_news_at", news.c.at)

correction = sa.Table(
    "correction",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _uid(
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
    _at("at"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _at("at"),
    sa.Column("what", sa.Text, nullable=False),
    _uid("study_instance_uid", index=True),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id)),
    sa.Column("detail", sa.JSON, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _at("at"),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    _uid("study_instance_uid", index=True),
    _uid("series_instance_uid"),
    _uid("sop_instance_uid"),
    sa.Column("decision", _closed(Decision, "decision")),
    _at("decided_at", nullable=True),
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
    _uid("sop_instance_uid", primary_key=True),
    _uid("study_instance_uid", primary_key=True, index=True),
    sa.Column("status", _closed(StepStatus, "status"), nullable=False),
    sa.Column("modality", sa.Text, nullable=False),
    sa.Column("images", sa.JSON, nullable=False),
    _at("at"),
)
"""Modality performed procedure steps; of a step that has ended, the announcements have the list."""

announcement = sa.Table(
    "announcement",
    metadata,
    _uid("study_instance_uid", primary_key=True),
    _uid("series_instance_uid", primary_key=True),
    sa.Column("told_by", sa.Text, primary_key=True),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("listed", sa.JSON, nullable=False),
    _at("at"),
    sa.CheckConstraint("images >= 0", "images"),
)
"""How many images a series has, told from outside; also of studies of which nothing has come."""

job = sa.Table(
    "job",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _at("ran_at"),
    sa.Column("error", sa.Text),
    _at("failed_at", nullable=True),
    sa.CheckConstraint("(error IS NULL) = (failed_at IS NULL)", "failed"),
)
"""What the node does again and again; `error` is of the last run that failed."""
