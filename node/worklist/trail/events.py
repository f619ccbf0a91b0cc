"""The append-only record of what happened to a study. It holds no identity."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.worklist.schema.tables import event


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the record."""

    at: datetime
    what: str
    study_instance_uid: str | None
    case_id: int | None
    detail: Mapping[str, Any]


def note(
    db: sa.Connection,
    what: str,
    study_uid: str | None,
    case_id: int | None,
    now: datetime,
    **detail: object,
) -> None:
    """Append a line; values that are None are left out."""
    kept = {name: value for name, value in detail.items() if value is not None}
    line = {"at": now, "what": what, "study_instance_uid": study_uid, "case_id": case_id}
    db.execute(event.insert(), {**line, "detail": kept})


def of_study(db: sa.Connection, study_uid: str) -> list[Event]:
    """Return what happened to a study, oldest first."""
    query = sa.select(event).where(event.c.study_instance_uid == study_uid).order_by(event.c.id)
    return [
        Event(r.at, r.what, r.study_instance_uid, r.case_id, r.detail) for r in db.execute(query)
    ]
