"""Whose a study is where a message of the patient index says so, and its images say otherwise.

The images stay as they were received. What they say is looked up here, so that a corrected identity
is a row with the message that gave it, and no guess.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.identity import Identity, PatientIdentity
from node.records import Header
from node.worklist.schema.tables import case, correction, instance


@dataclass(frozen=True, slots=True)
class Correction:
    """That a study was one patient's, and is another's."""

    was: PatientIdentity
    now: PatientIdentity
    path: str
    """Where the message lies, relative to the data folder."""
    sha256: str
    last_delivery: int
    """The number of the newest row of the outbox then: what was owed before names the old one."""
    at: datetime


def of_study(db: sa.Connection, study_uid: str) -> list[Correction]:
    """Return the corrections of a study, oldest first."""
    query = correction.select().where(correction.c.study_instance_uid == study_uid)
    return [_correction(row) for row in db.execute(query.order_by(correction.c.id))]


def identities(db: sa.Connection, case_id: int) -> frozenset[Identity]:
    """Return whom the instances of a case's series name; one, unless a person mixed them.

    Where the study's identity was corrected, that is the patient whose it is now.
    """
    said = [
        instance.c.header[name].as_string()
        for name in ("study_instance_uid", "patient_id", "patient_birth_date")
    ]
    of_case = sa.select(*said).join(
        case, case.c.series_instance_uid == instance.c.series_instance_uid
    )
    rows = db.execute(of_case.where(case.c.id == case_id).distinct()).all()
    corrected = {uid: of_study(db, uid) for uid, *_ in rows}
    return frozenset(
        Identity(uid, resolve(PatientIdentity(*who), corrected[uid])) for uid, *who in rows
    )


def resolve(said: PatientIdentity, corrections: list[Correction]) -> PatientIdentity:
    """Return whose an object is that says so, by the corrections of its study."""
    for each in corrections:
        if said == each.was:
            said = each.now
    return said


def resolved(header: Header, corrections: list[Correction]) -> Header:
    """Return the header of an object with the patient that the corrections of its study give."""
    patient = resolve(PatientIdentity.of(header), corrections)
    return replace(header, patient_id=patient.patient_id, patient_birth_date=patient.birth_date)


def _correction(row: sa.Row[Any]) -> Correction:
    was = PatientIdentity(row.was_patient_id, row.was_birth_date)
    now = PatientIdentity(row.patient_id, row.birth_date)
    return Correction(was, now, row.path, row.sha256, row.last_delivery, row.at)
