"""What comes in: filing a received object, or setting it aside.

The hot path: one query and two changes for a slice of a known series.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from node.identity import Identity, PatientIdentity
from node.records import Header, StoredObject
from node.states import Priority, Reason, State
from node.worklist.database import insert
from node.worklist.events import note
from node.worklist.leases import FREE
from node.worklist.outbox import cancel
from node.worklist.tables import case, instance, quarantine, series, study

LOOK_AGAIN_S = 0.5
"""Chosen: a new slice makes its case due this much later. It bounds how often a growing series is
judged, and costs nothing: the grace after the last slice is longer."""


class Arrival(StrEnum):
    """What a received object was found to be."""

    NEW = "NEW"
    DUPLICATE = "DUPLICATE"
    """The same SOPInstanceUID with the same bytes: nothing changed."""
    CHANGED = "CHANGED"
    """The same SOPInstanceUID with other bytes: quarantined, the first one stays."""
    CONFLICT = "CONFLICT"
    """Its study or series belongs to somebody else: quarantined, never merged."""


_SERIES_KNOWN: sa.Select[Any] = (
    sa.select(
        case.c.id.label("case_id"),
        case.c.state,
        case.c.claimed_by,
        case.c.due_at,
        study.c.study_instance_uid,
        study.c.patient_id,
        study.c.patient_birth_date,
        instance.c.sha256,
        instance.c.series_instance_uid.label("filed_under"),
    )
    .join_from(case, series)
    .join(study)
    .outerjoin(instance, instance.c.sop_instance_uid == sa.bindparam("sop"))
    .where(case.c.series_instance_uid == sa.bindparam("series"))
    .order_by(case.c.id.desc())
    .limit(1)
    .with_for_update(of=case)
)
"""The series' newest case, locked (PostgreSQL): whoever assembles it waits for the new slice."""

_STUDY_KNOWN: sa.Select[Any] = (
    sa.select(
        sa.null().label("case_id"),
        study.c.study_instance_uid,
        study.c.patient_id,
        study.c.patient_birth_date,
        instance.c.sha256,
        instance.c.series_instance_uid.label("filed_under"),
    )
    .select_from(sa.select(sa.literal(1)).subquery())
    .outerjoin(study, study.c.study_instance_uid == sa.bindparam("study"))
    .outerjoin(instance, instance.c.sop_instance_uid == sa.bindparam("sop"))
)

_TOUCH = (
    series.update()
    .where(series.c.series_instance_uid == sa.bindparam("uid"))
    .values(last_received_at=sa.bindparam("now"), released_at=None)
)


def file(
    db: sa.Connection, header: Header, stored: StoredObject, caller: str, now: datetime
) -> Arrival:
    """File an object under its study and series, or set it aside."""
    known = look_up(db, header)
    if known.sha256 == stored.sha256:
        return Arrival.DUPLICATE
    if against := objection(known, header):
        code, reason = against
        set_aside(db, stored, code, reason, caller, now, header)
        return Arrival.CHANGED if code is Arrival.CHANGED else Arrival.CONFLICT
    keep(db, known, header, stored, caller, now)
    return Arrival.NEW


def look_up(db: sa.Connection, header: Header) -> sa.Row[Any]:
    """Return what is known of the object's study, series and SOPInstanceUID: one row.

    `case_id` is the series' newest case; `sha256` and `filed_under` (a SeriesInstanceUID) are of
    the instance filed under its SOPInstanceUID.
    """
    keys = {
        "study": header.study_instance_uid,
        "series": header.series_instance_uid,
        "sop": header.sop_instance_uid,
    }
    return db.execute(_SERIES_KNOWN, keys).one_or_none() or db.execute(_STUDY_KNOWN, keys).one()


def objection(known: sa.Row[Any], header: Header) -> tuple[Reason | Arrival, str] | None:
    """Return why an object that is not here yet is set aside: a code and a sentence."""
    if stranger := _contradiction(known, header):
        return Reason.MIXED_IDENTITY, stranger
    if known.sha256 is None:
        return None
    return (
        Arrival.CHANGED,
        f"other bytes under a known SOPInstanceUID, first seen with sha256 {known.sha256}",
    )


