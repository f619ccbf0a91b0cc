"""What becomes of an object that was set aside: a person releases or discards it.

`arriving.filing.set_aside` opens an entry. A decision closes it, and stays with who took it
in its row and in the event table; the same bytes sent again open another entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.identity import PatientIdentity
from node.records import Header, StoredObject
from node.states import Reason
from node.worklist.arriving import filing, lookup
from node.worklist.arriving.lookup import Arrival, Known
from node.worklist.schema.columns import Decision, Deed
from node.worklist.schema.database import Database
from node.worklist.schema.tables import instance, quarantine, series, study
from node.worklist.studies import corrections
from node.worklist.studies.chains import IllegalMove, NotFound
from node.worklist.trail.audit import Actor, recorded
from node.worklist.trail.events import note

VOUCHED_FOR = frozenset({Reason.MIXED_IDENTITY.value, Arrival.CHANGED.value})
"""Set aside for what they are, so their release is a person's word for them. All other objects
could not be filed, and are tried again."""

SETTLED = frozenset({Decision.RELEASED, Decision.DELETED})
"""Decisions that cannot be taken back."""

_ENTRIES = sa.select(quarantine, study.c.patient_id, study.c.accession_number).outerjoin_from(
    quarantine, study, quarantine.c.study_instance_uid == study.c.study_instance_uid
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A received object that was set aside, why, and what was decided about it."""

    number: int
    at: datetime
    stored: StoredObject
    code: str
    """`Reason.MIXED_IDENTITY`, `Arrival.CHANGED`, or the name of the status its sender got."""
    reason: str
    caller: str
    study_instance_uid: str | None
    """None where the object could not be read."""
    sop_instance_uid: str | None
    decision: Decision | None
    """None while it is open."""
    decided_at: datetime | None
    decided_by: str | None
    why: str | None
    patient_id: str = ""
    accession_number: str = ""
    """Those of the study that its object names; "" where no such study is filed."""

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode quarantine list --json`; a stable interface."""
        return {
            "number": self.number,
            "at": self.at.isoformat(),
            "code": self.code,
            "reason": self.reason,
            "caller": self.caller,
            "study_instance_uid": self.study_instance_uid,
            "patient_id": self.patient_id,
            "accession_number": self.accession_number,
            "sop_instance_uid": self.sop_instance_uid,
            "path": self.stored.path,
            "sha256": self.stored.sha256,
            "size": self.stored.size,
            "decision": self.decision and self.decision.value,
            "decided_at": self.decided_at and self.decided_at.isoformat(),
            "decided_by": self.decided_by,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Signature:
    """Who decides, when, and why."""

    who: str
    at: datetime
    why: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the worklist has where an object says that it belongs.

    Attributes
    ----------
    study_instance_uid
        The study that its series, or else its own study, is filed under; None if there is none.
    differs
        By attribute: the study's value and the object's.
    sha256
        Of the instance filed under its SOPInstanceUID; None if there is none.
    """

    study_instance_uid: str | None
    differs: Mapping[str, tuple[str, str]]
    sha256: str | None


class Quarantine:
    """The worklist as an administrator sees it who decides about what was set aside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self, study_uid: str | None = None, *, decided: bool = False) -> list[Quarantined]:
        """Return the open entries, oldest first.

        Parameters
        ----------
        study_uid
            Only those whose objects name this study.
        decided
            Those decided about too.
        """
        query = _ENTRIES.order_by(quarantine.c.id)
        if study_uid is not None:
            query = query.where(quarantine.c.study_instance_uid == study_uid)
        if not decided:
            query = query.where(quarantine.c.decision.is_(None))
        with self._database.read() as db:
            return [_entry(row) for row in db.execute(query)]

    def get(self, number: int) -> Quarantined:
        """Return an entry, whatever was decided about it.

        Raises
        ------
        NotFound
            If there is none.
        """
        with self._database.read() as db:
            return _one(db, number)

    def standing(self, header: Header) -> Standing:
        """Return what the worklist has where an object says that it belongs."""
        with self._database.read() as db:
            known = lookup.look_up(db, header)
        differs = lookup.differences(known, header)
        study_uid = known.identity.study_instance_uid if known.identity else None
        return Standing(study_uid, differs, known.sha256)

    def release(self, objects: Mapping[int, Header], signed: Signature) -> Mapping[int, str]:
        """File objects by a person's will; return why one stays, by its number.

        An object set aside for its identity is filed under the study it names. One with other
        bytes under a known SOPInstanceUID takes the place of the one filed, which goes into
        quarantine as REPLACED. One that could not be filed is tried again, and vouched for by
        nobody yet. All count as late images of an association that was released: their cases are
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
                if (reason := _release(db, number, header, signed))
            }
            filed = {h.series_instance_uid for n, h in objects.items() if n not in stay}
            if filed:
                filing.release(db, sorted(filed), signed.at)
        return stay

    def discard(self, number: int, signed: Signature, *, delete: bool = False) -> Decision:
        """Decide that an object is not filed; return the decision.

        It is DELETED, and the caller must remove the bytes, where that was asked for and no other
        row speaks of them; else DISCARDED.

        Raises
        ------
        NotFound, IllegalMove
            If there is no such entry, or its decision cannot be taken back.
        """
        with self._database.write() as db:
            entry = _decidable(db, number)
            gone = delete and not _needed_elsewhere(db, entry)
            decision = Decision.DELETED if gone else Decision.DISCARDED
            _decide(db, entry, decision, signed)
        return decision


def _one(db: sa.Connection, number: int) -> Quarantined:
    row = db.execute(_ENTRIES.where(quarantine.c.id == number)).one_or_none()
    if row is None:
        raise NotFound(f"quarantine has no number {number}: see `ichnode quarantine list --all`")
    return _entry(row)


def _release(db: sa.Connection, number: int, header: Header, signed: Signature) -> str | None:
    """File an object by a person's will; return why it stays, or None."""
    entry = _decidable(db, number)
    known = lookup.look_up(db, header)
    if known.sha256 != entry.stored.sha256:  # it may have been filed meanwhile
        if entry.code not in VOUCHED_FOR and (against := lookup.objection(known, header)):
            code, reason = against
            _say_anew(db, entry, header, code, reason)
            return f"it can be read now, but {reason}: look at it, then release it again"
        if homeless := _no_place(known, header):
            return homeless
        if known.sha256 is not None:
            _make_room(db, header, number, signed)
        filing.keep(db, known, header, entry.stored, entry.caller, signed.at)
        _follow_identity(db, header.study_instance_uid, signed.at)
    _decide(db, entry, Decision.RELEASED, signed, header)
    return None


def _decidable(db: sa.Connection, number: int) -> Quarantined:
    db.execute(sa.select(quarantine.c.id).where(quarantine.c.id == number).with_for_update())
    entry = _one(db, number)
    if entry.decision in SETTLED:
        raise IllegalMove(
            f"number {number} was {entry.decision} by {entry.decided_by}; that is not taken back"
        )
    return entry


def _no_place(known: Known, header: Header) -> str | None:
    """Return why no decision can file the object."""
    identity = known.identity
    if identity and identity.study_instance_uid != header.study_instance_uid:
        return (
            f"its SeriesInstanceUID is filed under study {identity.study_instance_uid}: "
            "correct it at the source and send it again"
        )
    if known.filed_under not in (None, header.series_instance_uid):
        return (
            f"its SOPInstanceUID is filed under series {known.filed_under}: "
            "correct it at the source and send it again"
        )
    return None


def _say_anew(
    db: sa.Connection, entry: Quarantined, header: Header, code: str, reason: str
) -> None:
    """Give an entry that could not be read the reason why it still is not filed."""
    values = {
        "code": str(code),
        "reason": reason,
        "study_instance_uid": header.study_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "sop_instance_uid": header.sop_instance_uid,
    }
    db.execute(quarantine.update().where(quarantine.c.id == entry.number).values(values))


def _make_room(db: sa.Connection, header: Header, number: int, signed: Signature) -> None:
    """Put the instance that a released object replaces into quarantine, decided about at once."""
    reason = f"was filed until number {number} took its place"
    old = filing.make_room(db, header, str(Arrival.CHANGED), reason, signed.at)
    _decide(db, _one(db, old), Decision.REPLACED, signed)


def _follow_identity(db: sa.Connection, study_uid: str, now: datetime) -> None:
    """Give the study the identity that all its instances bear, if that has become another one."""
    identity = tuple(
        instance.c.header[name].as_string().label(name)
        for name in ("patient_id", "patient_birth_date")
    )
    of_study = sa.select(*identity).join(series).where(series.c.study_instance_uid == study_uid)
    corrected = corrections.of_study(db, study_uid)
    rows = db.execute(of_study.distinct())
    found = {corrections.resolve(PatientIdentity(*row), corrected) for row in rows}
    if len(found) != 1:
        return
    (patient,) = found
    same = sa.and_(
        study.c.patient_id == patient.patient_id,
        study.c.patient_birth_date == patient.birth_date,
    )
    changed = db.execute(
        study.update()
        .where(study.c.study_instance_uid == study_uid, ~same)
        .values(patient_id=patient.patient_id, patient_birth_date=patient.birth_date)
    )
    if changed.rowcount:
        note(db, "identity changed with all its instances", study_uid, None, now)


def _needed_elsewhere(db: sa.Connection, entry: Quarantined) -> bool:
    """Return whether another row speaks of the entry's bytes."""
    path = entry.stored.path
    filed = sa.exists().where(instance.c.path == path)
    other = sa.exists().where(
        quarantine.c.path == path,
        quarantine.c.id != entry.number,
        sa.or_(quarantine.c.decision.is_(None), quarantine.c.decision != Decision.DELETED),
    )
    return bool(db.execute(sa.select(sa.or_(filed, other))).scalar_one())


def _decide(
    db: sa.Connection,
    entry: Quarantined,
    decision: Decision,
    signed: Signature,
    header: Header | None = None,
) -> None:
    study_uid = header.study_instance_uid if header else entry.study_instance_uid
    sop_uid = header.sop_instance_uid if header else entry.sop_instance_uid
    values = {
        "decision": decision,
        "decided_at": signed.at,
        "decided_by": signed.who,
        "why": signed.why or None,
        "study_instance_uid": study_uid,
        "sop_instance_uid": sop_uid,
    }
    db.execute(quarantine.update().where(quarantine.c.id == entry.number).values(values))
    about = f"number {entry.number} {decision.value.lower()}"
    signer = Actor(signed.who, "terminal")
    recorded(db, signer, Deed.QUARANTINE, signed.at, study_uid=study_uid, about=about)
    note(
        db,
        f"quarantine: {decision.value.lower()}",
        study_uid,
        None,
        signed.at,
        number=entry.number,
        code=entry.code,
        by=signed.who,
        why=signed.why or None,
        sha256=entry.stored.sha256,
        sop_instance_uid=sop_uid,
    )


def _entry(row: sa.Row[Any]) -> Quarantined:
    return Quarantined(
        number=row.id,
        at=row.at,
        stored=StoredObject(row.path, row.sha256, row.size),
        code=row.code,
        reason=row.reason,
        caller=row.caller,
        study_instance_uid=row.study_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        decision=row.decision,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        why=row.why,
        patient_id=row.patient_id or "",
        accession_number=row.accession_number or "",
    )
