"""What must stay: for what a study's files are still needed, whatever a rule says."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.states import Priority, State
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.tables import (
    acknowledgement,
    case,
    delivery,
    instance,
    quarantine,
    series,
    study,
)
from node.worklist.studies.chains import NOT_SUPERSEDED, WITHDRAWS
from node.worklist.studies.rows import Row
from node.worklist.studies.studies import one_study


@dataclass(frozen=True, slots=True)
class Kept:
    """How a study stands to its purge.

    Attributes
    ----------
    objects, size
        Received objects that would go, and their bytes.
    why
        Why it stays; "" if it may go.
    """

    row: Row
    objects: int
    size: int
    why: str


def kept_for(
    db: sa.Connection, study_uid: str, results: bool, unacknowledged: timedelta, now: datetime
) -> Kept:
    """Return how a study stands to its purge; raises as `Retention.kept`."""
    row = one_study(db, study_uid)
    count = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(instance.c.size), 0))
    mine = instance.c.series_instance_uid.in_(series_of(study_uid))
    objects, size = db.execute(count.where(mine, instance.c.purged_at.is_(None))).one()
    why = _needed(db, study_uid, now) or _unseen(db, row, results, unacknowledged, now)
    if not why and not objects and not (results and _has_results(db, study_uid)):
        why = "its files are gone"
    return Kept(row, objects, int(size), why)


def _needed(db: sa.Connection, study_uid: str, now: datetime) -> str:
    """Return who still needs the files of a study, "" if nobody does."""
    found = (words for query, words in needs(study_uid, now) if db.execute(query.limit(1)).first())
    return next(found, "")


def needs(study_uid: str | sa.Column[str], now: datetime) -> tuple[tuple[sa.Select[Any], str], ...]:
    """Return what finds something for which a study's files are needed, and what to say of it."""
    cases = case.c.series_instance_uid.in_(series_of(study_uid))
    ended = case.c.state.in_((State.DELIVERED, State.SKIPPED, State.FAILED))
    unsent = delivery.c.status.in_((DeliveryStatus.OWED, DeliveryStatus.DEAD))
    named = quarantine.c.study_instance_uid == study_uid
    of_series = quarantine.c.series_instance_uid.in_(series_of(study_uid))
    working = sa.select(case.c.id).where(
        cases, NOT_SUPERSEDED | WITHDRAWS, ~ended | case.c.claimed_by.is_not(None)
    )
    owed = (
        sa.select(delivery.c.id)
        .join_from(delivery, case)
        .where(cases, unsent | delivery.c.claimed_by.is_not(None))
    )
    promised = sa.select(instance.c.id).where(
        instance.c.series_instance_uid.in_(series_of(study_uid)), is_promised(now)
    )
    aside = sa.select(quarantine.c.id).where(quarantine.c.decision.is_(None), named | of_series)
    return (
        (working, "it is worked on"),
        (owed, "something of it is not delivered"),
        (aside, "objects of it are in quarantine"),
        (promised, "the node has committed itself to keep objects of it"),
    )


def nobody_saw(*, results: bool) -> sa.ColumnElement[bool]:
    """Return the condition that a study surely stays since nobody acknowledged it."""
    seen = sa.exists().where(
        acknowledgement.c.study_instance_uid == study.c.study_instance_uid,
        acknowledgement.c.undone_at.is_(None),
    )
    loud = case.c.state == State.FAILED
    if results:
        loud = loud | (case.c.priority == Priority.SUSPECTED)
    return ~seen & has_case(NOT_SUPERSEDED & loud)


def _unseen(
    db: sa.Connection, row: Row, results: bool, unacknowledged: timedelta, now: datetime
) -> str:
    """Return why a study stays that nobody has acknowledged, "" if it need not."""
    if row.acknowledged_at is not None:
        return ""
    mine = case.c.series_instance_uid.in_(series_of(row.study_instance_uid))
    failed = sa.select(case.c.id).where(mine, NOT_SUPERSEDED, case.c.state == State.FAILED)
    if db.execute(failed.limit(1)).first():
        return "it failed, and nobody acknowledged it"
    if row.priority is not Priority.SUSPECTED:
        return ""
    if results:
        return "it is suspected, and nobody acknowledged it"
    delivered = row.delivered_at or row.received_at
    if now - delivered < unacknowledged:
        return "it is suspected, and nobody acknowledged it yet"
    return ""


def _has_results(db: sa.Connection, study_uid: str) -> bool:
    mine = case.c.series_instance_uid.in_(series_of(study_uid))
    return bool(db.execute(sa.select(case.c.id).where(mine, case.c.purged_at.is_(None))).first())


def is_promised(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that the node has committed itself to keep an instance."""
    until = instance.c.committed_until
    return until.is_not(None) & (until > now)


def series_of(study_uid: str | sa.Column[str]) -> sa.Select[Any]:
    """Return the query of the series of a study, or of the one in hand of a query of studies."""
    of = sa.select(series.c.series_instance_uid).where(series.c.study_instance_uid == study_uid)
    return of if isinstance(study_uid, str) else of.correlate(study)


def has_case(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return the condition that a case of a study fulfils another."""
    return (
        sa.select(case.c.id)
        .join_from(case, series)
        .where(series.c.study_instance_uid == study.c.study_instance_uid, condition)
        .correlate(study)
        .exists()
    )
