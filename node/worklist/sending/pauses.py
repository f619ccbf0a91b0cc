"""Sending can be paused by a person: nothing leaves until it is resumed, and all else goes on."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node.worklist.schema.columns import Deed
from node.worklist.schema.running_tables import pause
from node.worklist.trail.audit import Actor, recorded


@dataclass(frozen=True, slots=True)
class Paused:
    """Since when nothing is sent, by whose will, and why."""

    since: datetime
    who: str
    why: str

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return (
            f"SENDING IS PAUSED since {self.since.astimezone():%Y-%m-%d %H:%M} by {self.who}{why}: "
            "no result leaves until `ichnode resume`"
        )


def is_sending() -> sa.ColumnElement[bool]:
    """Return the condition that sending is not paused."""
    return ~sa.exists(sa.select(pause.c.since))


def begin(db: sa.Connection, by: Actor, why: str, now: datetime) -> Paused:
    """Pause sending; return since when it is, which may be longer."""
    before = current(db)
    if before is not None:
        return before
    paused = Paused(now, by.name, why)
    db.execute(pause.insert().values(id=1, since=now, who=by.name, why=why))
    recorded(db, by, Deed.DELIVERIES, now, about=f"sending paused: {why}" if why else "paused")
    return paused


def end(db: sa.Connection, by: Actor, now: datetime) -> Paused | None:
    """Resume sending; return what is over, None if it was not paused."""
    before = current(db)
    if before is not None:
        db.execute(pause.delete())
        recorded(db, by, Deed.DELIVERIES, now, about="sending resumed")
    return before


def current(db: sa.Connection) -> Paused | None:
    """Return the pause under way."""
    row = db.execute(sa.select(pause.c.since, pause.c.who, pause.c.why)).one_or_none()
    return None if row is None else Paused(*row)
