"""A case as a row, and what is set back where a person, or the node, has it run again."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.case_folder import case_folder
from node.records import Case
from node.states import Priority, State
from node.worklist.running.leases import FREE, FRESH
from node.worklist.schema.tables import case, instance
from node.worklist.studies.chains import IllegalMove, withdrawal_of


def require_replayable(db: sa.Connection, old: Case, to: State) -> None:
    """Raise IllegalMove if no replay of the case starts from that state."""
    if to not in (State.RECEIVING, State.ASSEMBLED, State.TRIAGED):
        raise IllegalMove(f"case {old.id}: no replay starts from {to}")
    by = successor(db, old.id)
    if by is not None:
        raise IllegalMove(f"case {old.id} was superseded by case {by}: replay that one")
    _require_files(db, old, to)
    read = sa.select(case.c.triaged_at).where(case.c.id == old.id)
    if to is State.TRIAGED and db.execute(read).scalar() is None:
        raise IllegalMove(f"case {old.id} was not read, so there is no result to report")
    chosen = sa.select(case.c.assembled_at).where(case.c.id == old.id)
    if to is State.ASSEMBLED and db.execute(chosen).scalar() is None:
        raise IllegalMove(f"case {old.id} was not chosen to be read: replay it from assemble")


def is_purged(db: sa.Connection, series_uid: str) -> bool:
    """Return whether an object of a series was purged and did not come again."""
    of_series = instance.c.series_instance_uid == series_uid
    gone = sa.select(instance.c.id).where(of_series, instance.c.purged_at.is_not(None))
    return db.execute(gone.limit(1)).first() is not None


def _require_files(db: sa.Connection, old: Case, to: State) -> None:
    of_series = instance.c.series_instance_uid == old.series_instance_uid
    newest = sa.select(sa.func.max(instance.c.purged_at)).where(of_series)
    if (purged := db.scalar(newest)) is not None:
        raise IllegalMove(
            f"case {old.id}: its pixels were purged on {purged:%Y-%m-%d}; send the series again, "
            "then replay it"
        )
    made = sa.select(case.c.purged_at).where(case.c.id == old.id)
    if to is not State.RECEIVING and db.scalar(made) is not None:
        raise IllegalMove(f"case {old.id}: its results were purged: replay it from assemble")


def successor(db: sa.Connection, case_id: int) -> int | None:
    """Return the number of the case that supersedes this one, None if none does."""
    return db.execute(sa.select(case.c.id).where(case.c.supersedes == case_id)).scalar()


def set_back(old: Case, to: State, now: datetime) -> dict[str, Any]:
    """Return the columns of a case that starts again from a state; a suspicion stays shown."""
    back: dict[str, Any] = {"state": to, **FRESH, "due_at": now, **FREE}
    back |= dict.fromkeys(("reported_at", "delivered_at"))
    if to is State.TRIAGED and old.priority is Priority.NOT_ANALYSED:
        return back  # read in part: the reason belongs to the reading
    back |= dict.fromkeys(("reason_code", "reason"))
    if to is State.TRIAGED:
        return back
    back |= {"triaged_at": None}
    if to is State.RECEIVING:
        back |= {"assembled_at": None}
    if old.priority is not Priority.SUSPECTED:
        result = ("probability", "uncertainty", "volume_ml", "key_slice_sop_instance_uid")
        back |= {"priority": Priority.PENDING, "uncertain": False, "subtypes": {}}
        back |= dict.fromkeys((*result, "flagged_at"))
    return back


def case_of(row: sa.Row[Any]) -> Case:
    """Return a case from its row, which has the study of its series and its withdrawal too."""
    return Case(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        state=row.state,
        priority=row.priority,
        attempts=row.attempts,
        interruptions=row.interruptions,
        folder=case_folder(row.id),
        supersedes=row.supersedes,
        reason_code=row.reason_code,
        reason=row.reason,
        part=row.part,
        withdrawal=withdrawal_of(row),
    )
