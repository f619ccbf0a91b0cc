"""What people see of deliveries and decide about them: try again, give up, pause all sending."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from node.worklist.schema.columns import Deed, DeliveryStatus
from node.worklist.schema.database import Database
from node.worklist.sending import pauses, unreachable, unsent
from node.worklist.sending.pauses import Paused
from node.worklist.sending.unreachable import Unreachable
from node.worklist.sending.unsent import Unsent
from node.worklist.trail.audit import Actor, recorded


class Deliveries:
    """The worklist as those see it who decide what becomes of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unreachable(self) -> list[Unreachable]:
        """Return the destinations that do not answer, by name."""
        with self._database.read() as db:
            return unreachable.listed(db)

    def pause(self, by: Actor, why: str, now: datetime) -> Paused:
        """Have nothing claimed until `resume`, by a person's will; return since when it is so."""
        with self._database.write() as db:
            return pauses.begin(db, by, why, now)

    def resume(self, by: Actor, now: datetime) -> Paused | None:
        """Have what is owed claimed again; return the pause that is over, if there was one."""
        with self._database.write() as db:
            return pauses.end(db, by, now)

    def paused(self) -> Paused | None:
        """Return the pause under way."""
        with self._database.read() as db:
            return pauses.current(db)

    def held_up(self) -> list[Paused | Unreachable]:
        """Return what keeps deliveries from leaving; as text, each is a line for people."""
        paused = self.paused()
        return [*([] if paused is None else [paused]), *self.unreachable()]

    def unsent(
        self,
        destination: str | None = None,
        status: DeliveryStatus | None = None,
        limit: int | None = None,
    ) -> list[Unsent]:
        """Return the deliveries that are owed or dead, dead ones first, then the oldest."""
        with self._database.read() as db:
            return unsent.listed(db, destination, status, limit)

    def retry(self, numbers: Sequence[int], by: Actor, now: datetime) -> list[int]:
        """Let a person try deliveries again now; return which will be (`unsent.retry`)."""
        with self._database.write() as db:
            return _decided(db, "tried again", unsent.retry(db, numbers, by.name, now), by, now)

    def cancel(self, numbers: Sequence[int], by: Actor, now: datetime) -> list[int]:
        """Let a person give deliveries up for good; return which were (`unsent.cancel`)."""
        with self._database.write() as db:
            return _decided(db, "given up", unsent.cancel(db, numbers, by.name, now), by, now)


def _decided(db: sa.Connection, how: str, done: list[int], by: Actor, now: datetime) -> list[int]:
    """Note in the audit trail what a person decided about deliveries; return which they are."""
    if done:
        recorded(db, by, Deed.DELIVERIES, now, about=f"{len(done)} {how}")
    return done
