"""What the node does by the clock: it looks after itself.

The door: `scheduled` around the role that does it, and `purge_by_hand` for a person.
"""

from node.jobs.agenda import scheduled
from node.jobs.by_hand import purge_by_hand

__all__ = ["purge_by_hand", "scheduled"]
