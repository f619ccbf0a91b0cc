"""Steps of the clock: when it is set back, what was due or had come before is reckoned anew.

Nothing in the database says how long ago a time was but the clock. After a step back, times that
were written before it lie in the future, and would hold whatever waits for them.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from node.worklist.schema.columns import Utc
from node.worklist.schema.database import insert
from node.worklist.schema.running_tables import clock, unreachable
from node.worklist.schema.tables import (
    announcement,
    case,
    commitment,
    delivery,
    instance,
    procedure_step,
    series,
    study,
)

SMALLEST = timedelta(seconds=30)
"""A step back from which times are reckoned anew. A process may tell its time that much late, since
it waits for its turn to write; less holds nobody up."""

_TABLES = (
    *(study, series, instance, case, delivery, unreachable, announcement, procedure_step),
    commitment,
)
"""What work is measured by. The event table, the audit trail and messages keep what they said, and
so does the node's word to keep an object until a day."""


def reckon(db: sa.Connection, now: datetime) -> timedelta:
    """Note the time; if it was later before, set back what lies after `now` by the difference.

    Only the first who tells of a step does so. The result is the step, zero if there was none.
    """
    before: datetime | None = db.scalar(sa.select(clock.c.at).with_for_update())
    step = before - now if before is not None else timedelta(0)
    if before is None:
        db.execute(insert(db, clock).values(id=1, at=now).on_conflict_do_nothing())
    elif step < timedelta(0) or step >= SMALLEST:
        db.execute(clock.update().values(at=now))
    if step < SMALLEST:
        return timedelta(0)
    for table in _TABLES:
        _set_back(db, table, step, now)
    return step


def _set_back(db: sa.Connection, table: sa.Table, step: timedelta, now: datetime) -> None:
    """Set back the times of a table that lie after `now`: those of the span of the step."""
    times = [
        column
        for column in table.c
        if isinstance(column.type, Utc) and column is not instance.c.committed_until
    ]
    keys = list(table.primary_key)
    later = sa.or_(*(column > now for column in times))
    for row in db.execute(sa.select(*keys, *times).where(later)).mappings().all():
        moved = {t.name: row[t.name] - step for t in times if row[t.name] and row[t.name] > now}
        mine = sa.and_(*(key == row[key.name] for key in keys))
        db.execute(table.update().where(mine).values(moved))
