"""What a case owes, within the transaction that moves the case."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from node.records import Parcel
from node.states import Priority, State
from node.worklist.database import insert
from node.worklist.leases import FREE
from node.worklist.tables import DeliveryStatus, case, delivery

UNSENT = delivery.c.status.in_((DeliveryStatus.OWED, DeliveryStatus.DEAD))


def owe(db: sa.Connection, case_id: int, owed: Sequence[tuple[str, Parcel]], now: datetime) -> None:
    """Owe each parcel once. What an earlier run of this case has sent stays sent."""
    for destination, parcel in owed:
        fresh = {"status": DeliveryStatus.OWED, "attempts": 0, "due_at": now}
        fresh |= {"payload_path": parcel.path}
        db.execute(
            insert(db, delivery)
            .values(
                case_id=case_id,
                channel=parcel.channel,
                kind=parcel.kind,
                dedup_key=parcel.dedup_key,
                address=dict(parcel.address),
                destination=destination,
                **fresh,
            )
            .on_conflict_do_update(
                index_elements=["case_id", "channel", "destination", "dedup_key"],
                set_=fresh | FREE,
                where=delivery.c.status != DeliveryStatus.SENT,
            )
        )


def cancel(db: sa.Connection, case_id: int, unless: Priority | None = None) -> None:
    """Cancel what was not sent, except where the case has the priority `unless`.

    A transfer under way is still recorded when it ends.
    """
    spared = sa.exists().where(case.c.id == case_id, case.c.priority == unless)
    db.execute(
        delivery.update()
        .where(delivery.c.case_id == case_id, UNSENT, ~spared)
        .values(status=DeliveryStatus.CANCELLED)
    )


def close_if_sent(db: sa.Connection, case_id: int, now: datetime) -> None:
    """Make a reported case DELIVERED once everything that it owes was sent."""
    unsent = sa.exists().where(delivery.c.case_id == case_id, UNSENT)
    db.execute(
        case.update()
        .where(case.c.id == case_id, case.c.state == State.REPORTED, ~unsent)
        .values(state=State.DELIVERED, delivered_at=now)
    )
