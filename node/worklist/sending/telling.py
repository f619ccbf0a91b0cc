"""News of a study, within the transaction that makes it: what it is, and who is owed a message.

What a study was last said to be stands in the table `news`. Whatever moves one of its cases
compares that with how the study stands now. So each change is said once, also where several workers
read series of one study, or a worker dies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from node.news import KIND, News, What
from node.records import Parcel
from node.states import Priority, State
from node.worklist.schema.tables import delivery, news, study
from node.worklist.schema.watch_tables import canary
from node.worklist.sending import owing
from node.worklist.studies.rows import READ_ELSEWHERE, Row
from node.worklist.studies.studies import case_rows, of_study, one_study
from node.worklist.trail.events import note

Tell = Callable[[News, frozenset[str]], Sequence[tuple[str, Parcel]]]
"""Leaves an news on disk for good; returns what is owed of it, and to which destinations.

The names are those of destinations that a message about the study has reached, or may have."""

_RANK = {Priority.NOT_SUSPECTED: 0, Priority.NOT_ANALYSED: 1, Priority.SUSPECTED: 2}


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """One step of an escalation: who is told, by which channel, and how long after the first."""

    after: timedelta
    to: str
    channel: str


def happened(told: tuple[int, Priority, str] | None, row: Row, result: str) -> What | None:
    """Return what a study's row says that was not said before. Pure.

    Parameters
    ----------
    told
        Case, priority and `News.result` of the last news.
    row
        How the study stands now.
    result
        `News.result` of that.
    """
    if row.priority is Priority.PENDING or row.state is State.SKIPPED:
        return None  # not decided yet, or nothing in it is a head
    if row.withdrawn:
        return None  # said by who withdrew it, to whom it may concern
    if told is None:
        return What.FLAG
    case_id, priority, said = told
    if row.priority is not priority:
        if priority is Priority.SUSPECTED:
            return What.RETRACT
        return What.RAISE if _RANK[row.priority] > _RANK[priority] else What.SUPERSEDE
    if row.case_id == case_id:
        return None if result == said else What.SUPERSEDE
    stands = case_id in {line.case_id for line in row.scans}
    return None if stands else What.SUPERSEDE


def announce(db: sa.Connection, study_uid: str, tell: Tell, now: datetime) -> None:
    """Owe messages if the study has news.

    What still waits to be sent to the same destination is withdrawn, since the new message says
    what stands now. Where a suspicion is taken back, nobody is told of it any more. Of a canary
    nobody is told.
    """
    if db.execute(sa.select(canary).where(canary.c.study_instance_uid == study_uid)).first():
        return
    of = sa.select(study).where(study.c.study_instance_uid == study_uid)
    patient = db.execute(of.with_for_update()).one()  # others who move cases of the study wait
    row, last = one_study(db, study_uid), _last(db, study_uid)
    said = _news(row, patient, last, now)
    what = happened(last and (last.case_id, last.priority, last.result), row, said.result)
    if what is not None:
        _owe(db, _news(row, patient, last, now, what), tell, now)


def announce_withdrawal(
    db: sa.Connection, study_uid: str, case_id: int, tell: Tell, now: datetime
) -> None:
    """Owe those who may know of a study's results the message that they are withdrawn.

    It is said of the case that withdraws them, also where another one speaks for the study: what
    was told must not stand until that one is read.
    """
    of = sa.select(study).where(study.c.study_instance_uid == study_uid)
    patient = db.execute(of.with_for_update()).one()
    last = _last(db, study_uid)
    if last is None:
        return  # nobody was told anything
    (row,) = (row for row in case_rows(db, of_study(study_uid)) if row.case_id == case_id)
    _owe(db, _news(row, patient, last, now, What.RETRACT), tell, now)


def _owe(db: sa.Connection, said: News, tell: Tell, now: datetime) -> None:
    """Owe a message of news in the place of those that wait, and record that it is said."""
    study_uid = said.study_instance_uid
    owed = tell(said, owing.may_know(db, study_uid))
    retracted = said.what is What.RETRACT
    owing.withdraw(db, study_uid, None if retracted else {name for name, _ in owed})
    owing.owe(db, said.case_id, owed, now)
    _record(db, said, now)


def unacknowledged(db: sa.Connection, steps: Sequence[EscalationStep], now: datetime) -> list[str]:
    """Return the suspected studies for which a step of the chain is due, by UID.

    Studies first announced `READ_ELSEWHERE` ago or earlier count as read in the PACS, and prior
    studies are left out.
    """
    if not steps:
        return []
    query = sa.select(news.c.study_instance_uid).where(
        news.c.at > now - READ_ELSEWHERE,
        news.c.at <= now - min(step.after for step in steps),
        news.c.priority == Priority.SUSPECTED,
        ~news.c.prior,
    )
    found = db.execute(query.distinct()).scalars().all()
    return [study_uid for study_uid in found if _due(db, study_uid, steps, now)]


def escalate(
    db: sa.Connection, study_uid: str, steps: Sequence[EscalationStep], now: datetime
) -> int:
    """Owe the due steps of a study, each once; return how many."""
    due = _due(db, study_uid, steps, now)
    last: Any = _last(db, study_uid)
    for key, step in due:
        minutes = round(step.after.total_seconds() / 60)
        address = {"sha256": last.sha256, "escalation": str(minutes)}
        parcel = Parcel(step.channel, KIND, last.path, key, address)
        owing.owe(db, last.case_id, [(step.to, parcel)], now)
        about = {"after_minutes": minutes, "destination": step.to}
        note(db, "escalated", study_uid, last.case_id, now, **about)
    return len(due)


def _due(
    db: sa.Connection, study_uid: str, steps: Sequence[EscalationStep], now: datetime
) -> list[tuple[str, EscalationStep]]:
    """Return the steps of a study that are due and not owed yet, each with its key."""
    first = _first_suspicion(db, study_uid)
    if first is None or first.at <= now - READ_ELSEWHERE:
        return []
    keys = {_key(first.sha256, step): step for step in steps if first.at + step.after <= now}
    done = sa.select(delivery.c.dedup_key).where(delivery.c.dedup_key.in_(keys))
    owed = set(db.execute(done.where(owing.messages_of(study_uid))).scalars())
    left = [(key, step) for key, step in keys.items() if key not in owed]
    if not left or one_study(db, study_uid).acknowledged_at is not None:
        return []
    return sorted(left, key=lambda one: one[1].after)


def _first_suspicion(db: sa.Connection, study_uid: str) -> sa.Row[Any] | None:
    """Return the news since which a study is suspected; None if it is not."""
    of = news.c.study_instance_uid == study_uid
    first = None
    for said in db.execute(news.select().where(of).order_by(news.c.number.desc())):
        if said.priority is not Priority.SUSPECTED:
            break
        first = said
    return first


def _key(first: str, step: EscalationStep) -> str:
    text = f"{first} {step.after.total_seconds()} {step.channel} {step.to}"
    return sha256(text.encode()).hexdigest()


def _last(db: sa.Connection, study_uid: str) -> sa.Row[Any] | None:
    of = news.c.study_instance_uid == study_uid
    query = news.select().where(of).order_by(news.c.number.desc())
    return db.execute(query.limit(1)).one_or_none()


def _record(db: sa.Connection, said: News, now: datetime) -> None:
    parcel = said.parcel("")
    values = {
        "study_instance_uid": said.study_instance_uid,
        "number": said.number,
        "case_id": said.case_id,
        "what": said.what,
        "priority": said.priority,
        "prior": said.prior,
        "result": said.result,
        "path": parcel.path,
        "sha256": parcel.dedup_key,
        "at": now,
    }
    db.execute(news.insert(), values)
    about = {"news": said.what, "priority": said.priority, "number": said.number}
    note(db, "announced", said.study_instance_uid, said.case_id, now, **about)


def _news(
    row: Row,
    patient: sa.Row[Any],
    last: sa.Row[Any] | None,
    now: datetime,
    what: What = What.FLAG,
) -> News:
    return News(
        study_instance_uid=row.study_instance_uid,
        number=1 if last is None else last.number + 1,
        what=what,
        at=now.isoformat(),
        case_id=row.case_id,
        patient_id=patient.patient_id,
        patient_birth_date=patient.patient_birth_date,
        accession_number=row.accession_number,
        priority=row.priority,
        before=last and last.priority,
        prior=row.prior,
        probability=row.probability,
        uncertain=row.uncertain,
        volume_ml=row.volume_ml,
        reason=row.reason,
        series_instance_uid=row.series_instance_uid,
        key_slice_sop_instance_uid=row.key_slice_sop_instance_uid,
        bundle=row.bundle,
        received_at=row.received_at.isoformat(),
        flagged_at=row.flagged_at.isoformat() if row.flagged_at else None,
        limitations=row.limitations,
        withdrawn=row.withdrawn.to_json() if row.withdrawn else None,
    )
