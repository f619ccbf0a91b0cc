"""The cases that are not done with: what each waits for, and what went wrong last."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.states import TRANSITIONS, Priority, State
from node.worklist.schema.tables import case, event, series, study
from node.worklist.studies.chains import NOT_SUPERSEDED, WITHDRAWS

OPEN = frozenset(state for state, moves in TRANSITIONS.items() if moves) | {State.FAILED}
"""The states in which something is still to be done, by the node or by a person."""


@dataclass(frozen=True, slots=True)
class OpenCase:
    """One case that is not done with; it names no patient.

    Attributes
    ----------
    due_at
        When its next step may begin.
    claimed_by
        The worker that holds it now; "" if none does.
    attempts
        How often its present step failed.
    said
        Why it is NOT_ANALYSED or FAILED; otherwise what went wrong in its last attempt.
    """

    case_id: int
    state: State
    priority: Priority
    study_instance_uid: str
    accession_number: str
    due_at: datetime
    claimed_by: str
    attempts: int
    said: str

    def to_json(self) -> dict[str, Any]:
        """Return the case as JSON prints it."""
        return {**asdict(self), "due_at": self.due_at.isoformat()}


def open_cases(db: sa.Connection, states: Collection[State]) -> list[OpenCase]:
    """Return the cases in these states by their age, without those that need not be done any more.

    Superseded ones need not, except withdrawals: those are reported all the same.
    """
    query = (
        sa.select(case, study.c.study_instance_uid, study.c.accession_number, _last_fault())
        .join_from(case, series, series.c.series_instance_uid == case.c.series_instance_uid)
        .join(study, study.c.study_instance_uid == series.c.study_instance_uid)
        .where(case.c.state.in_(states), sa.or_(NOT_SUPERSEDED, WITHDRAWS))
        .order_by(case.c.id)
    )
    return [
        OpenCase(
            case_id=row.id,
            state=row.state,
            priority=row.priority,
            study_instance_uid=row.study_instance_uid,
            accession_number=row.accession_number,
            due_at=row.due_at,
            claimed_by=row.claimed_by or "",
            attempts=row.attempts,
            said=row.reason or (row.fault or {}).get("reason", ""),
        )
        for row in db.execute(query)
    ]


def _last_fault() -> sa.Label[Any]:
    """Return the column that holds what was noted of the last failure of the present step."""
    return (
        sa.select(event.c.detail)
        .where(event.c.case_id == case.c.id, event.c.what.in_(("failed attempt", "interrupted")))
        .where(case.c.attempts + case.c.interruptions > 0)
        .order_by(event.c.id.desc())
        .limit(1)
        .scalar_subquery()
        .label("fault")
    )


def failed_in(db: sa.Connection, case_id: int) -> State:
    """Return the state from which a FAILED case goes on if it is tried again."""
    moves = (
        sa.select(event.c.detail)
        .where(event.c.case_id == case_id, event.c.what == "moved")
        .order_by(event.c.id.desc())
    )
    was = (db.execute(moves.limit(1)).scalar() or {}).get("was")
    return State(was) if was in (State.ASSEMBLED, State.TRIAGED) else State.RECEIVING
