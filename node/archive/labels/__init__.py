"""Labels of head CTs from their reports: whether it bleeds, and the sentence that says so.

The door of this room. Everything is by rules that a person can read: the vocabularies are files,
and each label names its rule and the words that it rests on.
"""

from node.archive.labels.labeller import Label, Labeller
from node.archive.labels.oru import Report, reports_of
from node.archive.labels.reports_file import Reports, Row, read_reports
from node.archive.labels.table import Labelled, label_rows, write_labels
from node.archive.labels.vocabulary import vocabularies
from node.reported import Answer

__all__ = [
    "Answer",
    "Label",
    "Labelled",
    "Labeller",
    "Report",
    "Reports",
    "Row",
    "label_rows",
    "read_reports",
    "reports_of",
    "vocabularies",
    "write_labels",
]
