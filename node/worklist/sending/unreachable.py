"""Destinations with which there is no connection: each has one timer, whatever it is owed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from node.worklist.running.leases import FREE
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.database import insert
from node.worklist.schema.running_tables import unreachable
from node.worklist.schema.tables import delivery


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A destination that did not answer when it was last tried.

    Attributes
    ----------
    since
        When it was first found so.
    tries
        How often it was tried since.
    owed
        How many deliveries wait for it.
    """

    destination: str
    since: datetime
    why: str
    tries: int
    next_try_at: datetime
    owed: int

    def __str__(self) -> str:
        since, again = (
            f"{at.astimezone():%Y-%m-%d %H:%M}" for at in (self.since, self.next_try_at)
        )
        waits = f"{self.owed} owed, next try {again}"
        return f"{self.destination} has not answered since {since}: {self.why}; {waits}"


def may_be_tried(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a delivery's destination answers, or is to be tried again."""
    waits = sa.exists().where(
        unreachable.c.destination == delivery.c.destination, unreachable.c.next_try_at > now
    )
    return ~waits


def being_tried(db: sa.Connection, destination: str, until: datetime) -> None:
    """Have nobody else try a destination that did not answer, until this try has ended."""
    tried = unreachable.update().where(unreachable.c.destination == destination)
    db.execute(tried.values(next_try_at=until))


def not_reached(
    db: sa.Connection,
    destination: str,
    worker: str,
    why: str,
    waits_s: tuple[float, float],
    now: datetime,
) -> Unreachable:
    """Note that there is no connection, and give back what `worker` was to send there.

    Parameters
    ----------
    waits_s
        Seconds to the next try after the first one, doubled with each further one up to the second.
    """
    before = next((one for one in listed(db) if one.destination == destination), None)
    tries = before.tries + 1 if before else 1
    first_s, longest_s = waits_s
    wait_s = min(first_s * 2.0 ** min(tries - 1, 30), longest_s)
    since, next_try_at = before.since if before else now, now + timedelta(seconds=wait_s)
    found = {"since": since, "why": why, "tries": tries, "next_try_at": next_try_at}
    db.execute(
        insert(db, unreachable)
        .values(destination=destination, **found)
        .on_conflict_do_update(index_elements=["destination"], set_=found)
    )
    mine = sa.and_(delivery.c.claimed_by == worker, delivery.c.destination == destination)
    db.execute(delivery.update().where(mine).values(last_message=why, **FREE))
    return Unreachable(destination, since, why, tries, next_try_at, _owed(db, destination))


def reached(db: sa.Connection, destination: str, now: datetime) -> bool:
    """Note that a destination answered; return whether it had not.

    If so, all that it is owed is due now, also what waited by itself: the peer was mended.
    """
    gone = db.execute(unreachable.delete().where(unreachable.c.destination == destination))
    if not gone.rowcount:
        return False
    waits = sa.and_(_OWED, delivery.c.destination == destination, delivery.c.due_at > now)
    db.execute(delivery.update().where(waits).values(due_at=now))
    return True


def try_now(db: sa.Connection, destination: str, now: datetime) -> None:
    """Let a person have a destination tried again at once."""
    being_tried(db, destination, now)


def listed(db: sa.Connection) -> list[Unreachable]:
    """Return the destinations that do not answer, by name."""
    owed = (
        sa.select(sa.func.count())
        .where(_OWED, delivery.c.destination == unreachable.c.destination)
        .scalar_subquery()
    )
    query = sa.select(unreachable, owed.label("owed")).order_by(unreachable.c.destination)
    return [Unreachable(**row) for row in db.execute(query).mappings()]


_OWED = delivery.c.status == DeliveryStatus.OWED


def _owed(db: sa.Connection, destination: str) -> int:
    query = sa.select(sa.func.count()).where(_OWED, delivery.c.destination == destination)
    return db.scalar(query) or 0
