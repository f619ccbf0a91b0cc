"""Alarms: what is wrong with the node itself, since when, and who was told of it and of its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node.worklist.schema.database import Database
from node.worklist.schema.watch_tables import alarm


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong with the node itself, or was until `ended_at`.

    `told` holds who was told of it: destinations by name, and whether of its end too.
    """

    id: int
    what: str
    said: str
    raised_at: datetime
    ended_at: datetime | None
    told: Mapping[str, bool]


class Alarms:
    """The worklist as those see it who watch the node, and tell of what is wrong."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, what: str, trouble: str, now: datetime) -> None:
        """Record what is wrong, in a sentence; "" ends its alarm.

        While an alarm stands it says the last sentence.
        """
        if self._stands(what, trouble):
            return
        with self._database.write() as db:
            if not trouble:
                ended(db, what, now)
            elif not db.execute(alarm.update().where(_is(what)).values(said=trouble)).rowcount:
                values = {"what": what, "said": trouble, "raised_at": now, "told": {}}
                db.execute(alarm.insert().values(values))

    def standing(self) -> list[Alarm]:
        """Return what is wrong now, the oldest first."""
        query = sa.select(alarm).where(alarm.c.ended_at.is_(None)).order_by(alarm.c.id)
        with self._database.read() as db:
            return [Alarm(**row) for row in db.execute(query).mappings()]

    def last(self, limit: int = 100) -> list[Alarm]:
        """Return the last alarms, standing or ended, the oldest of them first."""
        query = sa.select(alarm).order_by(alarm.c.id.desc()).limit(limit)
        with self._database.read() as db:
            return [Alarm(**row) for row in db.execute(query).mappings()][::-1]

    def told(self, one: Alarm, destination: str, *, of_end: bool) -> None:
        """Record that a destination was told of an alarm, or of its end."""
        this = alarm.c.id == one.id
        with self._database.write() as db:
            told = db.execute(sa.select(alarm.c.told).where(this).with_for_update()).scalar_one()
            db.execute(alarm.update().where(this).values(told=told | {destination: of_end}))

    def _stands(self, what: str, trouble: str) -> bool:
        """Return whether all of that is recorded already."""
        with self._database.read() as db:
            found = standing_alarm(db, what)
        return trouble == ("" if found is None else found.said)


def standing_alarm(db: sa.Connection, what: str) -> Alarm | None:
    """Return the alarm of this that stands; None if there is none."""
    row = db.execute(sa.select(alarm).where(_is(what))).mappings().one_or_none()
    return None if row is None else Alarm(**row)


def ended(db: sa.Connection, what: str, now: datetime) -> None:
    """End the alarm of this, if there is one, within a transaction."""
    db.execute(alarm.update().where(_is(what)).values(ended_at=now))


def _is(what: str) -> sa.ColumnElement[bool]:
    return sa.and_(alarm.c.what == what, alarm.c.ended_at.is_(None))
