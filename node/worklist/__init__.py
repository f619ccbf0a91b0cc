"""The node's memory: one SQL database, SQLite or PostgreSQL. All the SQL there is stands here."""

from node.worklist.accounts import Account, Accounts, BadName, NoAccount, Session, login
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
from node.worklist.audit import Actor, Audit, AuditEntry, AuditLine
from node.worklist.canaries import Alarm, Canaries, Canary, CanaryStanding, Finding
from node.worklist.cases import Cases
from node.worklist.chains import IllegalMove, NotFound
from node.worklist.columns import Decision, Deed, DeliveryStatus, Mistake, Role
from node.worklist.commitments import Commitments, DeadReports, Duty, Held
from node.worklist.confirmations import Confirmations, Settled, Stored
from node.worklist.copies import backup, require_sound, restore
from node.worklist.corrections import Correction
from node.worklist.coverage import Coverage, Gap, Known, Round, SourceLine, Uncovered
from node.worklist.coverage import Standing as CoverageStanding
from node.worklist.database import upgrade
from node.worklist.events import Event
from node.worklist.feedback import Disagreement, Feedback, NothingToUndo, Opinion, Outdated, Said
from node.worklist.filing import Arrival
from node.worklist.inspection import FileOfRow, Inspection
from node.worklist.jobs import JobLine, Jobs
from node.worklist.leases import LeaseLost, claimant
from node.worklist.listing import Listing, Mark
from node.worklist.matching import BadQuery
from node.worklist.open_cases import OPEN, OpenCase
from node.worklist.outbox import Outbox
from node.worklist.patients import Patients, PatientStudy
from node.worklist.pauses import Paused
from node.worklist.processes import Process, Processes
from node.worklist.quarantine import Quarantine, Quarantined, Signature, Standing
from node.worklist.retention import Kept, Purge, Retention
from node.worklist.rows import (
    READ_ELSEWHERE,
    DeliveryLine,
    Row,
    ScanLine,
    in_order,
    speaking_for_study,
)
from node.worklist.statistics import Counted, DestinationLine, Queued, Statistics
from node.worklist.studies import Listed
from node.worklist.telling import EscalationStep, Tell
from node.worklist.unreachable import Unreachable
from node.worklist.unsent import Unsent
from node.worklist.views import Views
from node.worklist.worklist import Worklist

__all__ = [
    "OPEN",
    "Account",
    "Accounts",
    "Actor",
    "Alarm",
    "Announcements",
    "Archive",
    "ArchivedObject",
    "Arrival",
    "Arrivals",
    "Audit",
    "AuditEntry",
    "AuditLine",
    "BadName",
    "BadQuery",
    "Canaries",
    "Canary",
    "CanaryStanding",
    "Cases",
    "Commitments",
    "Confirmations",
    "Correction",
    "Counted",
    "Coverage",
    "CoverageStanding",
    "Decision",
    "DeadReports",
    "Deed",
    "DeliveryLine",
    "DeliveryStatus",
    "DestinationLine",
    "Disagreement",
    "Entry",
    "Duty",
    "EscalationStep",
    "Event",
    "Feedback",
    "FileOfRow",
    "Finding",
    "Found",
    "Held",
    "Inspection",
    "IllegalMove",
    "JobLine",
    "Jobs",
    "Kept",
    "Gap",
    "IllegalMove",
    "JobLine",
    "Jobs",
    "Known",
    "LeaseLost",
    "Level",
    "Listed",
    "Listing",
    "Mark",
    "Mistake",
    "NoAccount",
    "NotFound",
    "NothingToUndo",
    "OpenCase",
    "Opinion",
    "Outbox",
    "Outdated",
    "PatientStudy",
    "Patients",
    "Paused",
    "Process",
    "Processes",
    "Purge",
    "Quarantine",
    "Quarantined",
    "Query",
    "Queued",
    "READ_ELSEWHERE",
    "Retention",
    "Role",
    "Round",
    "Row",
    "Said",
    "ScanLine",
    "Session",
    "Settled",
    "Signature",
    "SourceLine",
    "Standing",
    "Statistics",
    "Step",
    "Stored",
    "Tell",
    "Uncovered",
    "Unlisted",
    "UnlistedReport",
    "Unreachable",
    "Unsent",
    "Value",
    "Views",
    "Worklist",
    "backup",
    "claimant",
    "in_order",
    "login",
    "matched",
    "require_sound",
    "restore",
    "speaking_for_study",
    "upgrade",
]
