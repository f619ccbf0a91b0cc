"""What people see: the rows of the worklist, read from the database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from node.records import Preferred
from node.states import Priority, State
from node.worklist import events
from node.worklist.cases import NOT_SUPERSEDED, NotFound
from node.worklist.database import Database
from node.worklist.events import Event
from node.worklist.rows import DeliveryLine, Row, ScanLine, in_order, speaking_for_study
from node.worklist.tables import acknowledgement, case, delivery, quarantine, series, study


class Views:
    """The worklist as people see it: on the page, in the terminal, as JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def worklist(self, now: datetime, since: datetime | None = None) -> list[Row]:
        """Return one row a study, in worklist order.

        Parameters
        ----------
        since
            Leave out studies that got no slice since then and are done with: all their cases were
            delivered or skipped, or somebody acknowledged them.
        """
        with self._database.read() as db:
            return in_order(_rows(db, _recent(since)), now)

    def study(self, study_uid: str) -> Row:
        """Return the row of one study.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        with self._database.read() as db:
            return _study(db, study_uid)

    def history(self, study_uid: str) -> tuple[Row, ...]:
        """Return every case of the study by age, superseded ones too."""
        with self._database.read() as db:
            return tuple(_cases(db, _of_study(study_uid)))

    def scans(self, study_uid: str) -> tuple[ScanLine, ...]:
        """Return how each scan of the study stands, the worst first."""
        return speaking_for_study(self.history(study_uid)).scans

    def events(self, study_uid: str) -> list[Event]:
        """Return what happened to a study, oldest first."""
        with self._database.read() as db:
            return events.of_study(db, study_uid)

    def counts(self) -> Mapping[State, int]:
        """Return how many cases stand in each state; superseded ones are left out."""
        number = sa.func.count().label("number")
        query = sa.select(case.c.state, number).where(NOT_SUPERSEDED).group_by(case.c.state)
        with self._database.read() as db:
            found = {row.state: row.number for row in db.execute(query)}
        return dict.fromkeys(State, 0) | found

    def find(self, name: str) -> str:
        """Return the UID of the study that a person means.

        Parameters
        ----------
        name
            A StudyInstanceUID, an accession number or a case's number.

        Raises
        ------
        NotFound
            If there is no such study, or the name is that of several.
        """
        with self._database.read() as db:
            return _find(db, name)[0]

    def find_case(self, name: str) -> int:
        """Return the number of the case that a person means.

        Where the name is that of a study, it is the case that speaks for the study, or the one
        that superseded it.

        Parameters
        ----------
        name
            As in `find`.

        Raises
        ------
        NotFound
            As in `find`.
        """
        with self._database.read() as db:
            uid, case_id = _find(db, name)
            return case_id or _newest(_cases(db, _of_study(uid)))

    def acknowledge(self, study_uid: str, who: str, agrees: bool | None, now: datetime) -> None:
        """Record that a person has seen the study's row as it stands, and whether they agree.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        with self._database.write() as db:
            shown = _study(db, study_uid)
            line = {"study_instance_uid": study_uid, "who": who, "agrees": agrees, "at": now}
            db.execute(acknowledgement.insert(), {**line, "shown": shown.priority})


def _study(db: sa.Connection, study_uid: str) -> Row:
    rows = _rows(db, _of_study(study_uid))
    if not rows:
        raise NotFound(f"no study {study_uid}")
    return rows[0]


def priorities(db: sa.Connection, studies: Sequence[str]) -> Mapping[str, Priority]:
    """Return the priority that the worklist shows of each of these studies, by UID."""
    rows = _rows(db, series.c.study_instance_uid.in_(studies))
    return {row.study_instance_uid: row.priority for row in rows}


