"""What a proof holds of each study, put together: its result, the label of its report, its images.

The door of this room. The folder is called the proof; `docs/archive.md` lists its files.
"""

from node.archive.evidence.found import Found, read_found
from node.archive.evidence.images import (
    WINDOWS,
    Head,
    encoded,
    mask_picture,
    read_head,
    slice_picture,
)
from node.archive.evidence.joined import Joined, Study, read_joined
from node.archive.evidence.labelled import LabelOf, Labels, read_labels
from node.archive.evidence.outcomes import ANALYSED, Outcome, Result, read_outcomes

__all__ = [
    "ANALYSED",
    "WINDOWS",
    "Found",
    "Head",
    "Joined",
    "LabelOf",
    "Labels",
    "Outcome",
    "Result",
    "Study",
    "encoded",
    "mask_picture",
    "read_found",
    "read_head",
    "read_joined",
    "read_labels",
    "read_outcomes",
    "slice_picture",
]
