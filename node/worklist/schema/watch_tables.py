"""The tables of what the node watches itself by: what archives list, canaries, and reports."""

import sqlalchemy as sa

from node.announced import Shows
from node.reported import Answer, ReportStatus
from node.states import Priority
from node.worklist.schema.columns import Decided, at, closed, texts, uid
from node.worklist.schema.tables import metadata, study

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

canary = sa.Table(
    "canary",
    metadata,
    uid("study_instance_uid", primary_key=True),
    at("sent_at"),
    sa.Column("phantom", sa.String(64), nullable=False),
    at("ended_at", nullable=True),
    sa.Column("trouble", sa.Text),
    sa.Column("priority", closed(Priority, "priority")),
    sa.Column("probability", sa.Float),
    sa.Column("volume_ml", sa.Float),
    sa.Column("bundle", sa.Text),
    sa.Column("door_to_flag_s", sa.Float),
    sa.Column("reference", sa.Boolean, nullable=False, server_default=sa.false()),
    at("purged_at", nullable=True),
    sa.CheckConstraint("NOT reference OR probability IS NOT NULL", "reference"),
)
"""The phantoms that the node sent to itself. A study of this table is no patient's; its row stays
when its files and its other rows are gone."""

alarm = sa.Table(
    "alarm",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    at("raised_at"),
    at("ended_at", nullable=True),
    sa.Column("told", sa.JSON, nullable=False),
)
"""What went wrong with the node itself; `told` is when each destination heard of it and its end."""
sa.Index(
    "uq_alarm_standing",
    alarm.c.what,
    unique=True,
    sqlite_where=alarm.c.ended_at.is_(None),
    postgresql_where=alarm.c.ended_at.is_(None),
)

report = sa.Table(
    "report",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    uid(
        "study_instance_uid", sa.ForeignKey(study.c.study_instance_uid), nullable=False, index=True
    ),
    sa.Column("status", closed(ReportStatus, "status"), nullable=False),
    sa.Column("answer", closed(Answer, "answer"), nullable=False),
    *texts("sentence", "rule", "language"),
    at("said_at"),
    at("received_at"),
    sa.UniqueConstraint("digest", "study_instance_uid"),
)
"""What radiologists' reports say of studies; the sentence that decided is all of their text."""

stray_report = sa.Table(
    "stray_report",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    *texts("accession_number", "patient_id", "why"),
    at("received_at"),
    sa.Index("ix_stray_report_received_at", "received_at"),
)
"""Reports that are of no study here, or of another patient's; nothing of their text."""

chart = sa.Table(
    "chart",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    *texts("scanner", "outcome", "said"),
    sa.Column("figure", sa.JSON, nullable=False),
    at("drawn_at"),
    sa.UniqueConstraint("scanner", "outcome"),
)
"""The charts of the watch as they were last drawn; `said` is the alarm that stands, "" if none."""

chart_decision = sa.Table(
    "chart_decision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    *texts("scanner", "outcome"),
    sa.Column("what", closed(Decided, "what"), nullable=False),
    *texts("who", "why"),
    at("at"),
)


def is_no_canary(study_uid: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a study, by the column of its UID, is not one of our phantoms."""
    same = canary.c.study_instance_uid == study_uid
    return ~sa.select(sa.literal(1)).select_from(canary).where(same).exists()
