"""Results that count as delivered once their destination commits itself to keep them.

Such a delivery is OWED with `ask_at` set from when the destination stored its object. It is asked
for a commitment then and again, and gets the object again at the delivery's own `due_at`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.committed import CommitmentAsked, CommitmentReport, FailureReason, Reference
from node.worklist.running.leases import FREE
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.database import Database
from node.worklist.schema.tables import case, confirmation, delivery, series
from node.worklist.sending.owing import AWAITED, close_if_sent, hold
from node.worklist.sending.vouching import note_report, note_request, studies_of_sent
from node.worklist.trail.audit import Actor
from node.worklist.trail.events import note

MOST = 200
"""Objects that one request names; a choice. A result has some six."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A delivery whose object its destination has stored."""

    id: int
    destination: str
    reference: Reference


@dataclass(frozen=True, slots=True)
class Settled:
    """How many deliveries a report has confirmed, and how many go out again because of it."""

    confirmed: int
    failed: int


class Confirmations:
    """The worklist as those see it who ask destinations to keep results."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, worker: str, lease_s: float, now: datetime) -> list[Stored]:
        """Return deliveries of one destination that is to be asked now; they are this worker's."""
        free = sa.or_(delivery.c.lease_until.is_(None), delivery.c.lease_until <= now)
        due = (
            sa.select(delivery)
            .where(delivery.c.status == DeliveryStatus.OWED, delivery.c.ask_at <= now, free)
            .where(delivery.c.due_at > now)
            .order_by(delivery.c.ask_at, delivery.c.id)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as db:
            first = db.execute(due.limit(1)).one_or_none()
            if first is None:
                return []
            same = due.where(delivery.c.destination == first.destination)
            rows = db.execute(same.limit(MOST)).all()
            until = now + timedelta(seconds=lease_s)
            db.execute(
                delivery.update()
                .where(delivery.c.id.in_([row.id for row in rows]))
                .values(claimed_by=worker, lease_until=until)
            )
        return [_stored(row) for row in rows]

    def asking(self, transaction_uid: str, asked: Sequence[Stored], now: datetime) -> None:
        """Record a request before it is sent: its report may come at once."""
        rows = [
            {"transaction_uid": transaction_uid, "delivery_id": one.id, "at": now} for one in asked
        ]
        with self._database.write() as db:
            db.execute(confirmation.insert(), rows)

    def asked(
        self,
        asked: Sequence[Stored],
        worker: str,
        ask_again_at: datetime,
        now: datetime,
        trouble: str = "",
    ) -> None:
        """Record when to ask again; `trouble` says why the destination could not be asked."""
        mine = sa.and_(
            delivery.c.id.in_([one.id for one in asked]),
            delivery.c.claimed_by == worker,
            delivery.c.ask_at.is_not(None),
        )
        said = f"{AWAITED}: {trouble}" if trouble else AWAITED
        with self._database.write() as db:
            values = {"ask_at": ask_again_at, "last_message": said, **FREE}
            db.execute(delivery.update().where(mine).values(values))
            if not trouble:
                _note_request(db, asked, now)

    def settle(
        self,
        report: CommitmentReport,
        send_again_at: datetime,
        max_attempts: int,
        now: datetime,
    ) -> Settled | None:
        """Record a destination's report; return None of a transaction that nobody began.

        What is confirmed is SENT, whichever request it answers. What failed goes out again, if the
        report answers the last request and the object still waits; after as many tries as
        `max_attempts` it is DEAD. Told twice, a report changes nothing.
        """
        asked = confirmation.c.transaction_uid == report.transaction_uid
        cases = sa.select(delivery.c.case_id).join_from(confirmation, delivery).where(asked)
        query = (
            sa.select(delivery)
            .join_from(confirmation, delivery)
            .where(asked)
            .with_for_update(of=delivery)
        )
        committed = {one.sop_instance_uid for one in report.committed}
        failed = {one.sop_instance_uid: reason for one, reason in report.failed.items()}
        with self._database.write() as db:
            hold(db, case.c.id.in_(cases))
            rows = db.execute(query).all()
            if not rows:
                return None
            kept = [row for row in rows if row.dedup_key in committed]
            kept = [row for row in kept if row.status != DeliveryStatus.SENT]
            for row in kept:
                _confirm(db, row, now)
            lost = [row for row in rows if row.dedup_key in failed and row.ask_at is not None]
            lost = [row for row in lost if row.status != DeliveryStatus.CANCELLED]
            lost = [row for row in lost if _last(db, row.id) == report.transaction_uid]
            for row in lost:
                again = send_again_at if row.attempts < max_attempts else None
                _send_again(db, row, failed[row.dedup_key], again, now)
            if kept or lost:
                _note_report(db, report, rows, now)
        return Settled(len(kept), len(lost))


def _confirm(db: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    sent = {"status": DeliveryStatus.SENT, "ask_at": None, "last_status": 0, "last_message": None}
    db.execute(delivery.update().where(delivery.c.id == row.id).values({**sent, **FREE}))
    _note(db, "committed", row, now)
    close_if_sent(db, row.case_id, now)


def _send_again(
    db: sa.Connection, row: sa.Row[Any], reason: int, at: datetime | None, now: datetime
) -> None:
    said = f"stored, but not committed: {FailureReason.in_words(reason)}"
    changes: dict[str, Any] = {"ask_at": None, "last_status": reason, "last_message": said}
    changes |= {"status": DeliveryStatus.DEAD} if at is None else {"due_at": at}
    db.execute(delivery.update().where(delivery.c.id == row.id).values({**changes, **FREE}))
    _note(db, "not committed", row, now, status=reason)


def _note_request(db: sa.Connection, asked: Sequence[Stored], now: datetime) -> None:
    """Note in the audit trail that a destination was asked."""
    request = CommitmentAsked(_last(db, asked[0].id), tuple(one.reference for one in asked))
    to = Actor(asked[0].destination, "dicom")
    studies = studies_of_sent(db, [one.id for one in asked])
    note_request(db, to, "is asked", request, studies, now)


def _note_report(
    db: sa.Connection, report: CommitmentReport, rows: Sequence[sa.Row[Any]], now: datetime
) -> None:
    """Note in the audit trail what a destination told of the deliveries of a request."""
    by = Actor(rows[0].destination, "dicom")
    note_report(db, by, "tells", report, studies_of_sent(db, [row.id for row in rows]), now)


def _last(db: sa.Connection, delivery_id: int) -> str:
    """Return the newest transaction of a delivery; "" if it has none."""
    newest = (
        sa.select(confirmation.c.transaction_uid)
        .where(confirmation.c.delivery_id == delivery_id)
        .order_by(confirmation.c.id.desc())
        .limit(1)
    )
    return str(db.scalar(newest) or "")


def _note(db: sa.Connection, what: str, row: sa.Row[Any], now: datetime, **detail: object) -> None:
    study_uid = db.execute(
        sa.select(series.c.study_instance_uid).join(case).where(case.c.id == row.case_id)
    ).scalar_one()
    named = {"destination": row.destination, "sop_instance_uid": row.dedup_key}
    note(db, what, study_uid, row.case_id, now, **named, **detail)


def _stored(row: sa.Row[Any]) -> Stored:
    uids = (row.address["sop_class_uid"], row.address["sop_instance_uid"])
    return Stored(row.id, row.destination, Reference(*uids))