def keep(
    db: sa.Connection,
    known: sa.Row[Any],
    header: Header,
    stored: StoredObject,
    caller: str,
    now: datetime,
) -> None:
    """File an object, in the place of the one filed under its SOPInstanceUID if there is one."""
    if known.case_id is None:
        _open_series(db, header, now, new_study=known.study_instance_uid is None)
    else:
        _touch_series(db, known, header, now)
    values = {
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "path": stored.path,
        "sha256": stored.sha256,
        "size": stored.size,
        "caller": caller,
        "header": header.to_json(),
        "received_at": now,
    }
    if known.sha256 is None:
        db.execute(instance.insert(), values)
    else:
        this = instance.c.sop_instance_uid == header.sop_instance_uid
        db.execute(instance.update().where(this), values)


def set_aside(
    db: sa.Connection,
    stored: StoredObject,
    code: str,
    reason: str,
    caller: str,
    now: datetime,
    header: Header | None = None,
) -> None:
    """Record an object that is kept but not filed; once, however often it is sent."""
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
        "sop_instance_uid": sop_uid,
    }
    new = insert(db, quarantine).values(values).on_conflict_do_nothing()
    if db.execute(new).rowcount == 0:
        return
    note(
        db,
        "quarantined",
        study_uid,
        None,
        now,
        code=str(code),
        sha256=stored.sha256,
        sop_instance_uid=sop_uid,
    )


def release(db: sa.Connection, series_uids: list[str], now: datetime) -> None:
    """Mark the series released, and the undecided cases of their studies due: it is evidence."""
    studies = sa.select(series.c.study_instance_uid).where(
        series.c.series_instance_uid.in_(series_uids)
    )
    siblings = sa.select(series.c.series_instance_uid).where(
        series.c.study_instance_uid.in_(studies)
    )
    db.execute(
        series.update().where(series.c.series_instance_uid.in_(series_uids)).values(released_at=now)
    )
    db.execute(
        case.update()
        .where(case.c.series_instance_uid.in_(siblings))
        .where(case.c.state == State.RECEIVING, case.c.due_at > now)
        .values(due_at=now)
    )


def differences(known: sa.Row[Any], header: Header) -> dict[str, tuple[str, str]]:
    """Return where an object contradicts the study known: attribute -> the study's, the object's.

    An absent value is another value.
    """
    if known.study_instance_uid is None:
        return {}
    patient = PatientIdentity(known.patient_id, known.patient_birth_date)
    return Identity(known.study_instance_uid, patient).differences(Identity.of(header))


def _contradiction(known: sa.Row[Any], header: Header) -> str | None:
    """Return why the object is not of the study it names."""
    other = differences(known, header)
    if "StudyInstanceUID" in other:
        return "its SeriesInstanceUID belongs to another study"
    return f"not the study's {' and '.join(other)}" if other else None


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
    _open_case(db, header, now, supersedes=None)


def _open_case(db: sa.Connection, header: Header, now: datetime, *, supersedes: int | None) -> None:
    row = {
        "series_instance_uid": header.series_instance_uid,
        "supersedes": supersedes,
        "state": State.RECEIVING,
        "priority": Priority.PENDING,
        "due_at": now + timedelta(seconds=LOOK_AGAIN_S),
    }
    db.execute(case.insert(), row)


def _touch_series(db: sa.Connection, known: sa.Row[Any], header: Header, now: datetime) -> None:
    db.execute(_TOUCH, {"uid": header.series_instance_uid, "now": now})
    soon = now + timedelta(seconds=LOOK_AGAIN_S)
    if known.state is not State.RECEIVING:
        _open_case(db, header, now, supersedes=known.case_id)
        cancel(db, known.case_id, unless=Priority.SUSPECTED)
        note(db, "reopened by a late slice", header.study_instance_uid, known.case_id, now)
    elif known.claimed_by is not None or known.due_at > soon:
        db.execute(case.update().where(case.c.id == known.case_id).values(due_at=soon, **FREE))
