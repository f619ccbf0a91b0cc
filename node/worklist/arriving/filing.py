"""Filing an object, within a transaction: where it goes.

The hot path is one query (`lookup.look_up`) and two changes for a slice of a known series.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from node.records import Header, StoredObject
from node.states import Reason, State
from node.worklist.arriving.lookup import OF_CUT_SHORT, Arrival, Known, NewestCase
from node.worklist.reading.parts import open_case
from node.worklist.running.leases import FREE
from node.worklist.schema.columns import Decision
from node.worklist.schema.database import insert
from node.worklist.schema.tables import case, instance, quarantine, series, study
from node.worklist.sending.owing import cancel_superseded
from node.worklist.trail.events import note

LOOK_AGAIN_S = 0.5
"""A new slice makes its case due this much later. It bounds how often a growing series is judged.
It costs no time, for the grace after the last slice is longer (`assemble.grace_s`)."""

BY_ITSELF = "ichnode"
"""Who decided, where the node did so without a person."""

_TOUCH = (
    series.update()
    .where(series.c.series_instance_uid == sa.bindparam("uid"))
    .values(last_received_at=sa.bindparam("now"), released_at=None)
)


def soon(now: datetime) -> datetime:
    """Return when a case is due of which a new slice came."""
    return now + timedelta(seconds=LOOK_AGAIN_S)


def keep(
    db: sa.Connection,
    known: Known,
    header: Header,
    stored: StoredObject,
    caller: str,
    now: datetime,
) -> None:
    """File an object, in the place of the one filed under its SOPInstanceUID if there is one."""
    _expect(db, known, header, now)
    values = {
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "path": stored.path,
        "sha256": stored.sha256,
        "size": stored.size,
        "caller": caller,
        "header": header.to_json(),
        "received_at": now,
        "catalogued": False,
        "purged_at": None,
    }
    if known.sha256 is None:
        db.execute(instance.insert(), values)
    else:
        this = instance.c.sop_instance_uid == header.sop_instance_uid
        db.execute(instance.update().where(this), values)


def take_back(db: sa.Connection, known: Known, header: Header, now: datetime) -> None:
    """Note that an object that was purged is here again, with the bytes that it had.

    It was read, so that its result stands. Where its series could not be read for want of such
    objects, it is a late slice of it.
    """
    uid = header.study_instance_uid
    same = instance.c.sop_instance_uid == header.sop_instance_uid
    db.execute(instance.update().where(same).values(purged_at=None, catalogued=False))
    mine = series.c.study_instance_uid == uid
    purged = sa.exists().where(
        instance.c.series_instance_uid == series.c.series_instance_uid,
        instance.c.purged_at.is_not(None),
        mine,
    )
    db.execute(
        study.update()
        .where(study.c.study_instance_uid == uid, ~purged)
        .values(pixels_purged_at=None, purged_until=None)
    )
    newest = known.case
    waits = newest and (newest.state is State.RECEIVING or newest.reason_code == Reason.PURGED)
    if newest and waits:
        _touch_series(db, newest, header, now)
    else:
        of_object = series.c.series_instance_uid == header.series_instance_uid
        db.execute(series.update().where(of_object).values(last_received_at=now))


def set_aside(
    db: sa.Connection,
    stored: StoredObject,
    code: str,
    reason: str,
    caller: str,
    now: datetime,
    header: Header | None = None,
) -> bool:
    """Record an object that is kept but not filed; return False if the same was before."""
    study_uid = header.study_instance_uid if header else None
    sop_uid = header.sop_instance_uid if header else None
    values = {
        "at": now,
        "path": stored.path,
        "sha256": stored.sha256,
        "size": stored.size,
        "code": str(code),
        "reason": reason,
        "caller": caller,
        "study_instance_uid": study_uid,
        "series_instance_uid": header.series_instance_uid if header else None,
        "sop_instance_uid": sop_uid,
    }
    new = insert(db, quarantine).values(values).on_conflict_do_nothing()
    if db.scalar(new.returning(quarantine.c.id)) is None:
        return False
    about = {"code": str(code), "sha256": stored.sha256, "sop_instance_uid": sop_uid}
    note(db, "quarantined", study_uid, None, now, **about)
    return True


def set_cut_short_aside(
    db: sa.Connection,
    known: Known,
    header: Header,
    stored: StoredObject,
    reason: str,
    caller: str,
    now: datetime,
) -> None:
    """Record an object whose pixels are cut short, and look at its series as if it were filed.

    Where a whole object of its SOPInstanceUID is filed, nothing is missing.
    """
    new = set_aside(db, stored, Arrival.CUT_SHORT, reason, caller, now, header)
    if known.sha256 is not None:
        replace_cut_short(db, header, now)
    elif new:
        _expect(db, known, header, now)


def make_room(db: sa.Connection, header: Header, code: str, reason: str, now: datetime) -> int:
    """Put the instance filed under the object's SOPInstanceUID into quarantine; return its number.

    The caller files another object in its place, and decides about the entry.
    """
    this = instance.c.sop_instance_uid == header.sop_instance_uid
    old = db.execute(instance.select().where(this)).one()
    values = {
        "at": now,
        "path": old.path,
        "sha256": old.sha256,
        "size": old.size,
        "code": code,
        "reason": reason,
        "caller": old.caller,
        "study_instance_uid": header.study_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "sop_instance_uid": header.sop_instance_uid,
    }
    done = db.execute(quarantine.insert().values(values).returning(quarantine.c.id))
    return int(done.scalar_one())


def replace_cut_short(db: sa.Connection, header: Header, now: datetime) -> None:
    """Decide about the cut short objects of a SOPInstanceUID of which a whole one is filed."""
    values = {
        "decision": Decision.REPLACED,
        "decided_at": now,
        "decided_by": BY_ITSELF,
        "why": "a whole object of the same SOPInstanceUID is filed",
    }
    decided = db.execute(
        quarantine.update()
        .where(OF_CUT_SHORT)
        .values(values)
        .returning(quarantine.c.id, quarantine.c.sha256),
        {"study": header.study_instance_uid, "sop": header.sop_instance_uid},
    ).all()
    for row in decided:
        about = {"number": row.id, "code": str(Arrival.CUT_SHORT), "by": BY_ITSELF}
        about |= {"why": values["why"], "sha256": row.sha256}
        about |= {"sop_instance_uid": header.sop_instance_uid}
        uid = header.study_instance_uid
        note(db, "quarantine: replaced", uid, None, now, **about)


def release(db: sa.Connection, series_uids: Sequence[str], now: datetime) -> None:
    """Mark the series released, and the undecided cases of their studies due: it is evidence.

    What a worker decides of one meanwhile, without it, is void. Cases are locked before series, as
    by a slice that is filed at the same time, so that the two do not wait for each other.
    """
    studies = sa.select(series.c.study_instance_uid).where(
        series.c.series_instance_uid.in_(series_uids)
    )
    siblings = sa.select(series.c.series_instance_uid).where(
        series.c.study_instance_uid.in_(studies)
    )
    db.execute(
        case.update()
        .where(case.c.series_instance_uid.in_(siblings))
        .where(case.c.state == State.RECEIVING)
        .where(sa.or_(case.c.claimed_by.is_not(None), case.c.due_at > now))
        .values(due_at=now, **FREE)
    )
    db.execute(
        series.update()
        .where(series.c.series_instance_uid.in_(series_uids))
        .values(released_at=now, associations=series.c.associations + 1)
    )


def _expect(db: sa.Connection, known: Known, header: Header, now: datetime) -> None:
    """Open the object's series, or make its newest case due: an image of it has come."""
    if known.case is None:
        _open_series(db, header, now, new_study=known.identity is None)
    else:
        _touch_series(db, known.case, header, now)


def _open_series(db: sa.Connection, header: Header, now: datetime, *, new_study: bool) -> None:
    if new_study:
        names = (
            "study_instance_uid",
            "patient_id",
            "patient_birth_date",
            "accession_number",
            "study_description",
        )
        values = {name: getattr(header, name) for name in names}
        db.execute(study.insert(), {**values, "first_received_at": now})
    row = {
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "first_received_at": now,
        "last_received_at": now,
    }
    db.execute(series.insert(), row)
    open_case(db, header.series_instance_uid, soon(now))


def _touch_series(db: sa.Connection, newest: NewestCase, header: Header, now: datetime) -> None:
    db.execute(_TOUCH, {"uid": header.series_instance_uid, "now": now})
    due_at = soon(now)
    if newest.state is not State.RECEIVING:
        open_case(db, header.series_instance_uid, due_at, supersedes=newest.id)
        cancel_superseded(db, newest.id)
        note(db, "reopened by a late slice", header.study_instance_uid, newest.id, now)
    elif newest.claimed_by is not None or newest.due_at > due_at:
        db.execute(case.update().where(case.c.id == newest.id).values(due_at=due_at, **FREE))
