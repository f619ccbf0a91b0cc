"""The watch after go-live: radiologists' reports beside the node's results.

The door: `report_takers` for who listens, `forget_strays` for the node's jobs, `watched` and
`tallies` for people.
"""

from node.watch.agreement import Agreement, Tally, Watched, tallies, watched
from node.watch.reports import forget_strays, report_takers

__all__ = [
    "Agreement",
    "Tally",
    "Watched",
    "forget_strays",
    "report_takers",
    "tallies",
    "watched",
]
