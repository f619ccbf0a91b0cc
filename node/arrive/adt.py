"""What the hospital's patient index says: ADT^A08 (a patient has other data), A40 (two are one).

The message is kept as it came, and the images are never changed. The studies follow that came under
the old identity within `receive.adt.max_age_days`: such as "unknown, trauma 7" are used again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from node.depot import Depot, depot_of
from node.dicom.read.identity import read_person_name
from node.disk import sync_file, sync_folder
from node.errors import BadObject
from node.hl7 import Malformed, Received
from node.identity import PatientIdentity, same_name
from node.log import event
from node.records import StoredObject
from node.settings import Settings
from node.worklist import Patients, PatientStudy

logger = logging.getLogger(__name__)

FOLDER = "adt"
"""Where messages lie that changed something, in the data folder."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a message says of a patient."""

    trigger: str
    """Its event: "A08" or "A40"."""
    was_patient_id: str
    patient_id: str
    birth_date: str
    """YYYYMMDD, or "" if the message does not say it."""
    name: str
    sex: str

    @classmethod
    def of(cls, message: Received, assigner: str) -> "Change | None":
        """Return what a message says, None if it is of another kind.

        Raises
        ------
        Malformed
            If it lacks the patient, or the patient that it merges.
        """
        kind, trigger = message.value("MSH", 9), message.value("MSH", 9, 2)
        if kind != "ADT" or trigger not in ("A08", "A40"):
            return None
        now = message.identifier("PID", 3, assigner)
        was = now if trigger == "A08" else message.identifier("MRG", 1, assigner)
        if not now or not was:
            raise Malformed(f"{trigger} without an identifier in {'PID-3' if not now else 'MRG-1'}")
        return cls(trigger, was, now, message.date("PID", 7), *_person(message))


def _person(message: Received) -> tuple[str, str]:
    """Return PatientName (PS3.5 6.2.1) and PatientSex; "" where the message does not say."""
    parts = [*message.field("PID", 5)[0], *[""] * 5]
    family, given, middle, suffix, prefix = (part.replace("=", " ") for part in parts[:5])
    sex = message.value("PID", 8)
    name = "^".join((family, given, middle, prefix, suffix)).rstrip("^")
    return name, sex if sex in ("M", "F", "O") else ""


def read_person(path: Path, digest: str) -> tuple[str, str]:
    """Return PatientName and PatientSex by a message that was kept.

    Raises
    ------
    OSError, Malformed
        If it is gone, or not what was kept.
    """
    data = path.read_bytes()
    if sha256(data).hexdigest() != digest:
        raise Malformed(f"{path.name}: changed on disk since it was received")
    return _person(Received.of(data))


class PatientIndex:
    """Takes the messages of the patient index."""

    def __init__(
        self, settings: Settings, patients: Patients, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._patients = patients
        self._clock = clock

    def take(self, message: Received, data: bytes) -> None:
        """Do what a message says, which came as these bytes, if it concerns a study here.

        Raises
        ------
        Malformed
            If it lacks what its kind needs.
        IchnodeError, OSError
            If it cannot be done now.
        """
        change = Change.of(message, self._settings.receive.adt.assigner)
        if change is None:
            return
        now = self._clock()
        since = now - timedelta(days=self._settings.receive.adt.max_age_days)
        found = self._patients.studies(change.was_patient_id, since)
        changed = [each for each in found if self._differs(each, change)]
        said = event("adt", trigger=change.trigger, known=len(found), changed=len(changed))
        if not changed:
            logger.info("ADT: nothing here changes", extra=said)
            return
        kept = _keep(depot_of(self._settings), data)
        patients = [
            PatientIdentity(change.patient_id, change.birth_date or each.patient.birth_date)
            for each in changed
        ]
        self._patients.correct(changed, patients, kept, change.trigger, now)
        logger.info("ADT: studies follow another identity", extra=said)

    def _differs(self, each: PatientStudy, change: Change) -> bool:
        """Return whether the message says other than the study's last message, or its images."""
        birth_date = change.birth_date or each.patient.birth_date
        if each.patient != PatientIdentity(change.patient_id, birth_date):
            return True
        depot = depot_of(self._settings)
        if each.message is not None:
            name = _person(Received.of(depot.bring(each.message).read_bytes()))[0]
        else:
            try:
                name = read_person_name(depot.bring(each.image))
            except BadObject:
                return False
        return bool(change.name) and not same_name(name, change.name)


def _keep(depot: Depot, data: bytes) -> StoredObject:
    """Store a message for good, under its digest."""
    digest = sha256(data).hexdigest()
    folder = depot.root / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{digest}.hl7"
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    sync_file(partial)
    partial.rename(path)
    sync_folder(folder)
    sync_folder(depot.root)
    place = path.relative_to(depot.root).as_posix()
    depot.keep(place)
    return StoredObject(place, digest, len(data))
