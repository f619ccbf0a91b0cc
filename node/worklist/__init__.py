"""The node's memory: one SQL database, SQLite or PostgreSQL. All the SQL there is stands here."""

from node.worklist.announcements import Announcements, Step
from node.worklist.arrivals import Arrivals
from node.worklist.cases import Cases
from node.worklist.chains import IllegalMove, NotFound
from node.worklist.corrections import Correction
from node.worklist.database import upgrade
from node.worklist.events import Event
from node.worklist.feedback import Disagreement, Feedback, NothingToUndo, Opinion, Outdated, Said
from node.worklist.filing import Arrival
from node.worklist.leases import LeaseLost, claimant
from node.worklist.listing import Listing, Mark
from node.worklist.outbox import Outbox
from node.worklist.patients import Patients, PatientStudy
from node.worklist.quarantine import Quarantine, Quarantined, Signature, Standing
from node.worklist.rows import (
    READ_ELSEWHERE,
    DeliveryLine,
    Row,
    ScanLine,
    in_order,
    speaking_for_study,
)
from node.worklist.statistics import Counted, DestinationLine, JobLine, Queued, Statistics
from node.worklist.studies import Listed
from node.worklist.tables import Decision, DeliveryStatus, Mistake
from node.worklist.telling import EscalationStep, Tell
from node.worklist.unsent import Unsent
from node.worklist.views import Views
from node.worklist.worklist import Worklist

__all__ = [
    "READ_ELSEWHERE",
    "Announcements",
    "Arrival",
    "Arrivals",
    "Cases",
    "Correction",
    "Counted",
    "Decision",
    "DeliveryLine",
    "DeliveryStatus",
    "DestinationLine",
    "Disagreement",
    "EscalationStep",
    "Event",
    "Feedback",
    "IllegalMove",
    "JobLine",
    "LeaseLost",
    "Listed",
    "Listing",
    "Mark",
    "Mistake",
    "NotFound",
    "NothingToUndo",
    "Opinion",
    "Outbox",
    "PatientStudy",
    "Patients",
    "Outdated",
    "Quarantine",
    "Quarantined",
    "Queued",
    "Row",
    "Said",
    "ScanLine",
    "Signature",
    "Standing",
    "Statistics",
    "Step",
    "Tell",
    "Unsent",
    "Views",
    "Worklist",
    "claimant",
    "in_order",
    "speaking_for_study",
    "upgrade",
]
