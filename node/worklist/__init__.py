"""The node's memory: one SQL database, SQLite or PostgreSQL. All the SQL there is stands here."""

from node.worklist.announcements import Announcements, Step
from node.worklist.archive import (
    Archive,
    ArchivedObject,
    Entry,
    Found,
    Level,
    Query,
    Unlisted,
    UnlistedReport,
    Value,
    matched,
)
from node.worklist.arrivals import Arrivals
from node.worklist.cases import Cases, IllegalMove, NotFound
from node.worklist.database import upgrade
from node.worklist.events import Event
from node.worklist.filing import Arrival
from node.worklist.leases import LeaseLost, claimant
from node.worklist.matching import BadQuery
from node.worklist.outbox import Outbox
from node.worklist.quarantine import Quarantine, Quarantined, Signature, Standing
from node.worklist.rows import READ_ELSEWHERE, DeliveryLine, Row, ScanLine, speaking_for_study
from node.worklist.tables import Decision, DeliveryStatus
from node.worklist.views import Views
from node.worklist.worklist import Worklist

__all__ = [
    "READ_ELSEWHERE",
    "Announcements",
    "Archive",
    "ArchivedObject",
    "Arrival",
    "Arrivals",
    "BadQuery",
    "Cases",
    "Decision",
    "DeliveryLine",
    "DeliveryStatus",
    "Entry",
    "Event",
    "Found",
    "IllegalMove",
    "LeaseLost",
    "Level",
    "NotFound",
    "Outbox",
    "Quarantine",
    "Quarantined",
    "Query",
    "Row",
    "ScanLine",
    "Signature",
    "Standing",
    "Step",
    "Unlisted",
    "UnlistedReport",
    "Value",
    "Views",
    "Worklist",
    "claimant",
    "matched",
    "speaking_for_study",
    "upgrade",
]
