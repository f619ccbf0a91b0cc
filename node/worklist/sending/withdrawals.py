"""What a withdrawal takes back at DICOM peers, and that nothing passes it on its way there."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node.news import KIND
from node.records import Parcel, ReportObject
from node.states import State
from node.worklist.schema.columns import DeliveryStatus
from node.worklist.schema.people_tables import withdrawal
from node.worklist.schema.tables import case, delivery, series
from node.worklist.sending.owing import MAY_BE_THERE


@dataclass(frozen=True, slots=True)
class WithdrawnObjects:
    """The DICOM objects of withdrawn results.

    Attributes
    ----------
    cases
        The cases that made them, the newest first.
    told
        The destinations that got one of them, or were owed one.
    there
        Those that a destination may have, the newest first.
    """

    cases: tuple[int, ...]
    told: frozenset[str]
    there: tuple[ReportObject, ...]


def withdrawn_by(db: sa.Connection, case_id: int) -> WithdrawnObjects:
    """Return the objects of the cases that a case supersedes, down to an earlier withdrawal."""
    cases = _cases(db, case_id)
    of_them = sa.select(delivery, MAY_BE_THERE.label("may_be_there")).where(
        delivery.c.case_id.in_(cases), delivery.c.channel == "dicom"
    )
    rows = db.execute(of_them.order_by(delivery.c.case_id.desc(), delivery.c.id)).all()
    objects = [
        Parcel(row.channel, row.kind, row.payload_path, row.dedup_key, row.address).object
        for row in rows
        if row.may_be_there and row.address.get("series_instance_uid")
    ]
    there = {one.sop_instance_uid: one for one in objects}
    told = frozenset(row.destination for row in rows)
    return WithdrawnObjects(tuple(cases), told, tuple(there.values()))


def _cases(db: sa.Connection, case_id: int) -> list[int]:
    found: list[int] = []
    older = _superseded(db, case_id)
    while older is not None and not _withdraws(db, older):
        found.append(older)
        older = _superseded(db, older)
    return found


def _superseded(db: sa.Connection, case_id: int) -> int | None:
    return db.scalar(sa.select(case.c.supersedes).where(case.c.id == case_id))


def _withdraws(db: sa.Connection, case_id: int) -> bool:
    of_case = sa.select(withdrawal.c.case_id).where(withdrawal.c.case_id == case_id)
    return db.scalar(of_case) is not None


_w, _w_of = case.alias("withdrawing"), series.alias("withdrawing_of")
_pending = case.alias("pending")
_ON_ITS_WAY = (
    sa.select(withdrawal.c.case_id)
    .join(_pending, _pending.c.id == withdrawal.c.case_id)
    .where(_pending.c.state.in_((State.NOT_ANALYSED, State.REPORTED)))
)
"""The withdrawals that have not reached everyone."""
_c, _c_of = case.alias("concerned"), series.alias("concerned_of")
_CONCERNED = (
    sa.select(_c.c.id)
    .join(_c_of, _c_of.c.series_instance_uid == _c.c.series_instance_uid)
    .join(_w_of, _w_of.c.study_instance_uid == _c_of.c.study_instance_uid)
    .join(_w, _w.c.series_instance_uid == _w_of.c.series_instance_uid)
    .where(_w.c.id.in_(_ON_ITS_WAY))
)
"""The cases of their studies: few, so that all other deliveries are done with in a moment."""


def passes_a_withdrawal(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that an object would arrive before a withdrawal that is older than it.

    That is so where an earlier object of its study is owed to the same destination, or on its way
    there, and one of the two is of a withdrawal; and where a withdrawal is not reported yet. What a
    peer stored and has not committed itself to has arrived.
    """
    mine, mine_of = case.alias("object"), series.alias("object_of")
    earlier, earlier_case, earlier_of = (
        table.alias(f"before_{table.name}") for table in (delivery, case, series)
    )
    waits = sa.and_(earlier.c.status == DeliveryStatus.OWED, earlier.c.sent_at.is_(None))
    under_way = sa.and_(earlier.c.claimed_by.is_not(None), earlier.c.lease_until > now)
    object_before = sa.exists(
        sa.select(1)
        .select_from(mine)
        .join(mine_of, mine_of.c.series_instance_uid == mine.c.series_instance_uid)
        .join(earlier_of, earlier_of.c.study_instance_uid == mine_of.c.study_instance_uid)
        .join(earlier_case, earlier_case.c.series_instance_uid == earlier_of.c.series_instance_uid)
        .join(earlier, earlier.c.case_id == earlier_case.c.id)
        .where(
            mine.c.id == delivery.c.case_id,
            earlier.c.destination == delivery.c.destination,
            earlier.c.kind != KIND,
            earlier.c.case_id != mine.c.id,
            earlier.c.id < delivery.c.id,
            sa.or_(earlier.c.case_id.in_(_ON_ITS_WAY), mine.c.id.in_(_ON_ITS_WAY)),
            sa.or_(waits, under_way),
        )
        .correlate(delivery)
    )
    unreported = sa.exists(
        sa.select(1)
        .select_from(mine)
        .join(mine_of, mine_of.c.series_instance_uid == mine.c.series_instance_uid)
        .join(_w_of, _w_of.c.study_instance_uid == mine_of.c.study_instance_uid)
        .join(_w, _w.c.series_instance_uid == _w_of.c.series_instance_uid)
        .where(
            mine.c.id == delivery.c.case_id,
            _w.c.id.in_(sa.select(withdrawal.c.case_id)),
            _w.c.state == State.NOT_ANALYSED,
            _w.c.id < mine.c.id,
        )
        .correlate(delivery)
    )
    concerned = delivery.c.case_id.in_(_CONCERNED)
    return sa.and_(concerned, sa.or_(object_before, unreported))
