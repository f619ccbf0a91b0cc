"""What goes out: one row for each object owed to each destination."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.records import Delivery, ReportObject
from node.states import Priority, State
from node.worklist.database import insert
from node.worklist.events import note
from node.worklist.leases import FREE, LeaseLost, held_by, is_free
from node.worklist.tables import DeliveryStatus, case, delivery, series

_UNSENT = delivery.c.status.in_((DeliveryStatus.OWED, DeliveryStatus.DEAD))
_SUSPECTED = case.c.priority == Priority.SUSPECTED


def owe(
    db: sa.Connection, case_id: int, owed: Sequence[tuple[str, ReportObject]], now: datetime
) -> None:
    """Owe each object once. What an earlier run of this case has sent stays sent."""
    for destination, item in owed:
        fresh = {"status": DeliveryStatus.OWED, "path": item.path, "attempts": 0, "due_at": now}
        db.execute(
            insert(db, delivery)
            .values(
                case_id=case_id,
                destination=destination,
                sop_class_uid=item.sop_class_uid,
                sop_instance_uid=item.sop_instance_uid,
                **fresh,
            )
            .on_conflict_do_update(
                index_elements=["case_id", "destination", "sop_instance_uid"],
                set_=fresh | FREE,
                where=delivery.c.status != DeliveryStatus.SENT,
            )
        )


def cancel(db: sa.Connection, case_id: int, unless: Priority | None = None) -> None:
    """Owe no longer what was not sent, unless the case has this priority.

    A transfer under way is still recorded when it ends.
    """
    spared = sa.exists().where(case.c.id == case_id, case.c.priority == unless)
    db.execute(
        delivery.update()
        .where(delivery.c.case_id == case_id, _UNSENT, ~spared)
        .values(status=DeliveryStatus.CANCELLED)
    )


def close_if_sent(db: sa.Connection, case_id: int, now: datetime) -> None:
    """Make a reported case DELIVERED once nothing of it is owed."""
    unsent = sa.exists().where(delivery.c.case_id == case_id, _UNSENT)
    db.execute(
        case.update()
        .where(case.c.id == case_id, case.c.state == State.REPORTED, ~unsent)
        .values(state=State.DELIVERED, delivered_at=now)
    )


def claim(
    db: sa.Connection, worker: str, lease_s: float, now: datetime, limit: int
) -> list[Delivery]:
    """Return due deliveries of one destination, now this worker's: suspected ones first."""
    due = (
        sa.select(delivery, _SUSPECTED.label("high_priority"))
        .join_from(delivery, case)
        .where(delivery.c.status == DeliveryStatus.OWED, is_free(delivery, now))
        .order_by(_SUSPECTED.desc(), delivery.c.id)
        .with_for_update(skip_locked=True, of=delivery)
    )
    first = db.execute(due.limit(1)).one_or_none()
    if first is None:
        return []
    batch = due.where(delivery.c.destination == first.destination).limit(limit)
    rows = db.execute(batch).all()
    db.execute(
        delivery.update()
        .where(delivery.c.id.in_([row.id for row in rows]))
        .values(held_by(delivery, worker, lease_s, now))
    )
    return [_delivery(row) for row in rows]


def answered(
    db: sa.Connection,
    owed: Delivery,
    worker: str,
    status: int | None,
    now: datetime,
    changes: Mapping[str, Any],
) -> None:
    """Record how a transfer ended, with the peer's status verbatim."""
    held = db.execute(
        delivery.update()
        .where(delivery.c.id == owed.id, delivery.c.claimed_by == worker)
        .values(attempts=delivery.c.attempts + 1, last_status=status, **changes, **FREE)
    )
    if held.rowcount != 1:
        raise LeaseLost(f"delivery {owed.id} to {owed.destination} is no longer {worker}'s")
    study_uid = db.execute(
        sa.select(series.c.study_instance_uid).join(case).where(case.c.id == owed.case_id)
    ).scalar_one()
    note(
        db,
        "answered",
        study_uid,
        owed.case_id,
        now,
        destination=owed.destination,
        sop_instance_uid=owed.object.sop_instance_uid,
        status=status,
        delivery=changes.get("status", DeliveryStatus.OWED),
    )


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        case_id=row.case_id,
        destination=row.destination,
        object=ReportObject(row.path, row.sop_class_uid, row.sop_instance_uid),
        attempts=row.attempts + (row.claimed_by is not None),
        high_priority=row.high_priority,
    )
