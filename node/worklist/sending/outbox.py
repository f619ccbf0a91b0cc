"""What goes out: one row for each parcel owed to each destination."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.identity import Identity
from node.news import KIND
from node.records import Delivery, Parcel, Predecessor
from node.states import Priority
from node.worklist.running import jobs
from node.worklist.running.leases import FREE, LeaseLost, held_by, is_free
from node.worklist.schema.columns import Deed, DeliveryStatus
from node.worklist.schema.database import Database
from node.worklist.schema.people_tables import audit
from node.worklist.schema.tables import case, delivery, instance, series
from node.worklist.sending import pauses, unreachable
from node.worklist.sending.owing import AWAITED, MAY_BE_THERE, close_if_sent, hold
from node.worklist.sending.telling import EscalationStep, escalate, unacknowledged
from node.worklist.sending.unreachable import Unreachable
from node.worklist.sending.withdrawals import (
    WithdrawnObjects,
    passes_a_withdrawal,
    withdrawn_by,
)
from node.worklist.studies import corrections
from node.worklist.studies.chains import WITHDRAWS
from node.worklist.studies.corrections import Correction
from node.worklist.trail.audit import Actor, recorded
from node.worklist.trail.events import note

_URGENT = sa.or_(sa.and_(case.c.priority == Priority.SUSPECTED, ~case.c.prior), WITHDRAWS)


class Outbox:
    """The worklist as those see it who send: what is owed, and how sending it ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self,
        worker: str,
        lease_s: float,
        now: datetime,
        limit: int = 20,
        *,
        urgent_to: str | None = None,
        besides: Collection[str] = (),
    ) -> list[Delivery]:
        """Return due deliveries of one channel and destination, now this worker's.

        Those of suspected current cases and of withdrawals come first, then the oldest. A message
        waits while an earlier one about the same study is owed to, or on its way to, the same
        destination: it must not arrive before that one. So does an object that would pass a
        withdrawal (`sending.withdrawals`).

        Parameters
        ----------
        urgent_to
            Only those of suspected current cases and of withdrawals to this destination; None
            takes all.
        besides
            Destinations whose deliveries are left out.
        """
        only: sa.ColumnElement[bool] = sa.true()
        if urgent_to is not None:
            only = sa.and_(_URGENT, delivery.c.destination == urgent_to)
        due = (
            sa.select(delivery, _URGENT.label("high_priority"))
            .join_from(delivery, case)
            .where(delivery.c.status == DeliveryStatus.OWED, is_free(delivery, now), only)
            .where(sa.or_(delivery.c.kind != KIND, ~_overtakes(now)))
            .where(sa.or_(delivery.c.kind == KIND, ~passes_a_withdrawal(now)))
            .where(delivery.c.destination.not_in(besides))
            .where(unreachable.may_be_tried(now), pauses.is_sending())
            .order_by(_URGENT.desc(), delivery.c.id)
            .with_for_update(skip_locked=True, of=delivery)
        )
        with self._database.write() as db:
            first = db.execute(due.limit(1)).one_or_none()
            if first is None:
                return []
            batch = due.where(
                delivery.c.channel == first.channel, delivery.c.destination == first.destination
            )
            rows = db.execute(batch.limit(limit)).all()
            until = now + timedelta(seconds=lease_s)
            unreachable.being_tried(db, first.destination, until)
            db.execute(
                delivery.update()
                .where(delivery.c.id.in_([row.id for row in rows]))
                .values(held_by(delivery, worker, lease_s, now, "attempts"))
            )
        return [_delivery(row) for row in rows]

    def is_owed(self, claimed: Delivery) -> bool:
        """Return whether a parcel is still to be sent, now that its turn has come."""
        with self._database.read() as db:
            return _is_owed(db, claimed)

    def let_go(self, claimed: Delivery, worker: str) -> None:
        """Give back one parcel that is owed no longer, and was not sent.

        Raises
        ------
        LeaseLost
            If the worker no longer holds it.
        """
        with self._database.write() as db:
            _record(db, claimed, worker, {})

    def renew(self, worker: str, lease_s: float, now: datetime) -> None:
        """Have the lease of what a worker holds run from `now`."""
        until = now + timedelta(seconds=lease_s)
        mine = delivery.c.claimed_by == worker
        with self._database.write() as db:
            db.execute(delivery.update().where(mine).values(lease_until=until))

    def give_back(self, worker: str) -> None:
        """Let go of what a worker holds and did not send; that is no attempt."""
        with self._database.write() as db:
            db.execute(delivery.update().where(delivery.c.claimed_by == worker).values(**FREE))

    def delivered(self, owed: Delivery, worker: str, status: int, now: datetime) -> bool:
        """Record that the peer took a parcel, with its status verbatim.

        The last parcel of a report makes its case DELIVERED. The result is whether the peer had
        not answered before (`not_reached`).

        Raises
        ------
        LeaseLost
            If the worker no longer holds the delivery: another will send the same parcel.
        """
        sent = {"status": DeliveryStatus.SENT, "last_message": None, "sent_at": now, "ask_at": None}
        with self._database.write() as db:
            hold(db, case.c.id == owed.case_id)
            again = _answered(db, owed, worker, status, now, sent)
            _note_who_has_it(db, owed, now)
            close_if_sent(db, owed.case_id, now)
        return again

    def stored(
        self,
        owed: Delivery,
        worker: str,
        status: int,
        send_again_at: datetime | None,
        now: datetime,
    ) -> bool:
        """Record that the peer stored a parcel, which counts once it has committed itself to it.

        It is asked to (`Confirmations`), and gets the parcel again if it has not until then. The
        result is whether the peer had not answered before (`not_reached`).

        Parameters
        ----------
        send_again_at
            None if it is not sent again: the delivery is DEAD unless the peer commits itself yet.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the delivery.
        """
        first = sa.func.coalesce(
            delivery.c.sent_at, sa.bindparam("first", now, delivery.c.sent_at.type)
        )
        changes: dict[str, Any] = {"last_message": AWAITED, "sent_at": first, "ask_at": now}
        with self._database.write() as db:
            again = _dead(db, owed) if send_again_at is None else {"due_at": send_again_at}
            return _answered(db, owed, worker, status, now, {**changes, **again})

    def failed(
        self,
        owed: Delivery,
        worker: str,
        status: int | None,
        message: str,
        retry_at: datetime | None,
        now: datetime,
    ) -> bool:
        """Record that a parcel did not arrive, and when to try again.

        The result is whether the peer had not answered before (`not_reached`).

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
        with self._database.write() as db:
            changes |= _dead(db, owed) if retry_at is None else {"due_at": retry_at}
            return _answered(db, owed, worker, status, now, changes)

    def not_reached(
        self,
        destination: str,
        worker: str,
        why: str,
        waits_s: tuple[float, float],
        now: datetime,
    ) -> Unreachable:
        """Record that there is no connection with a destination (`unreachable.not_reached`)."""
        with self._database.write() as db:
            return unreachable.not_reached(db, destination, worker, why, waits_s, now)

    def never_send(self, owed: Delivery, worker: str, reason: str, now: datetime) -> None:
        """Record that a parcel must not leave as it is: the delivery is DEAD.

        Raises
        ------
        LeaseLost
            If the worker no longer holds the delivery.
        """
        with self._database.write() as db:
            _record(db, owed, worker, {**_dead(db, owed), "last_message": reason})
            _note(db, "never sent", owed, now, reason=reason, delivery=DeliveryStatus.DEAD)

    def ran(self, name: str, error: str | None, now: datetime) -> None:
        """Record that a job of sending ran, as `node.worklist.Jobs.ran`."""
        with self._database.write() as db:
            jobs.ran(db, name, error, now)

    def identities(self, case_id: int) -> frozenset[Identity]:
        """Return whom the instances of a case's series name; one, unless a person mixed them.

        Where the study's identity was corrected, that is the patient whose it is now.
        """
        with self._database.read() as db:
            return corrections.identities(db, case_id)

    def corrections(self, case_id: int) -> list[Correction]:
        """Return how the identity of a case's study was corrected, oldest first."""
        of_case = sa.select(series.c.study_instance_uid).join(case).where(case.c.id == case_id)
        with self._database.read() as db:
            return corrections.of_study(db, db.execute(of_case).scalar_one())

    def under_other_identity(
        self, case_id: int, kind: str, corrected: Correction
    ) -> Predecessor | None:
        """Return the DICOM object of this kind that a peer may have of the case from before."""
        query = (
            delivery.select()
            .where(delivery.c.case_id == case_id, delivery.c.id <= corrected.last_delivery)
            .where(delivery.c.channel == "dicom", delivery.c.kind == kind, MAY_BE_THERE)
            .where(delivery.c.address["series_instance_uid"].as_string() != "")
            .order_by(delivery.c.id.desc())
        )
        with self._database.read() as db:
            row = db.execute(query.limit(1)).one_or_none()
        return None if row is None else Predecessor(**row.address, later_images=0)

    def escalate(self, steps: Sequence[EscalationStep], now: datetime) -> int:
        """Owe the due steps of suspected studies that nobody acknowledged; return how many.

        A step is owed once for a study, whoever asks and however often.
        """
        with self._database.read() as db:
            studies = unacknowledged(db, steps, now)
        owed = 0
        for study_uid in studies:
            with self._database.write() as db:
                owed += escalate(db, study_uid, steps, now)
        return owed

    def predecessor(self, case_id: int, kind: str) -> Predecessor | None:
        """Return the DICOM object of this kind that the case's own will supersede at a peer.

        It is that of the nearest superseded case whose object was delivered, or whose delivery may
        have arrived. The result is None where no peer can have one, or where its series is unknown.
        """
        superseded = sa.select(case.c.supersedes).where(case.c.id == case_id).cte(recursive=True)
        chain = superseded.union_all(
            sa.select(case.c.supersedes).where(case.c.id == superseded.c.supersedes)
        )
        later = sa.select(sa.func.count()).where(
            instance.c.series_instance_uid == case.c.series_instance_uid,
            instance.c.received_at > case.c.last_slice_at,
        )
        ordinal = sa.select(sa.func.count()).where(chain.c.supersedes <= case.c.id)
        counts = {"later_images": later, "ordinal": ordinal}
        said = [each.correlate(case).scalar_subquery().label(n) for n, each in counts.items()]
        query = (
            sa.select(delivery, WITHDRAWS.label("withdraws"), *said)
            .join_from(delivery, case)
            .where(case.c.id.in_(sa.select(chain.c.supersedes)), MAY_BE_THERE)
            .where(delivery.c.channel == "dicom", delivery.c.kind == kind)
            .where(delivery.c.address["series_instance_uid"].as_string() != "")
            .order_by(case.c.id.desc(), delivery.c.id.desc())
        )
        with self._database.read() as db:
            row = db.execute(query.limit(1)).one_or_none()
        if row is None:
            return None
        return Predecessor(
            **row.address,
            later_images=row.later_images,
            ordinal=row.ordinal,
            withdrawn=row.withdraws,
        )

    def withdrawn(self, case_id: int) -> WithdrawnObjects:
        """Return the DICOM objects of the results that a case withdraws."""
        with self._database.read() as db:
            return withdrawn_by(db, case_id)


