"""The rows of studies, read from the database: what the handles for people share."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from node.records import Preferred
from node.states import Priority, State
from node.worklist.schema.people_tables import withdrawal
from node.worklist.schema.tables import acknowledgement, case, delivery, quarantine, series, study
from node.worklist.schema.watch_tables import is_no_canary
from node.worklist.studies.chains import (
    NOT_SUPERSEDED,
    WITHDRAWAL,
    NotFound,
    withdrawal_of,
)
from node.worklist.studies.rows import DeliveryLine, Row, speaking_for_study

DONE = (State.DELIVERED, State.SKIPPED)
"""A case in one of these states needs nothing more."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A study as a list shows it.

    Attributes
    ----------
    number
        Of its first case: it stays with the study, also when another case speaks for it.
    last_received_at
        When the last slice came of any of its series, or a result of it was withdrawn.
    unfinished
        Whether a case of it is not done, and nobody has acknowledged the study.
    """

    number: int
    row: Row
    last_received_at: datetime
    unfinished: bool


def one_study(db: sa.Connection, study_uid: str) -> Row:
    """Return the row of one study.

    Raises
    ------
    NotFound
        If there is no such study.
    """
    rows = study_rows(db, of_study(study_uid))
    if not rows:
        raise NotFound(f"no study {study_uid}")
    return rows[0]


def study_rows(db: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Row]:
    """Return one row for each study that `wanted` picks, in no order."""
    return [listed.row for listed in listed_studies(db, wanted)]


def listed_studies(db: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Listed]:
    """Return each study that `wanted` picks, in no order."""
    acknowledged = {r.study_instance_uid: r for r in db.execute(_acknowledgements(wanted))}
    aside = {r.study_instance_uid: r.objects for r in db.execute(_quarantined())}
    found = []
    for uid, told in groupby(case_rows(db, wanted), key=lambda row: row.study_instance_uid):
        listed = _listed(list(told), aside.get(uid, 0))
        if uid in acknowledged:
            row = _acknowledged(listed.row, acknowledged[uid])
            listed = replace(listed, row=row, unfinished=False)
        found.append(listed)
    return found


def _listed(cases: Sequence[Row], quarantined: int) -> Listed:
    superseded = {one.supersedes for one in cases}
    newest = [one for one in cases if one.case_id not in superseded]
    return Listed(
        number=cases[0].case_id,
        row=replace(speaking_for_study(cases), quarantined=quarantined),
        last_received_at=max(map(_last_changed, cases)),
        unfinished=any(one.state not in DONE for one in newest),
    )


def _last_changed(one: Row) -> datetime:
    return max(one.received_at, one.withdrawn.at) if one.withdrawn else one.received_at


def case_rows(db: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Row]:
    """Return a row for each case of those studies, superseded ones too, study by study, by age."""
    found = db.execute(
        sa.select(
            case,
            study,
            *WITHDRAWAL,
            sa.func.coalesce(case.c.last_slice_at, series.c.last_received_at).label("received_at"),
        )
        .join_from(case, series)
        .join_from(series, study)
        .outerjoin(withdrawal, withdrawal.c.case_id == case.c.id)
        .where(wanted)
        .order_by(study.c.study_instance_uid, case.c.id)
    ).all()
    deliveries = _deliveries(db, wanted)
    return [_row(one, deliveries[one.id]) for one in found]


def of_study(study_uid: str) -> sa.ColumnElement[bool]:
    """Return the condition that a series is of this study."""
    return series.c.study_instance_uid == study_uid


def of_studies(study_uids: Collection[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a series is of one of these studies."""
    return series.c.study_instance_uid.in_(study_uids)


def recent(since: datetime | None) -> sa.ColumnElement[bool]:
    """Return the condition that a study got a slice or was withdrawn since, or is not done with.

    A canary never does: it is no patient's.
    """
    patients = is_no_canary(series.c.study_instance_uid)
    if since is None:
        return patients
    new = sa.select(series.c.study_instance_uid).where(series.c.last_received_at >= since)
    withdrawn = (
        sa.select(series.c.study_instance_uid)
        .join_from(series, case)
        .join(withdrawal, withdrawal.c.case_id == case.c.id)
        .where(withdrawal.c.at >= since)
    )
    seen = sa.select(acknowledgement.c.study_instance_uid).where(
        acknowledgement.c.undone_at.is_(None)
    )
    unfinished = (
        sa.select(series.c.study_instance_uid)
        .join_from(series, case)
        .where(case.c.state.not_in(DONE), NOT_SUPERSEDED)
        .where(series.c.study_instance_uid.not_in(seen))
    )
    return sa.and_(series.c.study_instance_uid.in_(new.union(withdrawn, unfinished)), patients)


