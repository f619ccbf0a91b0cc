"""The node's memory: one SQL database, SQLite or PostgreSQL. All the SQL there is stands here."""

from node.worklist.arriving.announcements import Announcements, Step
from node.worklist.arriving.arrivals import Arrivals
from node.worklist.arriving.lookup import Arrival
from node.worklist.arriving.patients import Patients, PatientStudy
from node.worklist.arriving.quarantine import Quarantine, Quarantined, Signature, Standing
from node.worklist.keeping.needs import Kept
from node.worklist.keeping.retention import Purge, Retention
from node.worklist.people.accounts import Account, Accounts, BadName, NoAccount, Session, login
from node.worklist.people.feedback import (
    Disagreement,
    Feedback,
    NothingToUndo,
    Opinion,
    Outdated,
    Said,
)
from node.worklist.querying.archive import (
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
from node.worklist.querying.matching import BadQuery
from node.worklist.reading.cases import Cases
from node.worklist.reading.retractions import Retraction, Retractions, Taken
from node.worklist.running.alarms import Alarm, Alarms
from node.worklist.running.jobs import JobLine, Jobs
from node.worklist.running.leases import LeaseLost, claimant, lease_kept
from node.worklist.running.processes import Process, Processes
from node.worklist.schema.columns import (
    Decided,
    Decision,
    Deed,
    DeliveryStatus,
    Mistake,
    Released,
    Role,
    ShadowResult,
)
from node.worklist.schema.copies import backup, require_sound, restore
from node.worklist.schema.database import upgrade
from node.worklist.schema.inspection import FileOfRow, Inspection
from node.worklist.sending.commitments import Commitments, DeadReports, Duty, Held
from node.worklist.sending.confirmations import Confirmations, Settled, Stored
from node.worklist.sending.deliveries import Deliveries
from node.worklist.sending.outbox import Outbox
from node.worklist.sending.pauses import Paused
from node.worklist.sending.telling import EscalationStep, Tell
from node.worklist.sending.unreachable import Unreachable
from node.worklist.sending.unsent import Unsent
from node.worklist.studies.chains import IllegalMove, NotFound
from node.worklist.studies.corrections import Correction
from node.worklist.studies.listing import Listing, Mark
from node.worklist.studies.open_cases import OPEN, OpenCase
from node.worklist.studies.rows import (
    READ_ELSEWHERE,
    DeliveryLine,
    Row,
    ScanLine,
    in_order,
    speaking_for_study,
)
from node.worklist.studies.statistics import Counted, DestinationLine, Queued, Statistics
from node.worklist.studies.studies import Listed
from node.worklist.studies.views import Views
from node.worklist.trail.audit import CERTIFICATE, Actor, Audit, AuditEntry, AuditLine
from node.worklist.trail.events import Event
from node.worklist.watching.canaries import ALARM as CANARY_ALARM
from node.worklist.watching.canaries import Canaries, Canary, CanaryStanding, Finding
from node.worklist.watching.charts import ChartCounts, ChartDecision, ChartLine, Charts
from node.worklist.watching.compared import RESULTS as SHADOW_RESULTS
from node.worklist.watching.compared import Compared, Due, Run, Told
from node.worklist.watching.coverage import Coverage
from node.worklist.watching.gaps import Gap, Known, Round, SourceLine, Uncovered
from node.worklist.watching.gaps import Standing as CoverageStanding
from node.worklist.watching.releases import Bundle, Release, Releases, standing_promotion
from node.worklist.watching.reports import KeptReport, ReportCounts, Reports, Stray
from node.worklist.watching.shadows import ATTEMPTS as SHADOW_ATTEMPTS
from node.worklist.watching.shadows import Shadows
from node.worklist.worklist import Worklist

__all__ = [
    "OPEN",
    "Account",
    "Accounts",
    "CANARY_ALARM",
    "CERTIFICATE",
    "Actor",
    "Alarm",
    "Alarms",
    "Announcements",
    "Archive",
    "ArchivedObject",
    "Arrival",
    "Arrivals",
    "Bundle",
    "Audit",
    "AuditEntry",
    "AuditLine",
    "BadName",
    "BadQuery",
    "Canaries",
    "Canary",
    "CanaryStanding",
    "Cases",
    "ChartCounts",
    "ChartDecision",
    "ChartLine",
    "Charts",
    "Compared",
    "Commitments",
    "Confirmations",
    "Correction",
    "Counted",
    "Coverage",
    "CoverageStanding",
    "Decided",
    "Decision",
    "DeadReports",
    "Deed",
    "Deliveries",
    "DeliveryLine",
    "DeliveryStatus",
    "DestinationLine",
    "Disagreement",
    "Due",
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
    "KeptReport",
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
    "ReportCounts",
    "Release",
    "Released",
    "Releases",
    "Reports",
    "Retention",
    "Retraction",
    "Retractions",
    "Role",
    "Round",
    "Row",
    "Run",
    "SHADOW_ATTEMPTS",
    "SHADOW_RESULTS",
    "Said",
    "ScanLine",
    "Session",
    "Settled",
    "ShadowResult",
    "Shadows",
    "Signature",
    "SourceLine",
    "Standing",
    "Statistics",
    "Step",
    "Stored",
    "Stray",
    "Taken",
    "Tell",
    "Told",
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
    "lease_kept",
    "login",
    "matched",
    "require_sound",
    "restore",
    "speaking_for_study",
    "standing_promotion",
    "upgrade",
]
