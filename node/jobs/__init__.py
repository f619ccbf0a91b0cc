"""What the node does by the clock: it looks after itself.

The door: `scheduled` around the role that does it.
"""

from node.jobs.agenda import scheduled

__all__ = ["scheduled"]
