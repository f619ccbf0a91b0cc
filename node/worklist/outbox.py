"""What goes out: one row for each object owed to each destination."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.identity import Identity, PatientIdentity
from node.records import Delivery, Predecessor, ReportObject
from node.states import Priority, State
from node.worklist.database import insert
from node.worklist.events import note
from node.worklist.leases import FREE, LeaseLost, held_by, is_free
from node.worklist.tables import DeliveryStatus, case, delivery, instance, series

_UNSENT = delivery.c.status.in_((DeliveryStatus.OWED, DeliveryStatus.DEAD))
_URGENT = sa.and_(case.c.priority == Priority.SUSPECTED, ~case.c.prior)
_MAY_BE_THERE = sa.or_(
    delivery.c.status.in_((DeliveryStatus.SENT, DeliveryStatus.OWED)),
    delivery.c.claimed_by.is_not(None),
    sa.and_(delivery.c.attempts > 0, delivery.c.last_status.is_(None)),
)
"""Sent, or still going out, or the peer's answer to the last try is not known."""


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
                series_instance_uid=item.series_instance_uid or None,
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


def predecessor(db: sa.Connection, case_id: int, sop_class_uid: str) -> Predecessor | None:
    """Return the object of this class that went out for the nearest case superseded by this one.

    None where no such object was delivered, or may have been: a peer could not resolve it.
    """
    superseded = sa.select(case.c.supersedes).where(case.c.id == case_id).cte(recursive=True)
    chain = superseded.union_all(
        sa.select(case.c.supersedes).where(case.c.id == superseded.c.supersedes)
    )
    later = sa.select(sa.func.count()).where(
        instance.c.series_instance_uid == case.c.series_instance_uid,
        instance.c.received_at > case.c.last_slice_at,
    )
    query = (
        sa.select(delivery, later.correlate(case).scalar_subquery().label("later_images"))
        .join_from(delivery, case)
        .where(case.c.id.in_(sa.select(chain.c.supersedes)), _MAY_BE_THERE)
        .where(delivery.c.sop_class_uid == sop_class_uid)
        .where(delivery.c.series_instance_uid.is_not(None))
        .order_by(case.c.id.desc(), delivery.c.id.desc())
    )
    row = db.execute(query.limit(1)).one_or_none()
    if row is None:
        return None
    uids = (row.series_instance_uid, row.sop_class_uid, row.sop_instance_uid)
    return Predecessor(*uids, later_images=row.later_images)


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
    """Return due deliveries of one destination, now this worker's: current suspected ones first."""
    due = (
        sa.select(delivery, _URGENT.label("high_priority"))
        .join_from(delivery, case)
        .where(delivery.c.status == DeliveryStatus.OWED, is_free(delivery, now))
        .order_by(_URGENT.desc(), delivery.c.id)
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
    tried = {"attempts": delivery.c.attempts + 1, "last_status": status, **changes}
    _record(db, owed, worker, tried)
    after = changes.get("status", DeliveryStatus.OWED)
    _note(db, "answered", owed, now, status=status, delivery=after)


def stop(db: sa.Connection, owed: Delivery, worker: str, reason: str, now: datetime) -> None:
    """Give up a delivery that must not be made."""
    _record(db, owed, worker, {"status": DeliveryStatus.DEAD, "last_message": reason})
    _note(db, "never sent", owed, now, reason=reason, delivery=DeliveryStatus.DEAD)


def identities(db: sa.Connection, case_id: int) -> frozenset[Identity]:
    """Return whom the instances of the case's series name."""
    said = [
        instance.c.header[name].as_string()
        for name in ("study_instance_uid", "patient_id", "patient_birth_date")
    ]
    of_case = sa.select(*said).join(
        case, case.c.series_instance_uid == instance.c.series_instance_uid
    )
    rows = db.execute(of_case.where(case.c.id == case_id).distinct())
    return frozenset(Identity(study, PatientIdentity(*patient)) for study, *patient in rows)


def _record(db: sa.Connection, owed: Delivery, worker: str, changes: Mapping[str, Any]) -> None:
    held = db.execute(
        delivery.update()
        .where(delivery.c.id == owed.id, delivery.c.claimed_by == worker)
        .values({**changes, **FREE})
    )
    if held.rowcount != 1:
        raise LeaseLost(f"delivery {owed.id} to {owed.destination} is no longer {worker}'s")


def _note(db: sa.Connection, what: str, owed: Delivery, now: datetime, **detail: object) -> None:
    study_uid = db.execute(
        sa.select(series.c.study_instance_uid).join(case).where(case.c.id == owed.case_id)
    ).scalar_one()
    sent = {"destination": owed.destination, "sop_instance_uid": owed.object.sop_instance_uid}
    note(db, what, study_uid, owed.case_id, now, **sent, **detail)


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        case_id=row.case_id,
        destination=row.destination,
        object=ReportObject(
            row.path, row.sop_class_uid, row.sop_instance_uid, row.series_instance_uid or ""
        ),
        attempts=row.attempts + (row.claimed_by is not None),
        high_priority=row.high_priority,
    )
