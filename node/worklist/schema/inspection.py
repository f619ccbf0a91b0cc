"""Whether the database is whole, and which files its rows speak of."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from node.worklist.schema.columns import Decision, DeliveryStatus
from node.worklist.schema.database import Database
from node.worklist.schema.tables import delivery, instance, quarantine


@dataclass(frozen=True, slots=True)
class FileOfRow:
    """A file that must be there, below the data folder; `size` is None where no row says it."""

    what: str
    path: str
    size: int | None


class Inspection:
    """The worklist as somebody sees it who checks an installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def faults(self) -> list[str]:
        """Return what is wrong within the database, in its own words; PostgreSQL checks itself."""
        with self._database.read() as db:
            if db.dialect.name != "sqlite":
                return []
            found = [str(row[0]) for row in db.exec_driver_sql("PRAGMA integrity_check")]
            keys = db.exec_driver_sql("PRAGMA foreign_key_check").all()
        strays = [f"a row of {row[0]} refers to a row of {row[2]} that is gone" for row in keys]
        return [fault for fault in found if fault != "ok"] + strays

    def files(self) -> Iterator[FileOfRow]:
        """Yield the files that rows speak of: received, set aside, and still to be sent."""
        received = sa.select(instance.c.path, instance.c.size).where(instance.c.purged_at.is_(None))
        aside = sa.select(quarantine.c.path, quarantine.c.size).where(
            quarantine.c.decision.is_(None)
            | quarantine.c.decision.not_in((Decision.DELETED, Decision.REPLACED))
        )
        owed = sa.select(delivery.c.payload_path, sa.null()).where(
            delivery.c.status.in_((DeliveryStatus.OWED, DeliveryStatus.DEAD))
        )
        with self._database.read() as db:
            for what, query in (("received", received), ("quarantined", aside), ("owed", owed)):
                for path, size in db.execute(query.distinct()):
                    yield FileOfRow(what, path, size)
