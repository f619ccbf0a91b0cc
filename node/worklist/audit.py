"""The audit trail: who signed in, saw a study or said something of it, when and from where.

Rows are only added. They name accounts and studies, never a patient.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.worklist.chained import GENESIS, faults, linked
from node.worklist.columns import Deed
from node.worklist.database import Database, insert
from node.worklist.tables import audit


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes
    ----------
    name
        The account's name, or who sits at the node's terminal.
    address
        The network address of the browser, or "terminal".
    session
        Digest of the session, if there is one.
    """

    name: str
    address: str
    session: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the trail."""

    at: datetime
    what: Deed
    who: str
    address: str
    study_instance_uid: str | None
    about: str | None
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON prints it."""
        return {
            "at": self.at.isoformat(),
            "what": self.what,
            "who": self.who,
            "address": self.address,
            "study_instance_uid": self.study_instance_uid,
            "about": self.about,
        }


class Audit:
    """The worklist as an auditor sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        actor: Actor,
        what: Deed,
        now: datetime,
        *,
        study_uid: str | None = None,
        about: str | None = None,
    ) -> None:
        """Add a row; a view of a study that its session has already had adds none."""
        with self._database.write() as db:
            recorded(db, actor, what, now, study_uid=study_uid, about=about)

    def faults(self, known: str = "") -> tuple[list[str], str]:
        """Return what is wrong with the trail, in words, and the digest that it ends with.

        Parameters
        ----------
        known
            A digest that it once ended with, or "".
        """
        rows = sa.select(audit).order_by(audit.c.id)
        newest = sa.select(audit.c.digest).order_by(audit.c.id.desc()).limit(1)
        with self._database.read() as db:
            found = list(faults(db.execute(rows).mappings(), known))
            return found, db.scalar(newest) or GENESIS

    def entries(self, study_uid: str | None = None, most: int | None = None) -> list[AuditEntry]:
        """Return the newest rows, or all, of a study or of every one, oldest first."""
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(most)
        if study_uid is not None:
            query = query.where(audit.c.study_instance_uid == study_uid)
        with self._database.read() as db:
            return [_entry(row) for row in reversed(db.execute(query).all())]


def recorded(
    db: sa.Connection,
    actor: Actor,
    what: Deed,
    now: datetime,
    *,
    study_uid: str | None = None,
    about: str | None = None,
) -> None:
    """Add a row within a transaction."""
    line = {"at": now, "what": what, "who": actor.name, "address": actor.address}
    line |= {"study_instance_uid": study_uid, "about": about, "session": actor.session}
    db.execute(insert(db, audit).values(linked(db, line)).on_conflict_do_nothing())


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        row.at, row.what, row.who, row.address, row.study_instance_uid, row.about, row.digest
    )
