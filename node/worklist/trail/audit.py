"""The audit trail: who signed in, saw, sent or got a study, or decided something, and when.

Rows are only added. They name accounts and studies, never a patient.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from getpass import getuser
from typing import Any

import sqlalchemy as sa

from node.visible import visible
from node.worklist.schema.columns import Deed
from node.worklist.schema.database import Database, insert
from node.worklist.schema.people_tables import audit, audit_forwarding
from node.worklist.schema.tables import study
from node.worklist.trail.chained import GENESIS, faults, linked

CERTIFICATE = ", certificate "
"""What a row says of a caller before its certificate."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes
    ----------
    name
        The account's name, an AE title, the name of a bearer token or of a destination, or who sits
        at the node's terminal.
    address
        The network address, "terminal", or the channel by which a destination is sent to.
    session
        Digest of the session, if there is one.
    certificate
        Whose certificate was shown: "CN=CT7,O=Hospital".
    """

    name: str
    address: str
    session: str | None = None
    certificate: str | None = None

    @classmethod
    def at_terminal(cls, name: str | None = None) -> "Actor":
        """Return who sits at the node's terminal: as they are named, else as they are logged in."""
        return cls(name or _logged_in(), "terminal")


def _logged_in() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"


@dataclass(frozen=True, slots=True)
class AuditLine:
    """What is to become a row of the trail."""

    actor: Actor
    what: Deed
    at: datetime
    study_uid: str | None = None
    about: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the trail."""

    number: int
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

    def record_all(self, lines: Sequence[AuditLine]) -> None:
        """Add rows in one transaction: all of them, or none."""
        with self._database.write() as db:
            for line in lines:
                told = {"study_uid": line.study_uid, "about": line.about}
                recorded(db, line.actor, line.what, line.at, **told)

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

    def waiting_for(self, collector: str, most: int) -> list[AuditEntry]:
        """Return the oldest rows that a collector is not known to have."""
        reached = sa.select(audit_forwarding.c.last_id).where(
            audit_forwarding.c.collector == collector
        )
        query = sa.select(audit).order_by(audit.c.id).limit(most)
        with self._database.read() as db:
            last = db.scalar(reached) or 0
            return [_entry(row) for row in db.execute(query.where(audit.c.id > last))]

    def collected(self, collector: str, number: int, now: datetime) -> None:
        """Record that a collector has the trail up to a row; it never goes back."""
        row = {"collector": collector, "last_id": number, "at": now}
        with self._database.write() as db:
            adding = insert(db, audit_forwarding).values(row)
            db.execute(
                adding.on_conflict_do_update(
                    index_elements=["collector"],
                    set_={"last_id": number, "at": now},
                    where=audit_forwarding.c.last_id < number,
                )
            )

    def patients(self, study_uids: Collection[str]) -> Mapping[str, str]:
        """Return the PatientID of each study that the worklist has, by StudyInstanceUID."""
        uid, found, wanted = study.c.study_instance_uid, dict[str, str](), sorted(study_uids)
        with self._database.read() as db:
            for start in range(0, len(wanted), 500):  # a statement's values are limited
                chosen = uid.in_(wanted[start : start + 500])
                rows = db.execute(sa.select(uid, study.c.patient_id).where(chosen))
                found |= {row[0]: row[1] or "" for row in rows}
        return found


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
    if actor.certificate:
        about = f"{about or ''}{CERTIFICATE}{visible(actor.certificate)}"
    line = {"at": now, "what": what, "who": actor.name, "address": actor.address}
    line |= {"study_instance_uid": study_uid, "about": about, "session": actor.session}
    db.execute(insert(db, audit).values(linked(db, line)).on_conflict_do_nothing())


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        number=row.id,
        at=row.at,
        what=row.what,
        who=row.who,
        address=row.address,
        study_instance_uid=row.study_instance_uid,
        about=row.about,
        digest=row.digest,
    )
