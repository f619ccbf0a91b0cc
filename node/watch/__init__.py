"""The watch after go-live: radiologists' reports beside the node's results, and charts of outcomes.

The door: `report_takers` for who listens, `forget_strays` and `draw_charts` for the node's jobs,
`watched` and `tallies` for people, `Proven` for who reads. `draw_charts` brings scipy when it runs.
"""

from node.watch.agreement import Agreement, Tally, Watched, scanner_name, tallies, watched
from node.watch.proven import Proven
from node.watch.reports import forget_strays, report_takers
from node.watch.rounds import draw_charts

__all__ = [
    "Agreement",
    "Proven",
    "Tally",
    "Watched",
    "draw_charts",
    "forget_strays",
    "report_takers",
    "scanner_name",
    "tallies",
    "watched",
]
