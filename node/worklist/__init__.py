"""The node's memory: one SQL database, SQLite or PostgreSQL. All the SQL there is stands here."""

from node.worklist.accounts import Account, Accounts, BadName, NoAccount, Session, login
from node.worklist.announcements import Announcements, Step
from node.worklist.arrivals import Arrivals
from node.worklist.audit import Actor, Audit, Entry
from node.worklist.cases import Cases
from node.worklist.chains import IllegalMove, NotFound
from node.worklist.columns import Decision, Deed, DeliveryStatus, Mistake, Role
from node.worklist.corrections import Correction
from node.worklist.database import upgrade
from node.worklist.events import Event
from node.worklist.feedback import Feedback, NothingToUndo, Opinion, Outdated, Said
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
from node.worklist.studies import Listed
from node.worklist.telling import EscalationStep, Tell
from node.worklist.views import Views
from node.worklist.worklist import Worklist

__all__ = [
    "READ_ELSEWHERE",
    "Account",
    "Accounts",
    "Actor",
    "Announcements",
    "Arrival",
    "Arrivals",
    "Audit",
    "BadName",
    "Cases",
    "Correction",
    "Decision",
    "Deed",
    "DeliveryLine",
    "DeliveryStatus",
    "EscalationStep",
    "Entry",
    "Event",
    "Feedback",
    "IllegalMove",
    "LeaseLost",
    "Listed",
    "Listing",
    "Mark",
    "Mistake",
    "NoAccount",
    "NotFound",
    "NothingToUndo",
    "Opinion",
    "Outbox",
    "PatientStudy",
    "Patients",
    "Outdated",
    "Quarantine",
    "Quarantined",
    "Role",
    "Row",
    "Said",
    "ScanLine",
    "Session",
    "Signature",
    "Standing",
    "Step",
    "Tell",
    "Views",
    "Worklist",
    "claimant",
    "in_order",
    "login",
    "speaking_for_study",
    "upgrade",
]
