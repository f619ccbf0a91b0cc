"""What is known of an object that comes: one query, for a slice of a known series as for others."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from node.identity import Identity, PatientIdentity
from node.records import Header
from node.states import Reason, State
from node.worklist.schema.tables import case, instance, quarantine, series, study
from node.worklist.studies import corrections


class Arrival(StrEnum):
    """What a received object was found to be."""

    NEW = "NEW"
    DUPLICATE = "DUPLICATE"
    """The same SOPInstanceUID with the same bytes: nothing changed."""
    CHANGED = "CHANGED"
    """The same SOPInstanceUID with other bytes: quarantined, the first one stays."""
    CUT_SHORT = "CUT_SHORT"
    """Its pixels end early: quarantined until a whole object of its SOPInstanceUID comes."""
    CONFLICT = "CONFLICT"
    """Its study or series belongs to somebody else: quarantined, never merged."""


@dataclass(frozen=True, slots=True)
class NewestCase:
    """The newest case of a series, as far as a further image concerns it."""

    id: int
    state: State
    reason_code: str | None
    claimed_by: str | None
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """What the worklist holds of an object's study, series and SOPInstanceUID.

    Attributes
    ----------
    case
        The newest case of its series; None where the series is new.
    identity
        Of the study that its series is filed under, else of the study that the object names; None
        where there is neither. The patient is the object's own where a correction of the study says
        that both are one.
    sha256, filed_under
        Digest and SeriesInstanceUID of the instance filed under its SOPInstanceUID; None where
        there is none.
    has_pixel_data
        Of that instance; None where there is none.
    cut_short
        Whether an object of its SOPInstanceUID waits in quarantine for a whole one.
    purged
        Whether the bytes of that instance were purged.
    """

    case: NewestCase | None
    identity: Identity | None
    sha256: str | None
    filed_under: str | None
    has_pixel_data: bool | None
    cut_short: bool
    purged: bool


OF_CUT_SHORT = sa.and_(
    quarantine.c.study_instance_uid == sa.bindparam("study"),
    quarantine.c.sop_instance_uid == sa.bindparam("sop"),
    quarantine.c.code == Arrival.CUT_SHORT,
    quarantine.c.decision.is_(None),
)
"""The objects of a SOPInstanceUID that wait in quarantine for a whole one."""
_HAS_PIXEL_DATA = instance.c.header["has_pixel_data"].as_boolean().label("has_pixel_data")
_CUT_SHORT = sa.exists().where(OF_CUT_SHORT).label("cut_short")
_OF_OBJECT: tuple[sa.ColumnElement[Any], ...] = (
    *(study.c.study_instance_uid, study.c.patient_id, study.c.patient_birth_date),
    *(instance.c.sha256, instance.c.series_instance_uid, instance.c.purged_at),
    *(_HAS_PIXEL_DATA, _CUT_SHORT),
)
"""Whose the study is, and what is filed under the object's SOPInstanceUID."""

_SERIES_KNOWN: sa.Select[Any] = (
    sa.select(
        case.c.id,
        case.c.state,
        case.c.reason_code,
        case.c.claimed_by,
        case.c.due_at,
        *_OF_OBJECT,
    )
    .join_from(case, series)
    .join(study)
    .outerjoin(instance, instance.c.sop_instance_uid == sa.bindparam("sop"))
    .where(case.c.series_instance_uid == sa.bindparam("series"), case.c.part == 0)
    .order_by(case.c.id.desc())
    .limit(1)
    .with_for_update(of=case)
)
"""The newest case of the series' first part, locked (PostgreSQL): whoever assembles it waits for
the new slice. Cases of further parts follow when that one is decided (`reading.parts`)."""

_STUDY_KNOWN: sa.Select[Any] = (
    sa.select(
        *_OF_OBJECT,
    )
    .select_from(sa.select(sa.literal(1)).subquery())
    .outerjoin(study, study.c.study_instance_uid == sa.bindparam("study"))
    .outerjoin(instance, instance.c.sop_instance_uid == sa.bindparam("sop"))
)


def look_up(db: sa.Connection, header: Header) -> Known:
    """Return what is known of the object's study, series and SOPInstanceUID."""
    keys = {
        "study": header.study_instance_uid,
        "series": header.series_instance_uid,
        "sop": header.sop_instance_uid,
    }
    newest = None
    row = db.execute(_SERIES_KNOWN, keys).one_or_none()
    if row:
        newest = NewestCase(row.id, row.state, row.reason_code, row.claimed_by, row.due_at)
    else:
        row = db.execute(_STUDY_KNOWN, keys).one()
    patient = PatientIdentity(row.patient_id, row.patient_birth_date)
    said = PatientIdentity.of(header)
    if row.study_instance_uid and said != patient:
        corrected = corrections.of_study(db, row.study_instance_uid)
        patient = said if corrections.resolve(said, corrected) == patient else patient
    identity = row.study_instance_uid and Identity(row.study_instance_uid, patient)
    filed = row.sha256, row.series_instance_uid, row.has_pixel_data
    return Known(newest, identity, *filed, bool(row.cut_short), row.purged_at is not None)


def differences(known: Known, header: Header) -> Mapping[str, tuple[str, str]]:
    """Return the study's value and the object's, by each attribute in which they differ."""
    return {} if known.identity is None else known.identity.differences(Identity.of(header))


def objection(known: Known, header: Header) -> tuple[Reason | Arrival, str] | None:
    """Return why an object that is not filed yet is set aside: a code and a sentence."""
    other = differences(known, header)
    if "StudyInstanceUID" in other:
        return Reason.MIXED_IDENTITY, "its SeriesInstanceUID belongs to another study"
    if other:
        return Reason.MIXED_IDENTITY, f"not the study's {' and '.join(other)}"
    if known.sha256 is None:
        return None
    return (
        Arrival.CHANGED,
        f"other bytes under a known SOPInstanceUID, first seen with sha256 {known.sha256}",
    )
