"""The audit trail beyond the worklist: reads are noted in batches, and rows told to a collector."""

from node.audit.forward import forwarding
from node.audit.message import dicom_message
from node.audit.syslog import reach
from node.audit.trail import MOVE_TO, Trail, noted_or_logged, query_words

__all__ = [
    "MOVE_TO",
    "Trail",
    "dicom_message",
    "forwarding",
    "noted_or_logged",
    "query_words",
    "reach",
]
