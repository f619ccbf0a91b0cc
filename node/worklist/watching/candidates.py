"""Which cases the shadow is to read: those that the live bundle of its run has read.

The functions are for a transaction; `begun` and `first_of` hold the row that they return.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.case_folder import case_folder
from node.records import Header
from node.states import State
from node.worklist.running.leases import is_free
from node.worklist.schema.bundle_tables import shadow_reading
from node.worklist.schema.tables import case, event, instance, series
from node.worklist.schema.watch_tables import is_no_canary
from node.worklist.studies.chains import NOT_SUPERSEDED, WITHDRAWS
from node.worklist.watching.compared import RESULTS, Due, Run, Told

_mine = shadow_reading.c


def _cases() -> sa.Select[Any]:
    """Return cases with what the live bundle said of them, and whether their files are gone."""
    of_series = instance.c.series_instance_uid == case.c.series_instance_uid
    gone = sa.select(instance.c.id).where(of_series, instance.c.purged_at.is_not(None))
    header = sa.select(instance.c.header).where(of_series).order_by(instance.c.id).limit(1)
    began = sa.select(sa.func.max(event.c.at)).where(
        event.c.case_id == case.c.id, event.c.what == "reading begun"
    )
    purged = sa.or_(gone.correlate(case).exists(), case.c.purged_at.is_not(None))
    return (
        sa.select(
            case,
            series.c.study_instance_uid,
            purged.label("is_purged"),
            header.correlate(case).scalar_subquery().label("header"),
            began.correlate(case).scalar_subquery().label("began_at"),
        )
        .select_from(case)
        .join(series)
    )


def begun(db: sa.Connection, run: Run, now: datetime) -> sa.Row[Any] | None:
    """Return a case that was begun, and that nobody holds."""
    query = (
        _cases()
        .add_columns(_mine.attempts.label("begun"))
        .join(shadow_reading, _mine.case_id == case.c.id)
        .where(_mine.run_id == run.id, _mine.result.is_(None), is_free(shadow_reading, now))
        .order_by(case.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=shadow_reading)
    )
    return db.execute(query).one_or_none()


def first_of(db: sa.Connection, run: Run, since: datetime) -> sa.Row[Any] | None:
    """Return the first case that was reported since then, and was not begun."""
    had = sa.exists().where(_mine.run_id == run.id, _mine.case_id == case.c.id)
    live = str(run.live)
    query = (
        _cases()
        .add_columns(sa.null().label("begun"))
        .where(
            case.c.state.in_((State.REPORTED, State.DELIVERED)),
            case.c.priority.in_(tuple(RESULTS)),
            case.c.assembled_at.is_not(None),
            case.c.reported_at >= since,
            sa.or_(
                case.c.bundle.is_(None),
                case.c.bundle == live,
                case.c.bundle.startswith(f"{live}+", autoescape=True),  # with another choice
            ),
            NOT_SUPERSEDED,
            ~WITHDRAWS,
            is_no_canary(series.c.study_instance_uid),
            ~had,
        )
        .order_by(case.c.reported_at, case.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=case)
    )
    return db.execute(query).one_or_none()


def due_of(run: Run, row: sa.Row[Any]) -> Due:
    """Return what the shadow is to read, from a row of `begun` or `first_of`."""
    took = row.triaged_at and row.began_at and (row.triaged_at - row.began_at).total_seconds()
    live = Told(
        result=RESULTS[row.priority],
        reason=row.reason or "",
        probability=row.probability,
        uncertain=row.uncertain,
        volume_ml=row.volume_ml,
        seconds=took if took and took > 0 else None,
        subtypes=row.subtypes,
        limitations=tuple(row.limitations),
    )
    header = Header.from_json(row.header)
    where = row.id, case_folder(row.id), row.study_instance_uid
    return Due(run.id, *where, live, header, (row.begun or 0) + 1)
