"""The worklist as the patient index sees it: a patient's studies, and whose they are now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.identity import PatientIdentity
from node.records import StoredObject
from node.worklist.reading.cases import report_again
from node.worklist.schema.database import Database
from node.worklist.schema.tables import correction, delivery, instance, series, study
from node.worklist.studies import corrections
from node.worklist.trail.events import note


@dataclass(frozen=True, slots=True)
class PatientStudy:
    """A study of a patient."""

    study_instance_uid: str
    patient: PatientIdentity
    image: str
    """Where one of its images lies, relative to the data folder."""
    message: str | None
    """Where the message lies that corrected it last; None if none did."""


class Patients:
    """Finds the studies of a patient, and gives them another identity by a message's word."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, patient_id: str, since: datetime) -> list[PatientStudy]:
        """Return the studies under a PatientID whose first object came since then."""
        wanted = sa.and_(study.c.patient_id == patient_id, study.c.first_received_at >= since)
        query = (
            sa.select(study, sa.func.min(instance.c.path).label("image"))
            .join_from(study, series)
            .join(instance)
            .where(wanted)
            .group_by(study.c.study_instance_uid)
            .order_by(study.c.study_instance_uid)
        )
        with self._database.read() as db:
            return [_study(db, row) for row in db.execute(query).all()]

    def correct(
        self,
        studies: Sequence[PatientStudy],
        patients: Sequence[PatientIdentity],
        message: StoredObject,
        trigger: str,
        now: datetime,
    ) -> int:
        """Give studies other patients; return how many were still as they were found.

        Their reports are due again, and those that were sent are superseded.

        Parameters
        ----------
        patients
            Whose each study is from now on.
        message
            The message that says so, on disk for good.
        trigger
            Its event, such as "A40".
        """
        done = 0
        with self._database.write() as db:
            for each, patient in zip(studies, patients, strict=True):
                done += _correct(db, each, patient, message, trigger, now)
        return done


def _study(db: sa.Connection, row: sa.Row[Any]) -> PatientStudy:
    corrected = corrections.of_study(db, row.study_instance_uid)
    patient = PatientIdentity(row.patient_id, row.patient_birth_date)
    message = corrected[-1].path if corrected else None
    return PatientStudy(row.study_instance_uid, patient, row.image, message)


def _correct(
    db: sa.Connection,
    each: PatientStudy,
    patient: PatientIdentity,
    message: StoredObject,
    trigger: str,
    now: datetime,
) -> bool:
    uid = each.study_instance_uid
    changed = db.execute(
        study.update()
        .where(
            study.c.study_instance_uid == uid,
            study.c.patient_id == each.patient.patient_id,
            study.c.patient_birth_date == each.patient.birth_date,
        )
        .values(patient_id=patient.patient_id, patient_birth_date=patient.birth_date)
    )
    if changed.rowcount != 1:
        return False
    newest = db.execute(sa.select(sa.func.coalesce(sa.func.max(delivery.c.id), 0))).scalar_one()
    values = {
        "study_instance_uid": uid,
        "was_patient_id": each.patient.patient_id,
        "was_birth_date": each.patient.birth_date,
        "patient_id": patient.patient_id,
        "birth_date": patient.birth_date,
        "trigger": trigger,
        "path": message.path,
        "sha256": message.sha256,
        "last_delivery": newest,
        "at": now,
    }
    db.execute(correction.insert(), values)
    note(db, "identity corrected", uid, None, now, by=trigger, sha256=message.sha256)
    report_again(db, uid, now)
    return True
