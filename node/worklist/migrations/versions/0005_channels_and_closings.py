"""Deliveries by channel, when a case was closed, which series was preferred; acknowledgements.

A delivery was a DICOM object with its UIDs in columns of their own. It becomes a parcel of a
channel: what it is (`kind`), what makes it unique (`dedup_key`), and what its channel needs
(`address`).

A case noted how much sooner than by the idle timer it was closed, and not when. `closed_at` follows
from `assemble.idle_s` in force at the upgrade. The series preferred to one that was passed over
stood in the text of the reason alone, by its description or its UID.
"""

import re
from collections import defaultdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0004"

MOMENT = sa.DateTime(timezone=True)
KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "1.2.840.10008.5.1.4.1.1.88.34": "sr",
    "1.2.840.10008.5.1.4.1.1.7": "capture",
}
PREFERRED = re.compile(r"series (?P<name>.+) is read instead: (?P<line>.+)", re.S)

case = sa.table(
    "case",
    sa.column("id", sa.Integer),
    sa.column("series_instance_uid"),
    sa.column("reason_code"),
    sa.column("reason"),
    sa.column("saved_s", sa.Float),
    sa.column("last_slice_at", MOMENT),
    sa.column("assembled_at", MOMENT),
    sa.column("closed_at", MOMENT),
    sa.column("preferred_series_uid"),
    sa.column("preferred_by"),
)
series = sa.table("series", sa.column("series_instance_uid"), sa.column("study_instance_uid"))
instance = sa.table("instance", sa.column("series_instance_uid"), sa.column("header", sa.JSON))


def upgrade() -> None:
    op.add_column("case", sa.Column("closed_at", MOMENT))
    op.add_column("case", sa.Column("preferred_series_uid", sa.String(64)))
    op.add_column("case", sa.Column("preferred_by", sa.Text()))
    _note_when_cases_were_closed(op.get_bind(), context.config.attributes["idle_s"])
    _note_preferred_series(op.get_bind())
    _turn_deliveries_into_parcels(op.get_bind())
    _rename_readings()


def _note_when_cases_were_closed(db: sa.Connection, idle_s: float) -> None:
    closed = case.c.saved_s.is_not(None) & case.c.last_slice_at.is_not(None)
    for row in db.execute(sa.select(case).where(closed)).all():
        at = row.last_slice_at + timedelta(seconds=idle_s - row.saved_s)
        db.execute(case.update().where(case.c.id == row.id).values(closed_at=at))


def _note_preferred_series(db: sa.Connection) -> None:
    query = sa.select(case.c.id, case.c.reason, series).join(
        series, series.c.series_instance_uid == case.c.series_instance_uid
    )
    for row in db.execute(query.where(case.c.reason_code == "OTHER_SERIES_READ")).all():
        said = PREFERRED.fullmatch(row.reason)
        named = said and _named(db, row.study_instance_uid, said["name"], row.series_instance_uid)
        if said and named:
            db.execute(
                case.update()
                .where(case.c.id == row.id)
                .values(preferred_series_uid=named, preferred_by=said["line"])
            )


def _named(db: sa.Connection, study_uid: str, name: str, loser: str) -> str | None:
    """Return the series of the study that a reason names; one that was read goes before others."""
    query = (
        sa.select(instance.c.series_instance_uid, instance.c.header, case.c.assembled_at)
        .join(series, series.c.series_instance_uid == instance.c.series_instance_uid)
        .join(case, case.c.series_instance_uid == instance.c.series_instance_uid)
        .where(series.c.study_instance_uid == study_uid, series.c.series_instance_uid != loser)
    )
    found: dict[bool, set[str]] = defaultdict(set)
    for row in db.execute(query):
        described = row.header.get("series_description")
        if name == (repr(described) if described else row.series_instance_uid):
            found[row.assembled_at is not None].add(row.series_instance_uid)
    return min(found[True] or found[False], default=None)


def _turn_deliveries_into_parcels(db: sa.Connection) -> None:
    """Make the table anew: its key and most of its columns change, and nothing refers to it."""
    moments = ("due_at", "lease_until", "sent_at")
    kept = (
        *("case_id", "destination", "status", "attempts", "claimed_by"),
        *("last_status", "last_message"),
    )
    uids = ("sop_class_uid", "sop_instance_uid", "series_instance_uid")
    old = sa.table(
        "delivery",
        *(sa.column(name) for name in ("id", "path", *kept, *uids)),
        *(sa.column(name, MOMENT) for name in moments),
    )
    rows = db.execute(sa.select(old).order_by(old.c.id)).mappings().all()
    op.drop_table("delivery")
    delivery = _create_delivery()
    for row in rows:
        parcel: dict[str, Any] = {name: row[name] for name in (*kept, *moments)}
        parcel |= {
            "channel": "dicom",
            "kind": KINDS.get(row["sop_class_uid"], "object"),
            "payload_path": row["path"],
            "dedup_key": row["sop_instance_uid"],
            "address": {name: row[name] or "" for name in uids},
        }
        db.execute(delivery.insert().values(parcel))


def _create_delivery() -> sa.Table:
    table = op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload_path", sa.Text(), nullable=False),
        sa.Column("dedup_key", sa.Text(), nullable=False),
        sa.Column("address", sa.JSON(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("status", _closed("status", "OWED", "SENT", "DEAD", "CANCELLED"), nullable=False),
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
            "channel",
            "destination",
            "dedup_key",
            name=op.f("uq_delivery_case_id_channel_destination_dedup_key"),
        ),
    )
    op.create_index("ix_delivery_status_due_at", "delivery", ["status", "due_at"])
    return table


def _rename_readings() -> None:
    """Make the table anew, so that its keys and its index bear its name too."""
    op.create_table(
        "acknowledgement",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("agrees", sa.Boolean()),
        sa.Column(
            "shown",
            _closed("shown", "SUSPECTED", "NOT_ANALYSED", "PENDING", "NOT_SUSPECTED"),
            nullable=False,
        ),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_acknowledgement_study_instance_uid"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acknowledgement")),
    )
    columns = "study_instance_uid, who, agrees, shown, at"
    op.execute(f"INSERT INTO acknowledgement ({columns}) SELECT {columns} FROM reading ORDER BY id")
    op.drop_table("reading")
    op.create_index(
        "ix_acknowledgement_study_instance_uid", "acknowledgement", ["study_instance_uid"]
    )


def _closed(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)
