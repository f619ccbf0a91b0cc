"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

UID = sa.String(length=64)
MOMENT = sa.DateTime(timezone=True)
PRIORITIES = ("SUSPECTED", "NOT_ANALYSED", "PENDING", "NOT_SUSPECTED")
STATES = (
    "RECEIVING",
    "ASSEMBLED",
    "TRIAGED",
    "NOT_ANALYSED",
    "REPORTED",
    "DELIVERED",
    "SKIPPED",
    "FAILED",
)
STATUSES = ("OWED", "SENT", "DEAD", "CANCELLED")
CASE_STEPS = ("assembled", "triaged", "flagged", "reported", "delivered")


def upgrade() -> None:
    _create_quarantine()
    _create_study()
    _create_reading()
    _create_series()
    _create_case()
    _create_instance()
    _create_delivery()
    _create_event()


def _create_quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", UID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", UID),
        sa.Column("sop_instance_uid", UID),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("path", "code", name=op.f("uq_quarantine_path_code")),
    )
    op.create_index("ix_quarantine_study_instance_uid", "quarantine", ["study_instance_uid"])


def _create_study() -> None:
    op.create_table(
        "study",
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("study_description", sa.Text(), nullable=False),
        sa.Column("first_received_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_study")),
    )


def _create_reading() -> None:
    op.create_table(
        "reading",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Boolean()),
        sa.Column("shown", _one_of("shown", *PRIORITIES), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_reading_study_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reading")),
    )
    op.create_index("ix_reading_study_instance_uid", "reading", ["study_instance_uid"])


def _create_series() -> None:
    op.create_table(
        "series",
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("first_received_at", MOMENT, nullable=False),
        sa.Column("last_received_at", MOMENT, nullable=False),
        sa.Column("released_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_series_study_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("series_instance_uid", name=op.f("pk_series")),
    )
    op.create_index("ix_series_study_instance_uid", "series", ["study_instance_uid"])


def _create_case() -> None:
    op.create_table(
        "case",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("supersedes", sa.Integer()),
        sa.Column("state", _one_of("state", *STATES), nullable=False),
        sa.Column("priority", _one_of("priority", *PRIORITIES), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("lease_until", MOMENT),
        sa.Column("probability", sa.Float()),
        sa.Column("volume_ml", sa.Float()),
        sa.Column("subtypes", sa.JSON(), nullable=False),
        sa.Column("key_slice_sop_instance_uid", UID),
        sa.Column("bundle", sa.Text()),
        sa.Column("reason_code", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("limitations", sa.JSON(), nullable=False),
        sa.Column("last_slice_at", MOMENT),
        *(sa.Column(f"{step}_at", MOMENT) for step in CASE_STEPS),
        *_case_checks(),
        sa.ForeignKeyConstraint(
            ["series_instance_uid"],
            ["series.series_instance_uid"],
            name=op.f("fk_case_series_instance_uid"),
        ),
        sa.ForeignKeyConstraint(["supersedes"], ["case.id"], name=op.f("fk_case_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_case_supersedes")),
    )
    op.create_index("ix_case_series_instance_uid", "case", ["series_instance_uid"])
    op.create_index("ix_case_state_due_at", "case", ["state", "due_at"])
    op.create_index(
        "uq_case_first_of_series",
        "case",
        ["series_instance_uid"],
        unique=True,
        sqlite_where=sa.text("supersedes IS NULL"),
        postgresql_where=sa.text("supersedes IS NULL"),
    )


def _case_checks() -> tuple[sa.CheckConstraint, ...]:
    return (
        sa.CheckConstraint(
            "priority != 'NOT_ANALYSED' AND state NOT IN ('NOT_ANALYSED', 'SKIPPED', 'FAILED') "
            "OR reason IS NOT NULL",
            name=op.f("ck_case_says_why"),
        ),
        sa.CheckConstraint(
            "priority NOT IN ('SUSPECTED', 'NOT_SUSPECTED') OR probability IS NOT NULL",
            name=op.f("ck_case_read"),
        ),
        sa.CheckConstraint(
            "(claimed_by IS NULL) = (lease_until IS NULL)", name=op.f("ck_case_lease")
        ),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_case_probability")),
        sa.CheckConstraint("volume_ml >= 0", name=op.f("ck_case_volume")),
    )


def _create_instance() -> None:
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", UID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("header", sa.JSON(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["series_instance_uid"],
            ["series.series_instance_uid"],
            name=op.f("fk_instance_series_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_instance_sop_instance_uid")),
    )
    op.create_index("ix_instance_series_instance_uid", "instance", ["series_instance_uid"])


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("status", _one_of("status", *STATUSES), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("lease_until", MOMENT),
        sa.Column("last_status", sa.Integer()),
        sa.Column("last_message", sa.Text()),
        sa.Column("sent_at", MOMENT),
        sa.CheckConstraint(
            "(claimed_by IS NULL) = (lease_until IS NULL)", name=op.f("ck_delivery_lease")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_delivery_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint(
            "case_id",
            "destination",
            "sop_instance_uid",
            name=op.f("uq_delivery_case_id_destination_sop_instance_uid"),
        ),
    )
    op.create_index("ix_delivery_status_due_at", "delivery", ["status", "due_at"])


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", UID),
        sa.Column("case_id", sa.Integer()),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_event_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index("ix_event_study_instance_uid", "event", ["study_instance_uid"])


def _one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)
