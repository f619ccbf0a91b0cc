"""The jobs of the node: what it does again and again, when, and how that went."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.worklist.schema.database import Database, insert
from node.worklist.schema.running_tables import job

LATE = timedelta(seconds=120)
"""A job that is due, or was last noted, so long ago does not run. The jobs that send are noted each
30 s, and a transfer to a peer that hangs takes some time. Chosen."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job of the node: when it last ran, when and how it last failed, and when it runs next.

    `ran_at` is None before its first run, `error` and `failed_at` if it never failed, `next_at` of
    a job that runs all the time.
    """

    name: str
    ran_at: datetime | None
    error: str | None
    failed_at: datetime | None
    next_at: datetime | None

    @property
    def fails(self) -> bool:
        """Whether it failed when it last ran."""
        return self.failed_at is not None and self.failed_at == self.ran_at

    def is_late(self, now: datetime) -> bool:
        """Return whether it should have run and did not."""
        due = self.next_at or self.ran_at
        return due is not None and now - due > LATE

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode jobs --json`; a stable interface."""
        times = {"ran_at": self.ran_at, "failed_at": self.failed_at, "next_at": self.next_at}
        said = {name: moment and moment.isoformat() for name, moment in times.items()}
        return asdict(self) | said | {"fails": self.fails}


class Jobs:
    """The worklist as the scheduler sees it, and who asks after it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def planned(self, name: str, next_at: datetime) -> None:
        """Record when a job runs next."""
        with self._database.write() as db:
            _note(db, name, {"next_at": next_at})

    def ran(
        self, name: str, error: str | None, now: datetime, next_at: datetime | None = None
    ) -> None:
        """Record that a job ran, and what went wrong if something did; an earlier error stays."""
        with self._database.write() as db:
            ran(db, name, error, now, next_at)

    def listed(self) -> list[JobLine]:
        """Return the jobs of the node, by name."""
        with self._database.read() as db:
            return [JobLine(*row) for row in db.execute(sa.select(job).order_by(job.c.name))]

    def next_at(self, name: str) -> datetime | None:
        """Return when a job is to run next; None if that was never said."""
        with self._database.read() as db:
            found: datetime | None = db.scalar(sa.select(job.c.next_at).where(job.c.name == name))
        return found


def ran(
    db: sa.Connection, name: str, error: str | None, now: datetime, next_at: datetime | None = None
) -> None:
    """Record within a transaction that a job ran."""
    failed = {"error": error, "failed_at": now} if error is not None else {}
    _note(db, name, {"ran_at": now, "next_at": next_at, **failed})


def _note(db: sa.Connection, name: str, values: Mapping[str, Any]) -> None:
    db.execute(
        insert(db, job)
        .values(name=name, **values)
        .on_conflict_do_update(index_elements=["name"], set_=dict(values))
    )
