"""The acceptance report: what the node does on a department's own patients, against its limits.

The door of this room. Statistics and drawing are apart: `acceptance_report` gives
JSON, `report_page` draws it. What it takes for the truth, its figures and its style are for
`node.archive.comparison`, too.
"""

from node.archive.acceptance.figures import (
    TOO_FEW,
    Bools,
    Counted,
    Figure,
    Floats,
    estimate,
    exact,
    wilson,
)
from node.archive.acceptance.key_slices import data_url, key_pictures, small_picture
from node.archive.acceptance.limits import EXAMPLE, Limits, read_limits
from node.archive.acceptance.page import page_templates, report_page, shown
from node.archive.acceptance.reference import PEOPLE, Member, Reference
from node.archive.acceptance.reference import reference as reference_standard
from node.archive.acceptance.report import acceptance_report
from node.archive.acceptance.rows import row
from node.archive.acceptance.strata import DIMENSIONS, OTHERS, values

__all__ = [
    "DIMENSIONS",
    "EXAMPLE",
    "OTHERS",
    "PEOPLE",
    "TOO_FEW",
    "Bools",
    "Counted",
    "Figure",
    "Floats",
    "Limits",
    "Member",
    "Reference",
    "acceptance_report",
    "data_url",
    "estimate",
    "exact",
    "key_pictures",
    "page_templates",
    "read_limits",
    "reference_standard",
    "report_page",
    "row",
    "shown",
    "small_picture",
    "values",
    "wilson",
]
