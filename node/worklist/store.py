"""The worklist: what was received, where each case stands, what is owed to whom.

Every method is one transaction, and what it wrote is on disk when it returns. Time comes in as
`now`, so that a test can let a lease run out. Any method may raise Retryable (the database is
locked, full or out of reach) and Permanent (it refuses the values).
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa

from node.errors import Retryable
from node.identity import Identity
from node.records import (
    Case,
    Delivery,
    Header,
    Instance,
    Outcome,
    Predecessor,
    Series,
    StoredObject,
)
from node.states import State
from node.worklist import arrivals, cases, events, outbox, quarantine, views
from node.worklist.arrivals import Arrival
from node.worklist.cases import IllegalMove, NotFound
from node.worklist.database import Clash, Database, require_head, upgrade
from node.worklist.events import Event
from node.worklist.leases import LeaseLost, claimant
from node.worklist.quarantine import Quarantined, Signature, Standing
from node.worklist.rows import DeliveryLine, Row, in_order
from node.worklist.tables import Decision, DeliveryStatus, instance, series

__all__ = [
    "Arrival",
    "Decision",
    "DeliveryLine",
    "DeliveryStatus",
    "Event",
    "IllegalMove",
    "LeaseLost",
    "NotFound",
    "Quarantined",
    "Row",
    "Signature",
    "Standing",
    "Store",
    "claimant",
    "upgrade",
]

_RACES = 5
"""Chosen: how often first slices of one study may meet before one of them gives up."""


class Store:
    """The worklist in one database; threads may share it, each process opens its own.

    Raises
    ------
    BadConfiguration
        If the database is not at this program's schema.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        try:
            require_head(self._database)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    # What comes in

    def add(self, header: Header, stored: StoredObject, *, caller: str, now: datetime) -> Arrival:
        """File a received object under its study and series, or set it aside.

        A slice for a case that has left RECEIVING opens a case that supersedes it. A slice for a
        case that a worker is assembling takes the claim away: a plan made without it is void.
        """
        for _ in range(_RACES):
            try:
                with self._database.write() as db:
                    return arrivals.file(db, header, stored, caller, now)
            except Clash as clash:
                last = clash
        raise Retryable("others file objects of this study at the same time: send again") from last

    def quarantine(
        self, stored: StoredObject, *, code: str, reason: str, caller: str, now: datetime
    ) -> None:
        """Record an object that is kept but cannot be filed."""
        with self._database.write() as db:
            arrivals.set_aside(db, stored, code, reason, caller, now)

    def release(self, series_uids: Iterable[str], now: datetime) -> None:
        """Record that an association which carried these series was released.

        It is evidence: the undecided cases of their studies are due at once.
        """
        with self._database.write() as db:
            arrivals.release(db, list(series_uids), now)

    # What was set aside

    def quarantined(
        self, study_uid: str | None = None, *, decided: bool = False
    ) -> list[Quarantined]:
        """Return the open entries of quarantine, oldest first.

        Parameters
        ----------
        study_uid
            Only those whose objects name this study.
        decided
            Those decided about too.
        """
        with self._database.read() as db:
            return quarantine.listed(db, study_uid, decided=decided)

    def quarantined_object(self, number: int) -> Quarantined:
        """Return an entry of quarantine, whatever was decided about it.

        Raises
        ------
        NotFound
            If there is none.
        """
        with self._database.read() as db:
            return quarantine.one(db, number)

    def standing(self, header: Header) -> Standing:
        """Return what is known where an object says that it belongs."""
        with self._database.read() as db:
            return quarantine.standing(db, header)

    def release_quarantined(
        self, objects: Mapping[int, Header], signed: Signature
    ) -> Mapping[int, str]:
        """File objects by a person's will; return why one stays, by its number.

        An object set aside for its identity is filed under the study it names. One with other
        bytes under a known SOPInstanceUID takes the place of the one filed, which goes into
        quarantine as REPLACED. One that could not be filed is tried again, and vouched for by
        nobody yet. All count as late slices of an association that was released: their cases are
        due, and finished ones superseded. Where all instances of a study then bear another
        identity than the study, it becomes the study's.

        Parameters
        ----------
        objects
            By number, what the bytes of each say now.

        Raises
        ------
        NotFound, IllegalMove
            If there is no such entry, or its decision cannot be taken back; nothing was filed.
        """
        with self._database.write() as db:
            stay = {
                number: reason
                for number, header in objects.items()
                if (reason := quarantine.release(db, number, header, signed))
            }
            filed = {h.series_instance_uid for n, h in objects.items() if n not in stay}
            if filed:
                arrivals.release(db, sorted(filed), signed.at)
        return stay

    def discard_quarantined(
        self, number: int, signed: Signature, *, delete: bool = False
    ) -> Decision:
        """Decide that an object is not filed; DELETED tells the caller to remove its bytes.

        Where another row speaks of the same bytes, it is DISCARDED, `delete` or not.

        Raises
        ------
        NotFound, IllegalMove
            If there is no such entry, or its decision cannot be taken back.
        """
        with self._database.write() as db:
            return quarantine.discard(db, number, signed, delete=delete)

    # What is known

    def study(self, study_uid: str) -> tuple[Series, ...]:
        """Return the study's series, and the instances of each, by arrival."""
        of_study = series.c.study_instance_uid == study_uid
        with self._database.read() as db:
            found = db.execute(sa.select(series).where(of_study)).all()
            received = sa.select(instance).join(series).where(of_study).order_by(instance.c.id)
            instances: dict[str, list[Instance]] = {row.series_instance_uid: [] for row in found}
            for row in db.execute(received):
                instances[row.series_instance_uid].append(_instance(row))
        listed = [_series(row, instances[row.series_instance_uid]) for row in found]
        return tuple(sorted(listed, key=lambda s: (s.first_received_at, s.series_instance_uid)))

    def cases(self, study_uid: str) -> tuple[Case, ...]:
        """Return the study's cases, one a series; superseded ones are left out."""
        with self._database.read() as db:
            return cases.of_study(db, study_uid)

    def predecessor(self, case_id: int, sop_class_uid: str) -> Predecessor | None:
        """Return the object of this class that the case's own will supersede at a peer, if any.

        It is that of the nearest superseded case of which one was delivered, or may have been.
        """
        with self._database.read() as db:
            return outbox.predecessor(db, case_id, sop_class_uid)

    def case(self, case_id: int) -> Case:
        """Return a case.

        Raises
        ------
        NotFound
            If there is none.
        """
        with self._database.read() as db:
            return cases.one(db, case_id)

    def find(self, name: str) -> str:
        """Return the StudyInstanceUID that a person means.

        Parameters
        ----------
        name
            A StudyInstanceUID, else an accession number, else a case's number.

        Raises
        ------
        NotFound
            If there is no such study, or several have that accession number.
        """
        with self._database.read() as db:
            return views.find(db, name)

    def history(self, study_uid: str) -> tuple[Row, ...]:
        """Return every case of the study by age, superseded ones too."""
        with self._database.read() as db:
            return tuple(views.cases(db, views.of_study(study_uid)))

    def counts(self) -> Mapping[State, int]:
        """Return how many cases stand in each state; superseded ones are left out."""
        with self._database.read() as db:
            return cases.counts(db)

    def events(self, study_uid: str) -> list[Event]:
        """Return what happened to a study, oldest first."""
        with self._database.read() as db:
            return events.of_study(db, study_uid)

    # What is to be done

    def claim(
        self, states: Collection[State], worker: str, lease_s: float, now: datetime
    ) -> Case | None:
        """Return the case in one of `states` that has been due longest, now this worker's.

        A prior study waits until no current one is due. A claim whose lease ran out counts as an
        attempt.
        """
        with self._database.write() as db:
            return cases.claim(db, states, worker, lease_s, now)

    def renew(self, case_id: int, worker: str, lease_s: float, now: datetime) -> bool:
        """Return whether the worker still holds the case, its lease now running from `now`."""
        with self._database.write() as db:
            return cases.renew(db, case_id, worker, lease_s, now)

    def finish(self, case: Case, worker: str, outcome: Outcome, now: datetime) -> None:
        """Record how a stage ended and give the case back.

        The case's own state means "not yet": the case is due again at `retry_at`. Any other state
        starts its attempts anew. A report with nothing left to send is DELIVERED at once.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the case; nothing was recorded.
        IllegalMove
            If the outcome's state cannot follow the case's.
        """
        with self._database.write() as db:
            cases.finish(db, case, worker, outcome, now)

    def retry(
        self, case: Case, worker: str, reason: str, retry_at: datetime, now: datetime
    ) -> None:
        """Count a failed attempt and give the case back until `retry_at`.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the case; nothing was recorded.
        """
        with self._database.write() as db:
            cases.retry(db, case, worker, reason, retry_at, now)

    def replay(self, case_id: int, to: State, now: datetime) -> None:
        """Set a case back to RECEIVING, ASSEMBLED or TRIAGED by a person's will.

        What was not sent yet is no longer owed; what was sent is not sent twice. A suspicion stays
        shown until the case is read again; another result becomes PENDING, unless only the report
        is made anew.

        Raises
        ------
        NotFound
            If there is no such case.
        IllegalMove
            If no replay starts there, the case was superseded, or it has no result to report.
        """
        with self._database.write() as db:
            cases.replay(db, case_id, to, now)

    # What goes out

    def claim_deliveries(
        self, worker: str, lease_s: float, now: datetime, limit: int = 20
    ) -> list[Delivery]:
        """Return due deliveries of one destination, now this worker's.

        Those of suspected cases come first, then the oldest.
        """
        with self._database.write() as db:
            return outbox.claim(db, worker, lease_s, now, limit)

    def delivered(self, delivery: Delivery, worker: str, status: int, now: datetime) -> None:
        """Record that the peer took an object, with its status verbatim.

        The last object of a report makes its case DELIVERED.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the delivery: another will send the same object.
        """
        sent = {"status": DeliveryStatus.SENT, "last_message": None, "sent_at": now}
        with self._database.write() as db:
            outbox.answered(db, delivery, worker, status, now, sent)
            outbox.close_if_sent(db, delivery.case_id, now)

    def delivery_failed(
        self,
        delivery: Delivery,
        worker: str,
        status: int | None,
        message: str,
        retry_at: datetime | None,
        now: datetime,
    ) -> None:
        """Record that an object did not arrive, and when to try again.

        Parameters
        ----------
        status
            The peer's status verbatim, or None where it gave none.
        retry_at
            None gives up: the delivery is DEAD and a person must look.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the delivery.
        """
        changes: dict[str, Any] = {"last_message": message}
        changes |= {"status": DeliveryStatus.DEAD} if retry_at is None else {"due_at": retry_at}
        with self._database.write() as db:
            outbox.answered(db, delivery, worker, status, now, changes)

    def never_send(self, delivery: Delivery, worker: str, reason: str, now: datetime) -> None:
        """Record that an object must not leave as it is: the delivery is DEAD.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the delivery.
        """
        with self._database.write() as db:
            outbox.stop(db, delivery, worker, reason, now)

    def identities(self, case_id: int) -> frozenset[Identity]:
        """Return whom the instances of a case's series name; one, unless a person mixed them."""
        with self._database.read() as db:
            return outbox.identities(db, case_id)

    # What people see

    def worklist(self, now: datetime, since: datetime | None = None) -> list[Row]:
        """Return one row a study, in worklist order.

        Parameters
        ----------
        since
            Leave out studies that got no slice since then and are done with: all their cases were
            delivered or skipped, or somebody acknowledged them.
        """
        with self._database.read() as db:
            return in_order(views.rows(db, views.recent(since)), now)

    def acknowledge(self, study: str, who: str, agrees: bool | None, now: datetime) -> None:
        """Record that a person has seen the study's row as it stands, and whether they agree.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        with self._database.write() as db:
            views.acknowledge(db, study, who, agrees, now)


def _series(row: sa.Row[Any], instances: list[Instance]) -> Series:
    return Series(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        instances=tuple(instances),
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        released_at=row.released_at,
    )


def _instance(row: sa.Row[Any]) -> Instance:
    stored = StoredObject(row.path, row.sha256, row.size)
    return Instance(Header.from_json(row.header), stored, row.received_at)
