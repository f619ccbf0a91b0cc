"""Opening cases: one for each part of a series, each chain superseded part by part."""

from datetime import datetime

import sqlalchemy as sa

from node.records import Case
from node.states import Priority, State
from node.worklist.schema.tables import case, series
from node.worklist.sending.owing import cancel_superseded
from node.worklist.trail.events import note


def open_case(
    db: sa.Connection,
    series_uid: str,
    due_at: datetime,
    *,
    part: int = 0,
    supersedes: int | None = None,
) -> None:
    """Open a case of a series that waits for its images."""
    row = {
        "series_instance_uid": series_uid,
        "part": part,
        "supersedes": supersedes,
        "state": State.RECEIVING,
        "priority": Priority.PENDING,
        "due_at": due_at,
    }
    db.execute(case.insert(), row)


def open_further(db: sa.Connection, first: Case, count: int, now: datetime) -> None:
    """Open a case for each part of a series beyond the first, as `Cases.open_parts` says."""
    uid = first.series_instance_uid
    of_series = series.c.series_instance_uid == uid
    last = db.execute(sa.select(series.c.last_received_at).where(of_series)).scalar_one()
    cases = sa.select(case).where(case.c.series_instance_uid == uid, case.c.part > 0)
    newest = {row.part: row for row in db.execute(cases.order_by(case.c.id))}
    for part in range(1, max(count, *(known + 1 for known in newest), 0)):
        old = newest.get(part)
        if old is None:
            open_case(db, uid, now, part=part)
        elif old.state is not State.RECEIVING and old.last_slice_at != last:
            open_case(db, uid, now, part=part, supersedes=old.id)
            cancel_superseded(db, old.id)
            note(db, "reopened by a late slice", first.study_instance_uid, old.id, now)