def _rows(db: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Row]:
    """Return one row for each study that `wanted` picks, in no order."""
    acknowledged = {r.study_instance_uid: r for r in db.execute(_acknowledgements(wanted))}
    aside = {r.study_instance_uid: r.objects for r in db.execute(_quarantined())}
    found = []
    for uid, told in groupby(_cases(db, wanted), key=lambda row: row.study_instance_uid):
        row = speaking_for_study(list(told))
        row = replace(row, quarantined=aside.get(uid, 0))
        found.append(_acknowledged(row, acknowledged[uid]) if uid in acknowledged else row)
    return found


def _cases(db: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Row]:
    """Return a row for each case of those studies, superseded ones too, study by study, by age."""
    found = db.execute(
        sa.select(
            case,
            study,
            sa.func.coalesce(case.c.last_slice_at, series.c.last_received_at).label("received_at"),
        )
        .join_from(case, series)
        .join_from(series, study)
        .where(wanted)
        .order_by(study.c.study_instance_uid, case.c.id)
    ).all()
    deliveries = _deliveries(db, wanted)
    return [_row(one, deliveries[one.id]) for one in found]


def _of_study(study_uid: str) -> sa.ColumnElement[bool]:
    """Return the condition that a series is of this study."""
    return series.c.study_instance_uid == study_uid


def _find(db: sa.Connection, name: str) -> tuple[str, int | None]:
    """Return the UID of the study that a person means, and the case if they named one."""
    uid, accession = study.c.study_instance_uid, study.c.accession_number
    named = sa.or_(uid == name, accession == name)
    found = set(db.execute(sa.select(uid).where(named)).scalars())
    if name in found:
        return name, None
    of_case = None
    if name.isascii() and name.isdigit() and len(name) < 10:
        by_case = sa.select(series.c.study_instance_uid).join(case).where(case.c.id == int(name))
        of_case = db.execute(by_case).scalar()
    if len(found) > 1:
        several = f"{len(found)} studies have the accession number {name}"
        raise NotFound(f"{several}: name one of them, {', '.join(sorted(found))}")
    if found and of_case not in (None, *found):
        raise NotFound(
            f"{name} is the accession number of study {found.pop()} and the number of a case of "
            f"study {of_case}: name the study by its UID"
        )
    if of_case is not None:
        return of_case, int(name)
    if found:
        return found.pop(), None
    raise NotFound(f"no study, accession number or case {name}")


def _newest(cases: Sequence[Row]) -> int:
    """Return the case of a study that speaks for it, or the last of those that superseded it."""
    by = {row.supersedes: row.case_id for row in cases}
    number = speaking_for_study(cases).case_id
    while number in by:
        number = by[number]
    return number


def _recent(since: datetime | None) -> sa.ColumnElement[bool]:
    """Return the condition that a study got a slice since then, or that it is not done with."""
    if since is None:
        return sa.true()
    new = sa.select(series.c.study_instance_uid).where(series.c.last_received_at >= since)
    seen = sa.select(acknowledgement.c.study_instance_uid)
    unfinished = (
        sa.select(series.c.study_instance_uid)
        .join_from(series, case)
        .where(case.c.state.not_in((State.DELIVERED, State.SKIPPED)), NOT_SUPERSEDED)
        .where(series.c.study_instance_uid.not_in(seen))
    )
    return series.c.study_instance_uid.in_(new.union(unfinished))


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
        line = DeliveryLine(r.destination, r.kind, sop_class, *standing, r.sent_at)
        lines[r.case_id].append(line)
    return lines


def _acknowledgements(wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return those of the wanted studies, oldest first: the last one of a study counts."""
    uids = sa.select(series.c.study_instance_uid).where(wanted)
    return (
        sa.select(acknowledgement)
        .where(acknowledgement.c.study_instance_uid.in_(uids))
        .order_by(acknowledgement.c.id)
    )


def _quarantined() -> sa.Select[Any]:
    uid = quarantine.c.study_instance_uid
    undecided = quarantine.c.decision.is_(None)
    return sa.select(uid, sa.func.count().label("objects")).where(undecided).group_by(uid)


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
        deliveries=tuple(deliveries),
    )
