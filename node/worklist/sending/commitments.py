"""What callers asked the node to keep (storage commitment), and the reports it owes them.

A report is owed from the moment in which the request is answered, survives a restart, and ends as
SENT, or as DEAD when it was given up.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.committed import CommitmentAsked, CommitmentReport, Reference
from node.wording import counted
from node.worklist.running.leases import FREE, held_by, is_free
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.database import Database
from node.worklist.schema.tables import commitment, instance, quarantine, series
from node.worklist.sending.vouching import note_report, note_request, studies_of_received
from node.worklist.trail.audit import Actor

KEPT = timedelta(days=30)
"""How long a request is remembered that was reported on, so that one of the same transaction UID is
told from it. A choice."""
MANY = 500
"""UIDs that a statement takes as parameters."""


_WHOLE = instance.c.purged_at.is_(None)  # its file was not removed


@dataclass(frozen=True, slots=True)
class Duty:
    """A report that is owed to a caller.

    Attributes
    ----------
    duplicate
        Whether the transaction UID is another request's: nothing of it is committed.
    """

    id: int
    caller: str
    asked: CommitmentAsked
    duplicate: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class Held:
    """An object that the node has filed.

    Attributes
    ----------
    unsettled
        Whether other bytes of its SOP Instance UID wait in quarantine for a decision.
    """

    sop_class_uid: str
    path: str
    sha256: str
    unsettled: bool


@dataclass(frozen=True, slots=True)
class DeadReports:
    """Reports to one caller that were given up: it does not know what the node keeps.

    Attributes
    ----------
    why
        How the last try of the newest one failed.
    """

    caller: str
    reports: int
    last_at: datetime
    why: str

    def __str__(self) -> str:
        reports = counted(self.reports, "report")
        return f"{reports} of storage commitment to {self.caller} given up: {self.why}"


class Commitments:
    """The worklist as those see it who promise callers to keep objects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(
        self, by: Actor, asked: CommitmentAsked, worker: str, lease_s: float, now: datetime
    ) -> Duty:
        """Record a request; its report is owed, and this worker's to send.

        The same request again makes its report owed again. Another one of the same caller under
        the same transaction UID is a duplicate.
        """
        caller, plain = by.name, [list(one) for one in asked.references]
        with self._database.write() as db:
            _forget(db, now)
            here = studies_of_received(db, [one.sop_instance_uid for one in asked.references])
            note_request(db, by, "asks", asked, here, now)
            first = _known(db, caller, asked.transaction_uid, duplicate=False)
            duplicate = first is not None and first.asked != plain
            known = (
                _known(db, caller, asked.transaction_uid, duplicate=True) if duplicate else first
            )
            values = {"asked": plain, "status": DeliveryStatus.OWED, "attempts": 0, "due_at": now}
            values |= {"asked_at": now, "ended_at": None, "last_status": None, "last_message": None}
            values |= {"claimed_by": worker, "lease_until": now + timedelta(seconds=lease_s)}
            if known is not None:
                db.execute(commitment.update().where(commitment.c.id == known.id).values(values))
                return Duty(known.id, caller, asked, duplicate, 0)
            named = {"caller": caller, "transaction_uid": asked.transaction_uid}
            new = commitment.insert().values(**values, **named, duplicate=duplicate)
            number = db.execute(new.returning(commitment.c.id)).scalar_one()
            return Duty(number, caller, asked, duplicate, 0)

    def claim(self, worker: str, lease_s: float, now: datetime) -> Duty | None:
        """Return the report that is due and waits longest, now this worker's; None if none is."""
        due = (
            sa.select(commitment)
            .where(commitment.c.status == DeliveryStatus.OWED, is_free(commitment, now))
            .order_by(commitment.c.due_at, commitment.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as db:
            row = db.execute(due).one_or_none()
            if row is None:
                return None
            mine = commitment.update().where(commitment.c.id == row.id)
            db.execute(mine.values(held_by(commitment, worker, lease_s, now, "attempts")))
        return _duty(row)

    def keep(self, asked: Sequence[Reference], until: datetime) -> Mapping[str, Held]:
        """Commit the node to keep what it has of these objects; return them by SOP Instance UID.

        What is committed is not purged before (`Retention`). Who calls this looks at the files
        after it.
        """
        found: dict[str, Held] = {}
        with self._database.write() as db:
            for some in _pieces([one.sop_instance_uid for one in asked]):
                mine = _WHOLE & instance.c.sop_instance_uid.in_(some)
                longer = sa.or_(
                    instance.c.committed_until.is_(None), instance.c.committed_until < until
                )
                db.execute(instance.update().where(mine, longer).values(committed_until=until))
                found |= _filed(db, some)
        return found

    def kept_until(self, study_uid: str) -> datetime | None:
        """Return until when the node must keep objects of a study; None if it never promised to."""
        last = (
            sa.select(sa.func.max(instance.c.committed_until))
            .join_from(instance, series)
            .where(series.c.study_instance_uid == study_uid)
        )
        with self._database.read() as db:
            until: datetime | None = db.scalar(last)
        return until

    def dead(self) -> list[DeadReports]:
        """Return the reports that were given up, by caller, the newest first."""
        this = commitment.c
        newest = (
            sa.select(
                this.caller,
                this.ended_at,
                this.last_message,
                sa.func.count().over(partition_by=this.caller).label("reports"),
                sa.func.row_number()
                .over(partition_by=this.caller, order_by=(this.ended_at.desc(), this.id.desc()))
                .label("place"),
            )
            .where(this.status == DeliveryStatus.DEAD)
            .subquery()
        )
        query = sa.select(newest).where(newest.c.place == 1).order_by(newest.c.ended_at.desc())
        with self._database.read() as db:
            rows = db.execute(query).all()
        return [DeadReports(r.caller, r.reports, r.ended_at, r.last_message or "") for r in rows]

    def reported(
        self, duty: Duty, worker: str, to: Actor, report: CommitmentReport, now: datetime
    ) -> None:
        """Record that the caller took the report."""
        sent = {"status": DeliveryStatus.SENT, "ended_at": now, "last_message": None}
        uids = [one.sop_instance_uid for one in duty.asked.references]
        with self._database.write() as db:
            _record(db, duty, worker, {**sent, "attempts": commitment.c.attempts + 1})
            note_report(db, to, "is told", report, studies_of_received(db, uids), now)

    def failed(
        self, duty: Duty, worker: str, message: str, retry_at: datetime | None, now: datetime
    ) -> None:
        """Record that the caller did not take the report; None as `retry_at` gives it up."""
        dead = {"status": DeliveryStatus.DEAD, "ended_at": now}
        changes = dead if retry_at is None else {"due_at": retry_at}
        tried = {"attempts": commitment.c.attempts + 1, "last_message": message}
        with self._database.write() as db:
            _record(db, duty, worker, {**tried, **changes})

    def release(self, duty: Duty, worker: str, now: datetime) -> None:
        """Let another worker send the report, now."""
        with self._database.write() as db:
            _record(db, duty, worker, {"due_at": now})


def _record(db: sa.Connection, duty: Duty, worker: str, changes: Mapping[str, Any]) -> None:
    """Change a report that the worker still holds; another's is left alone."""
    mine = sa.and_(commitment.c.id == duty.id, commitment.c.claimed_by == worker)
    db.execute(commitment.update().where(mine).values({**changes, **FREE}))


def _known(
    db: sa.Connection, caller: str, transaction_uid: str, *, duplicate: bool
) -> sa.Row[Any] | None:
    this = commitment.c
    query = sa.select(commitment).where(
        this.caller == caller,
        this.transaction_uid == transaction_uid,
        this.duplicate.is_(duplicate),
    )
    row: sa.Row[Any] | None = db.execute(query.with_for_update()).one_or_none()
    return row


def _pieces(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (uids[start : start + MANY] for start in range(0, len(uids), MANY))


def _filed(db: sa.Connection, uids: Sequence[str]) -> dict[str, Held]:
    unsettled = sa.exists().where(
        quarantine.c.sop_instance_uid == instance.c.sop_instance_uid,
        quarantine.c.decision.is_(None),
    )
    query = sa.select(
        instance.c.sop_instance_uid,
        instance.c.header["sop_class_uid"].as_string(),
        instance.c.path,
        instance.c.sha256,
        unsettled,
    ).where(_WHOLE, instance.c.sop_instance_uid.in_(uids))
    return {uid: Held(*row) for uid, *row in db.execute(query)}


def _forget(db: sa.Connection, now: datetime) -> None:
    db.execute(commitment.delete().where(commitment.c.ended_at < now - KEPT))


def _duty(row: sa.Row[Any]) -> Duty:
    references = tuple(Reference(*one) for one in row.asked)
    asked = CommitmentAsked(row.transaction_uid, references)
    attempts = row.attempts + (row.claimed_by is not None)
    return Duty(row.id, row.caller, asked, row.duplicate, attempts)