def _acknowledged(row: Row, seen: sa.Row[Any]) -> Row:
    """Return the row as acknowledged, unless that was for another result than the row shows."""
    if seen.shown != row.priority or (row.flagged_at and seen.at < row.flagged_at):
        return row
    return replace(row, acknowledged_at=seen.at, acknowledged_by=seen.who, agrees=seen.agrees)


def _deliveries(
    db: sa.Connection, wanted: sa.ColumnElement[bool]
) -> Mapping[int, Sequence[DeliveryLine]]:
    query = sa.select(delivery).join_from(delivery, case).join_from(case, series).where(wanted)
    lines: dict[int, list[DeliveryLine]] = defaultdict(list)
    for r in db.execute(query.order_by(delivery.c.id)):
        sop_class = r.address.get("sop_class_uid", "")
        standing = (r.status, r.attempts, r.last_status)
        line = DeliveryLine(r.destination, r.kind, sop_class, *standing, r.sent_at, r.last_message)
        lines[r.case_id].append(line)
    return lines


def _acknowledgements(wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return those of the wanted studies, oldest first: the last one of a study counts."""
    uids = sa.select(series.c.study_instance_uid).where(wanted)
    return (
        sa.select(acknowledgement)
        .where(acknowledgement.c.study_instance_uid.in_(uids))
        .where(acknowledgement.c.undone_at.is_(None))
        .order_by(acknowledgement.c.id)
    )


def _quarantined() -> sa.Select[Any]:
    uid = quarantine.c.study_instance_uid
    undecided = quarantine.c.decision.is_(None)
    return sa.select(uid, sa.func.count().label("objects")).where(undecided).group_by(uid)


def _pixels_purged_at(r: sa.Row[Any]) -> datetime | None:
    """Return when the images of a case were purged; later images are here."""
    purged: datetime | None = r.pixels_purged_at
    return purged if purged and r.received_at <= purged else None


def _row(r: sa.Row[Any], deliveries: Sequence[DeliveryLine]) -> Row:
    return Row(
        study_instance_uid=r.study_instance_uid,
        patient_id=r.patient_id,
        accession_number=r.accession_number,
        priority=r.priority,
        probability=r.probability,
        uncertainty=r.uncertainty,
        uncertain=r.uncertain,
        volume_ml=r.volume_ml,
        subtypes=r.subtypes,
        reason=r.reason,
        series_instance_uid=r.series_instance_uid,
        key_slice_sop_instance_uid=r.key_slice_sop_instance_uid,
        bundle=r.bundle,
        received_at=r.received_at,
        flagged_at=r.flagged_at,
        delivered_at=r.delivered_at,
        case_id=r.id,
        supersedes=r.supersedes,
        state=r.state,
        study_description=r.study_description,
        reason_code=r.reason_code,
        limitations=tuple(r.limitations),
        part=r.part,
        prior=r.prior,
        scan=r.scan,
        acquired=r.acquired,
        closed_at=r.closed_at,
        closed_by=r.closed_by,
        saved_s=r.saved_s,
        preferred=r.preferred_series_uid and Preferred(r.preferred_by, r.preferred_series_uid),
        first_received_at=r.first_received_at,
        assembled_at=r.assembled_at,
        triaged_at=r.triaged_at,
        reported_at=r.reported_at,
        pixels_purged_at=_pixels_purged_at(r),
        results_purged_at=r.purged_at,
        withdrawn=withdrawal_of(r),
        deliveries=tuple(deliveries),
    )


def priorities(db: sa.Connection, studies: Sequence[str]) -> Mapping[str, Priority]:
    """Return the priority that the worklist shows of each of these studies, by UID."""
    rows = study_rows(db, of_studies(studies))
    return {row.study_instance_uid: row.priority for row in rows}
