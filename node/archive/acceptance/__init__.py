"""The acceptance report: what the node does on a department's own patients, against its limits.

The door of this room. Statistics and drawing are apart: `acceptance_report` gives
JSON, `report_page` draws it.
"""

from node.archive.acceptance.key_slices import key_pictures
from node.archive.acceptance.limits import EXAMPLE, Limits, read_limits
from node.archive.acceptance.page import report_page, shown
from node.archive.acceptance.report import acceptance_report

__all__ = [
    "EXAMPLE",
    "Limits",
    "acceptance_report",
    "key_pictures",
    "read_limits",
    "report_page",
    "shown",
]
