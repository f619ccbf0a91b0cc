"""A case that withdraws a result: what it says, how it is reported again, and how read anew."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.records import Case, Withdrawal
from node.states import Priority, Reason, State
from node.worklist.reading.parts import open_case
from node.worklist.reading.setting_back import require_replayable, successor
from node.worklist.running.leases import FREE, FRESH
from node.worklist.studies.chains import IllegalMove
from node.worklist.trail.events import note


def withdrawn_again(withdrawal: Withdrawal, now: datetime) -> dict[str, Any]:
    """Return the columns of a case that is about to report a withdrawal, for the first time or not.

    Nothing is known of its series: it is NOT_ANALYSED, which is no negative.
    """
    return {
        "state": State.NOT_ANALYSED,
        "priority": Priority.NOT_ANALYSED,
        "reason_code": Reason.WITHDRAWN,
        "reason": str(withdrawal),
        "reported_at": None,
        "delivered_at": None,
        "due_at": now,
        **FRESH,
        **FREE,
    }


def read_anew(db: sa.Connection, old: Case, to: State, now: datetime) -> int:
    """Open a case that supersedes a withdrawal by a person's will; return its number.

    Raises
    ------
    IllegalMove
        If it was superseded, its images are gone, the replay does not start at its beginning, or
        its report is not made yet: then nobody would hear that the result was withdrawn.
    """
    require_replayable(db, old, to)
    if old.state not in (State.REPORTED, State.DELIVERED):
        raise IllegalMove(
            f"case {old.id}: its withdrawal is not reported yet; wait for it, or if it is FAILED "
            f"have it reported by `ichnode cases retry {old.id}`"
        )
    open_case(db, old.series_instance_uid, now, part=old.part, supersedes=old.id)
    opened = successor(db, old.id)
    assert opened is not None
    uid = old.study_instance_uid
    note(db, "read anew after a withdrawal", uid, opened, now, supersedes=old.id)
    return opened
