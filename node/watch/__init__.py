"""The watch after go-live: radiologists' reports beside the node's results.

The door: `report_takers` for who listens, `forget_strays` for the node's jobs.
"""

from node.watch.reports import forget_strays, report_takers

__all__ = ["forget_strays", "report_takers"]
