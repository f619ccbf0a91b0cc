"""What the audit trail says of storage commitment: a row for each study that it is about."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from node.committed import CommitmentAsked, CommitmentReport
from node.visible import visible
from node.worklist.schema.columns import Deed
from node.worklist.schema.tables import case, delivery, instance, series
from node.worklist.trail.audit import Actor, recorded

MANY = 500
"""UIDs that a statement takes as parameters."""

Studies = Mapping[str, str]
"""The StudyInstanceUID of each object that is here, by its SOPInstanceUID."""


def note_request(
    db: sa.Connection, by: Actor, verb: str, asked: CommitmentAsked, studies: Studies, now: datetime
) -> None:
    """Note that a peer "asks" or "is asked" to keep objects."""
    uids = [one.sop_instance_uid for one in asked.references]
    for study_uid, count in _counted(uids, studies).items():
        told = f"{verb} to keep {count}, transaction {asked.transaction_uid}"
        _note(db, by, study_uid, told, now)


def note_report(
    db: sa.Connection,
    by: Actor,
    verb: str,
    report: CommitmentReport,
    studies: Studies,
    now: datetime,
) -> None:
    """Note that a peer "tells" or "is told" which objects are kept."""
    kept = _counted((one.sop_instance_uid for one in report.committed), studies)
    lost = _counted((one.sop_instance_uid for one in report.failed), studies)
    for study_uid in kept | lost:
        told = f"{verb} that {kept[study_uid]} are kept and {lost[study_uid]} are not"
        _note(db, by, study_uid, f"{told}, transaction {report.transaction_uid}", now)


def studies_of_received(db: sa.Connection, sop_instance_uids: Sequence[str]) -> Studies:
    """Return the studies of the images that the node has filed."""
    uid, found = instance.c.sop_instance_uid, dict[str, str]()
    query = sa.select(uid, series.c.study_instance_uid).join_from(instance, series)
    for start in range(0, len(sop_instance_uids), MANY):
        chosen = query.where(uid.in_(sop_instance_uids[start : start + MANY]))
        found |= {row[0]: row[1] for row in db.execute(chosen)}
    return found


def studies_of_sent(db: sa.Connection, delivery_ids: Iterable[int]) -> Studies:
    """Return the studies of the objects that were owed to a destination."""
    query = sa.select(delivery.c.dedup_key, series.c.study_instance_uid)
    query = query.join_from(delivery, case).join(series)
    rows = db.execute(query.where(delivery.c.id.in_(list(delivery_ids))))
    return {row[0]: row[1] for row in rows}


def _counted(uids: Iterable[str], studies: Studies) -> Counter[str | None]:
    """Return how many objects there are of each study; None: of none that is here."""
    return Counter(studies.get(uid) for uid in uids)


def _note(db: sa.Connection, by: Actor, study_uid: str | None, told: str, now: datetime) -> None:
    who = Actor(visible(by.name), by.address, certificate=by.certificate)
    here = "" if study_uid else ", of no study that is here"
    recorded(db, who, Deed.COMMITMENT, now, study_uid=study_uid, about=told + here)
