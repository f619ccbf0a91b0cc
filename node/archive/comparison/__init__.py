"""What changes for a department's own studies if it takes a new bundle: two proofs, study by study.

The door of this room. What a study was in truth, and the figures of each proof, are those of
`node.archive.acceptance`.
"""

from node.archive.comparison.again import begin_again
from node.archive.comparison.page import Pictures, comparison_page, pictures_of
from node.archive.comparison.report import comparison
from node.archive.comparison.sides import Side, Sides, read_sides

__all__ = [
    "Pictures",
    "Side",
    "Sides",
    "begin_again",
    "comparison",
    "comparison_page",
    "pictures_of",
    "read_sides",
]
