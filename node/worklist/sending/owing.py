"""What a case owes, within the transaction that moves the case."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from node.news import KIND
from node.records import Parcel
from node.states import Priority, State
from node.worklist.running.leases import FREE
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.database import insert
from node.worklist.schema.tables import case, delivery, series
from node.worklist.studies.chains import WITHDRAWS

AWAITED = "stored, commitment awaited"
"""What is said of a delivery that counts once its destination commits itself to keep it."""

UNSENT = delivery.c.status.in_((DeliveryStatus.OWED, DeliveryStatus.DEAD))
MAY_BE_THERE = sa.or_(
    delivery.c.status.in_((DeliveryStatus.SENT, DeliveryStatus.OWED)),
    delivery.c.sent_at.is_not(None),
    delivery.c.claimed_by.is_not(None),
    sa.and_(delivery.c.attempts > 0, delivery.c.last_status.is_(None)),
)
"""Sent, or still going out, or the peer's answer to the last try is not known."""


def owe(db: sa.Connection, case_id: int, owed: Sequence[tuple[str, Parcel]], now: datetime) -> None:
    """Owe each parcel once. What an earlier run of this case has sent stays sent."""
    for destination, parcel in owed:
        fresh = {"status": DeliveryStatus.OWED, "attempts": 0, "due_at": now}
        fresh |= {"payload_path": parcel.path, "ask_at": None}
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


def cancel(db: sa.Connection, case_id: int, *, messages: bool = True) -> None:
    """Cancel what was not sent. A transfer under way is still recorded when it ends.

    Parameters
    ----------
    messages
        Whether messages are cancelled too. A replay leaves them: the result stands until the case
        is read again, and is not announced twice.
    """
    kinds = sa.true() if messages else delivery.c.kind != KIND
    db.execute(
        delivery.update()
        .where(delivery.c.case_id == case_id, UNSENT, kinds)
        .values(status=DeliveryStatus.CANCELLED)
    )


def cancel_superseded(db: sa.Connection, case_id: int) -> None:
    """Cancel what a case owes that late slices have outdated.

    A suspicion leaves all the same, since a bleed does not wait, and so does a withdrawal: whoever
    has what was withdrawn must hear of it.
    """
    loud = sa.or_(case.c.priority == Priority.SUSPECTED, WITHDRAWS)
    if not db.execute(sa.select(case.c.id).where(case.c.id == case_id, loud)).first():
        cancel(db, case_id)


def messages_of(study_uid: str) -> sa.ColumnElement[bool]:
    """Return the condition that a delivery is a message about this study."""
    cases = (
        sa.select(case.c.id).join_from(case, series).where(series.c.study_instance_uid == study_uid)
    )
    return sa.and_(delivery.c.kind == KIND, delivery.c.case_id.in_(cases))


def may_know(db: sa.Connection, study_uid: str) -> frozenset[str]:
    """Return the destinations that a message about the study has reached, or may have."""
    arrived = sa.or_(
        delivery.c.status == DeliveryStatus.SENT,
        delivery.c.claimed_by.is_not(None),
        delivery.c.attempts > 0,
    )
    query = sa.select(delivery.c.destination).where(messages_of(study_uid), arrived)
    return frozenset(db.execute(query.distinct()).scalars())


def withdraw(db: sa.Connection, study_uid: str, names: Collection[str] | None) -> None:
    """Cancel messages about a study that wait to be sent: a later one says what stands now.

    Parameters
    ----------
    names
        Those to these destinations; None takes all.
    """
    whose = sa.true() if names is None else delivery.c.destination.in_(names)
    db.execute(
        delivery.update()
        .where(messages_of(study_uid), whose, delivery.c.status == DeliveryStatus.OWED)
        .values(status=DeliveryStatus.CANCELLED)
    )


def hold(db: sa.Connection, cases: sa.ColumnElement[bool]) -> None:
    """Have others wait until the transaction ends who record how a parcel of these cases ended.

    In PostgreSQL neither of two would see what the other records, and each would leave the case
    REPORTED for the other's parcel. Cases are held before deliveries, as by who moves a case.
    """
    these = sa.select(case.c.id).where(cases).order_by(case.c.id)
    db.execute(these.with_for_update(key_share=True)).all()


def close_if_sent(db: sa.Connection, case_id: int, now: datetime) -> None:
    """Make a reported case DELIVERED, which is held, once everything that it owes was sent."""
    unsent = sa.exists().where(delivery.c.case_id == case_id, UNSENT)
    db.execute(
        case.update()
        .where(case.c.id == case_id, case.c.state == State.REPORTED, ~unsent)
        .values(state=State.DELIVERED, delivered_at=now)
    )
