"""The chain of a series' cases, which of them withdraw others, and what may be asked in vain."""

from typing import Any

import sqlalchemy as sa

from node.errors import Permanent
from node.records import Withdrawal
from node.worklist.schema.people_tables import withdrawal
from node.worklist.schema.tables import case

_newer = case.alias("newer")
NOT_SUPERSEDED = ~sa.exists().where(_newer.c.supersedes == case.c.id)
WITHDRAWS = sa.exists().where(withdrawal.c.case_id == case.c.id)
"""The case withdraws the results of those that it supersedes."""
WITHDRAWAL = (
    withdrawal.c.who.label("withdrawn_by"),
    withdrawal.c.why.label("withdrawn_why"),
    withdrawal.c.at.label("withdrawn_at"),
)
"""The columns of which `withdrawal_of` makes a record."""


def withdrawal_of(row: sa.Row[Any]) -> Withdrawal | None:
    """Return the withdrawal that the row of a case has; None if it has none."""
    if row.withdrawn_at is None:
        return None
    return Withdrawal(row.withdrawn_by, row.withdrawn_why, row.withdrawn_at)


class IllegalMove(Permanent):
    """`node.states.TRANSITIONS`, or a rule of replays, does not have this move."""


class NotFound(Permanent):
    """The worklist has no such study or case."""
