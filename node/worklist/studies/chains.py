"""The chain of a series' cases, and what may be asked of it in vain."""

import sqlalchemy as sa

from node.errors import Permanent
from node.worklist.schema.tables import case

_newer = case.alias("newer")
NOT_SUPERSEDED = ~sa.exists().where(_newer.c.supersedes == case.c.id)


class IllegalMove(Permanent):
    """`node.states.TRANSITIONS`, or a rule of replays, does not have this move."""


class NotFound(Permanent):
    """The worklist has no such study or case."""
