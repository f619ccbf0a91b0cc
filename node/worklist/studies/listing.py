"""What a list that stays open asks for: which studies changed, and how they stand now.

The order of the worklist follows from all cases of a study (`studies.rows`), which SQL cannot
say without a second copy of those rules. So a list holds its studies in memory, and asks the
database for those alone that changed: the cost of a look follows from what happened, and hardly
from how many studies there are.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from node.worklist.schema.database import Database
from node.worklist.schema.tables import case, event, series, study
from node.worklist.schema.watch_tables import is_no_canary
from node.worklist.studies.chains import NotFound
from node.worklist.studies.rows import Row
from node.worklist.studies.studies import (
    Listed,
    listed_studies,
    of_studies,
    of_study,
    recent,
    study_rows,
)

EVENTS_AGAIN = 100
"""So many events before the last one seen count as new: PostgreSQL gives out their numbers before
it commits them. A choice: no transaction lasts while a hundred others end."""
ARRIVALS_AGAIN = timedelta(seconds=60)
"""Slices filed so long before the last one seen count as new: a receiver reads the clock before it
waits for the database. It must exceed that wait (`schema.database.BUSY_TIMEOUT_MS`)."""
BATCH = 500
"""Studies that are read in one query."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a list has looked: the last event and the last slice."""

    event: int = 0
    slice_at: datetime | None = None


class Listing:
    """The worklist as a page sees it that is open all night."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(self, since: datetime) -> tuple[list[Listed], Mark]:
        """Return the studies as in `Views.worklist`, in no order, and how far that looked."""
        with self._database.read() as db:
            mark = _newest(db)
            return listed_studies(db, recent(since)), mark

    def changed(self, mark: Mark) -> tuple[set[str], Mark]:
        """Return the UIDs of the studies that may have changed since, and how far that looked."""
        with self._database.read() as db:
            newest = _newest(db)
            if newest == mark:
                return set(), mark
            happened = sa.select(event.c.study_instance_uid).where(
                event.c.id > mark.event - EVENTS_AGAIN, event.c.study_instance_uid.is_not(None)
            )
            arrived = sa.select(series.c.study_instance_uid)
            if mark.slice_at is not None:
                since = mark.slice_at - ARRIVALS_AGAIN
                arrived = arrived.where(series.c.last_received_at >= since)
            return set(db.execute(happened.union(arrived)).scalars()), newest

    def studies(self, study_uids: Collection[str]) -> list[Listed]:
        """Return these studies, in no order; an unknown UID is left out, and so is a canary."""
        uids, found = list(study_uids), list[Listed]()
        patients = is_no_canary(series.c.study_instance_uid)
        with self._database.read() as db:
            for start in range(0, len(uids), BATCH):
                some = of_studies(uids[start : start + BATCH])
                found += listed_studies(db, sa.and_(some, patients))
        return found

    def named(self, text: str, limit: int = 50) -> list[Listed]:
        """Return the newest studies with exactly this accession number or patient ID."""
        same = sa.or_(study.c.accession_number == text, study.c.patient_id == text)
        newest = study.c.first_received_at.desc()
        patients = is_no_canary(study.c.study_instance_uid)
        query = sa.select(study.c.study_instance_uid).where(same, patients)
        query = query.order_by(newest).limit(limit)
        with self._database.read() as db:
            return listed_studies(db, of_studies(db.execute(query).scalars().all()))

    def study_of_case(self, case_id: int) -> str:
        """Return the UID of the study that a case belongs to.

        Raises
        ------
        NotFound
            If there is no such case.
        """
        query = sa.select(series.c.study_instance_uid).join(case).where(case.c.id == case_id)
        with self._database.read() as db:
            uid: str | None = db.execute(query).scalar()
        if uid is None:
            raise NotFound(f"no case {case_id}")
        return uid

    def others_of_patient(self, study_uid: str, limit: int = 20) -> list[Row]:
        """Return the other studies under the same PatientID and birth date, the newest first.

        A study without a PatientID has none: an empty one says nothing of whose it is.
        """
        this = study.alias("this")
        query = (
            sa.select(study.c.study_instance_uid)
            .join(this, this.c.patient_id == study.c.patient_id)
            .where(this.c.study_instance_uid == study_uid, study.c.patient_id != "")
            .where(study.c.patient_birth_date == this.c.patient_birth_date)
            .where(study.c.study_instance_uid != study_uid)
            .where(is_no_canary(study.c.study_instance_uid))
            .order_by(study.c.first_received_at.desc())
            .limit(limit)
        )
        with self._database.read() as db:
            rows = study_rows(db, of_studies(db.execute(query).scalars().all()))
        return sorted(rows, key=lambda row: row.first_received_at, reverse=True)

    def listed(self, study_uid: str) -> Listed:
        """Return one study.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        with self._database.read() as db:
            found = listed_studies(db, of_study(study_uid))
        if not found:
            raise NotFound(f"no study {study_uid}")
        return found[0]


def _newest(db: sa.Connection) -> Mark:
    last_event = db.execute(sa.select(sa.func.max(event.c.id))).scalar()
    last_slice = db.execute(sa.select(sa.func.max(series.c.last_received_at))).scalar()
    return Mark(last_event or 0, last_slice)
