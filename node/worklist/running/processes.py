"""Which processes of the node run, on whatever machine: each says so every few seconds."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from node.worklist.running import steps
from node.worklist.schema.database import Database, insert
from node.worklist.schema.running_tables import process

FORGOTTEN = timedelta(days=1)
"""After this silence a process is no longer listed; chosen, so that the next day still shows it."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the node.

    Attributes
    ----------
    ready_at
        Since when it does its work; None while it starts.
    seen_at
        When it last said that it runs.
    waits
        What it waits for, an outage; "" while it gets on.
    """

    name: str
    role: str
    started_at: datetime
    ready_at: datetime | None
    seen_at: datetime
    waits: str = ""


class Processes:
    """The processes of the node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, one: Process) -> None:
        """Record that a process runs; forget those that were silent for long."""
        row = {
            "name": one.name,
            "role": one.role,
            "started_at": one.started_at,
            "ready_at": one.ready_at,
            "seen_at": one.seen_at,
            "waits": one.waits,
        }
        with self._database.write() as db:
            db.execute(
                insert(db, process)
                .values(row)
                .on_conflict_do_update(index_elements=["name"], set_=row)
            )
            db.execute(process.delete().where(process.c.seen_at < one.seen_at - FORGOTTEN))

    def time(self, now: datetime) -> datetime:
        """Return the time by the database's server, or `now` where it is this machine's."""
        with self._database.read() as db:
            if db.dialect.name != "postgresql":
                return now
            found: datetime = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return found

    def reckon(self, now: datetime) -> timedelta:
        """Note the time; return by how much the clock was set back since (`steps.reckon`)."""
        with self._database.write() as db:
            return steps.reckon(db, now)

    def ended(self, name: str) -> None:
        """Record that a process stopped as it was told to."""
        with self._database.write() as db:
            db.execute(process.delete().where(process.c.name == name))

    def listed(self) -> list[Process]:
        """Return the processes that run, and those that fell silent, by role and start."""
        query = sa.select(process).order_by(process.c.role, process.c.started_at, process.c.name)
        with self._database.read() as db:
            return [Process(*row) for row in db.execute(query)]