def _overtakes(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that an earlier message about a delivery's study has not arrived yet."""
    mine, mine_of = case.alias("mine"), series.alias("mine_of")
    earlier, earlier_case, earlier_of = (
        table.alias(f"earlier_{table.name}") for table in (delivery, case, series)
    )
    under_way = sa.and_(earlier.c.claimed_by.is_not(None), earlier.c.lease_until > now)
    return sa.exists(
        sa.select(1)
        .select_from(mine)
        .join(mine_of, mine_of.c.series_instance_uid == mine.c.series_instance_uid)
        .join(earlier_of, earlier_of.c.study_instance_uid == mine_of.c.study_instance_uid)
        .join(earlier_case, earlier_case.c.series_instance_uid == earlier_of.c.series_instance_uid)
        .join(earlier, earlier.c.case_id == earlier_case.c.id)
        .where(
            mine.c.id == delivery.c.case_id,
            earlier.c.destination == delivery.c.destination,
            earlier.c.kind == KIND,
            earlier.c.id < delivery.c.id,
            sa.or_(earlier.c.status == DeliveryStatus.OWED, under_way),
        )
        .correlate(delivery)
    )


def _is_owed(db: sa.Connection, claimed: Delivery) -> bool:
    status = sa.select(delivery.c.status).where(delivery.c.id == claimed.id)
    return bool(db.scalar(status) == DeliveryStatus.OWED)


def _dead(db: sa.Connection, claimed: Delivery) -> dict[str, Any]:
    """Return the status of a parcel that is given up; one that was cancelled stays so."""
    return {"status": DeliveryStatus.DEAD} if _is_owed(db, claimed) else {}


def _answered(
    db: sa.Connection,
    owed: Delivery,
    worker: str,
    status: int | None,
    now: datetime,
    changes: Mapping[str, Any],
) -> bool:
    """Record how a transfer ended, with the peer's status verbatim.

    The result is whether the peer had not answered before.
    """
    again = unreachable.reached(db, owed.destination, now)
    tried = {"attempts": delivery.c.attempts + 1, "last_status": status, **changes}
    _record(db, owed, worker, tried)
    after = changes.get("status", DeliveryStatus.OWED)
    _note(db, "answered", owed, now, status=status, delivery=after)
    return again


def _note_who_has_it(db: sa.Connection, owed: Delivery, now: datetime) -> None:
    """Note in the audit trail that a destination got something of a case; once."""
    to = Actor(owed.destination, owed.parcel.channel)
    about = f"case {owed.case_id}"
    study_uid = _study_of(db, owed)
    known = sa.exists().where(
        audit.c.study_instance_uid == study_uid,
        audit.c.what == Deed.DELIVERED,
        audit.c.who == to.name,
        audit.c.about == about,
    )
    if not db.execute(sa.select(known)).scalar_one():
        recorded(db, to, Deed.DELIVERED, now, study_uid=study_uid, about=about)


def _study_of(db: sa.Connection, owed: Delivery) -> str:
    of_case = sa.select(series.c.study_instance_uid).join(case).where(case.c.id == owed.case_id)
    return str(db.execute(of_case).scalar_one())


def _record(db: sa.Connection, owed: Delivery, worker: str, changes: Mapping[str, Any]) -> None:
    held = db.execute(
        delivery.update()
        .where(delivery.c.id == owed.id, delivery.c.claimed_by == worker)
        .values({**changes, **FREE})
    )
    if held.rowcount != 1:
        raise LeaseLost(f"delivery {owed.id} to {owed.destination} is no longer {worker}'s")


def _note(db: sa.Connection, what: str, owed: Delivery, now: datetime, **detail: object) -> None:
    study_uid = _study_of(db, owed)
    parcel = owed.parcel
    sent = {"destination": owed.destination, "sop_instance_uid": parcel.dedup_key}
    note(db, what, study_uid, owed.case_id, now, **sent, **detail)


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        case_id=row.case_id,
        destination=row.destination,
        parcel=Parcel(row.channel, row.kind, row.payload_path, row.dedup_key, row.address),
        attempts=row.attempts + (row.claimed_by is not None),
        high_priority=row.high_priority,
    )
