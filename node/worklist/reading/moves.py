"""What an outcome of a stage writes in the row of its case."""

from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.outcomes import Failed, NotAnalysed, Planned, Reported, Skipped, Triaged
from node.records import Case, Closing, Scan
from node.states import Priority, State
from node.worklist.running.leases import FREE, FRESH
from node.worklist.schema.tables import case, series

Move = Skipped | Planned | NotAnalysed | Triaged | Reported | Failed
"""The outcomes that move a case to another state."""

_READ = (Priority.SUSPECTED, Priority.NOT_SUSPECTED)

_STAGE_TIME = {
    State.ASSEMBLED: "assembled_at",
    State.TRIAGED: "triaged_at",
    State.REPORTED: "reported_at",
}
NOTED = (
    *("priority", "probability", "operating_point", "uncertain", "bundle", "reason_code"),
    "compared",
)
"""What of an outcome stands in the history of its study."""


def moved(done: Case, outcome: Move, now: datetime) -> dict[str, Any]:
    """Return the columns that every move sets: the state, and when what was done."""
    changes: dict[str, Any] = {"state": outcome.state, **FRESH, "due_at": now, **FREE}
    if outcome.state in _STAGE_TIME:
        changes[_STAGE_TIME[outcome.state]] = now
    if outcome.state is State.REPORTED:
        changes |= {"catalogued": False, "purged_at": None}
    if done.state is State.RECEIVING:
        changes["last_slice_at"] = (
            sa.select(series.c.last_received_at)
            .where(series.c.series_instance_uid == done.series_instance_uid)
            .scalar_subquery()
        )
    priority = _priority(done, outcome)
    if priority is not None:
        flagged = sa.func.coalesce(case.c.flagged_at, now)
        changes |= {"priority": priority, "flagged_at": flagged}
    return changes


def _priority(done: Case, outcome: Move) -> Priority | None:
    """Return the priority to set, None to keep the case's.

    A case that was read keeps its result when a later stage fails: a replay from there needs it.
    """
    match outcome:
        case Triaged() | NotAnalysed():
            return outcome.priority
        case Failed() if done.priority in _READ:
            return None
        case Skipped() | Failed():
            return Priority.NOT_ANALYSED
        case Planned() | Reported():
            return None


_ELSEWHERE = ("priority", "operating_point", "closing", "preferred", "scan", "owed", "compared")
"""Fields of outcomes that are no column of their own."""


def said(outcome: Move) -> dict[str, Any]:
    """Return the columns that hold what an outcome says; other fields bear their columns' names.

    A field that is None or empty keeps its column. Only the limitations of a reading are always
    set: one that has none may follow one that had some.
    """
    names = {field.name for field in fields(outcome)} - set(_ELSEWHERE)
    found = {name: value for name in names if (value := getattr(outcome, name)) not in (None, ())}
    if isinstance(outcome, Triaged):
        found["limitations"] = outcome.limitations
    if isinstance(outcome, Skipped):
        winner = outcome.preferred
        found |= dict.fromkeys(("closed_at", "closed_by", "saved_s"))
        found |= {"preferred_series_uid": winner and winner.series_instance_uid}
        found |= {"preferred_by": winner and winner.line}
    scan: Scan | None = getattr(outcome, "scan", None)
    if scan:
        found |= {"scan": scan.name, "acquired": scan.acquired}
    closing: Closing | None = getattr(outcome, "closing", None)
    if closing:
        found |= {"closed_at": closing.at, "closed_by": closing.why, "saved_s": closing.saved_s}
    return found
