"""What was not sent, and what a person decides about it: try again, or no longer owe it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.news import KIND
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.tables import case, delivery, series
from node.worklist.sending.owing import UNSENT, close_if_sent, hold
from node.worklist.sending.unreachable import try_now
from node.worklist.trail.events import note


@dataclass(frozen=True, slots=True)
class Unsent:
    """One delivery that is owed or dead; it names no patient.

    Attributes
    ----------
    number
        Of the delivery.
    due_at
        When it is tried next; None if it is dead.
    message
        What went wrong last, in the peer's words or ours.
    """

    number: int
    case_id: int
    destination: str
    channel: str
    kind: str
    status: DeliveryStatus
    attempts: int
    due_at: datetime | None
    last_status: int | None
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the delivery as JSON prints it."""
        return {**asdict(self), "due_at": self.due_at and self.due_at.isoformat()}


def listed(
    db: sa.Connection, destination: str | None, status: DeliveryStatus | None, limit: int | None
) -> list[Unsent]:
    """Return what was not sent, dead ones first, then the oldest."""
    dead = delivery.c.status == DeliveryStatus.DEAD
    query = sa.select(delivery).where(UNSENT).order_by(dead.desc(), delivery.c.id).limit(limit)
    if destination is not None:
        query = query.where(delivery.c.destination == destination)
    if status is not None:
        query = query.where(delivery.c.status == status)
    return [_unsent(row) for row in db.execute(query)]


def retry(db: sa.Connection, numbers: Sequence[int], by: str, now: datetime) -> list[int]:
    """Make deliveries due now; return those that are.

    A dead one gets all its tries again. It stays noted that it was tried, since the peer may have
    it. A dead message stays dead once a later one about its study exists for the same destination:
    it would say there what no longer stands.
    """
    done = []
    for row in _held(db, numbers):
        is_dead = row.status == DeliveryStatus.DEAD
        if is_dead and row.kind == KIND and _was_followed(db, row):
            continue
        tried = {"attempts": min(row.attempts, 1)} if is_dead else {}
        _change(db, row, {"status": DeliveryStatus.OWED, "due_at": now, **tried})
        try_now(db, row.destination, now)
        _note(db, "delivery retried", row, by, now)
        done.append(row.id)
    return done


def cancel(db: sa.Connection, numbers: Sequence[int], by: str, now: datetime) -> list[int]:
    """Owe deliveries no longer; return those that were owed.

    A transfer under way is still recorded when it ends. A case is DELIVERED when nothing of it is
    owed any more, if a destination has something of it.
    """
    done = []
    for row in _held(db, numbers):
        _change(db, row, {"status": DeliveryStatus.CANCELLED})
        _note(db, "delivery cancelled", row, by, now)
        if _has_arrived(db, row.case_id):
            close_if_sent(db, row.case_id, now)
        done.append(row.id)
    return done


def _held(db: sa.Connection, numbers: Sequence[int]) -> Sequence[sa.Row[Any]]:
    """Return those of the deliveries that are owed or dead, held until the transaction ends."""
    hold(db, case.c.id.in_(sa.select(delivery.c.case_id).where(delivery.c.id.in_(numbers))))
    query = (
        sa.select(delivery, series.c.study_instance_uid)
        .join_from(delivery, case)
        .join(series, series.c.series_instance_uid == case.c.series_instance_uid)
        .where(delivery.c.id.in_(numbers), UNSENT)
        .order_by(delivery.c.id)
        .with_for_update(of=delivery)
    )
    return db.execute(query).all()


def _was_followed(db: sa.Connection, row: sa.Row[Any]) -> bool:
    later = (
        sa.select(delivery.c.id)
        .join_from(delivery, case)
        .join(series, series.c.series_instance_uid == case.c.series_instance_uid)
        .where(series.c.study_instance_uid == row.study_instance_uid, delivery.c.kind == KIND)
        .where(delivery.c.destination == row.destination, delivery.c.id > row.id)
    )
    return db.execute(later.limit(1)).scalar() is not None


def _has_arrived(db: sa.Connection, case_id: int) -> bool:
    sent = sa.select(delivery.c.id).where(
        delivery.c.case_id == case_id, delivery.c.status == DeliveryStatus.SENT
    )
    return db.execute(sent.limit(1)).scalar() is not None


def _change(db: sa.Connection, row: sa.Row[Any], changes: dict[str, Any]) -> None:
    db.execute(delivery.update().where(delivery.c.id == row.id).values(changes))


def _note(db: sa.Connection, what: str, row: sa.Row[Any], by: str, now: datetime) -> None:
    said = {"destination": row.destination, "kind": row.kind, "by": by}
    said |= {"sop_instance_uid": row.dedup_key, "delivery": row.id}
    note(db, what, row.study_instance_uid, row.case_id, now, **said)


def _unsent(row: sa.Row[Any]) -> Unsent:
    return Unsent(
        number=row.id,
        case_id=row.case_id,
        destination=row.destination,
        channel=row.channel,
        kind=row.kind,
        status=row.status,
        attempts=row.attempts,
        due_at=row.due_at if row.status == DeliveryStatus.OWED else None,
        last_status=row.last_status,
        message=row.last_message or "",
    )
