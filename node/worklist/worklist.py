"""The worklist in one database, and its handles."""

from typing import Self

from node.worklist.arriving.announcements import Announcements
from node.worklist.arriving.arrivals import Arrivals
from node.worklist.arriving.patients import Patients
from node.worklist.arriving.quarantine import Quarantine
from node.worklist.keeping.retention import Retention
from node.worklist.people.accounts import Accounts
from node.worklist.people.feedback import Feedback
from node.worklist.querying.archive import Archive
from node.worklist.reading.cases import Cases
from node.worklist.reading.retractions import Retractions
from node.worklist.running.alarms import Alarms
from node.worklist.running.jobs import Jobs
from node.worklist.running.processes import Processes
from node.worklist.schema.database import Database, require_head
from node.worklist.schema.inspection import Inspection
from node.worklist.sending.commitments import Commitments
from node.worklist.sending.confirmations import Confirmations
from node.worklist.sending.deliveries import Deliveries
from node.worklist.sending.outbox import Outbox
from node.worklist.studies.listing import Listing
from node.worklist.studies.statistics import Statistics
from node.worklist.studies.views import Views
from node.worklist.trail.audit import Audit
from node.worklist.watching.canaries import Canaries
from node.worklist.watching.charts import Charts
from node.worklist.watching.coverage import Coverage
from node.worklist.watching.releases import Releases
from node.worklist.watching.reports import Reports
from node.worklist.watching.shadows import Shadows


class Worklist:
    """One open worklist database; threads may share it, each process opens its own.

    Each handle is what one kind of work needs. Every method of a handle is one transaction, and
    what it wrote is on disk when it returns. Time comes in as `now`, so that a test can let a lease
    run out. Any method may raise Retryable (the database is locked, full or out of reach) and
    Permanent (it refuses the values).

    Parameters
    ----------
    url
        SQLAlchemy URL, of SQLite or PostgreSQL.

    Attributes
    ----------
    arrivals
        For who brings objects.
    announcements
        For who tells how many images there are, or asks.
    quarantine
        For who decides about what was set aside.
    cases
        For the worker.
    retractions
        For who takes results back.
    outbox
        For who sends results.
    deliveries
        For who decides what becomes of what was not sent.
    commitments
        For who promises callers to keep objects.
    confirmations
        For who asks destinations to keep results.
    patients
        For the patient index.
    views
        For people.
    listing
        For a page that stays open.
    feedback
        For what people say of results.
    accounts
        For who lets people in.
    audit
        For who must tell later what people did.
    archive
        For who queries and retrieves what the node holds.
    statistics
        For who answers for the node.
    processes
        For a process of the node, and who asks which run.
    alarms
        For who watches the node, and tells of what is wrong.
    canaries
        For who tries the node by a phantom.
    coverage
        For who compares it with what an archive lists.
    reports
        For who takes radiologists' reports, and compares them with the results.
    charts
        For who charts the node's outcomes, and decides of alarms.
    releases
        For who decides which bundle reads.
    shadows
        For who reads in the shadow of the live bundle, and compares both.
    jobs
        For who does something again and again, and who asks after it.
    retention
        For who removes files.
    inspection
        For who checks an installation.

    Raises
    ------
    BadConfiguration
        If the database is not at this program's schema.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        try:
            require_head(self._database)
        except BaseException:
            self.close()
            raise
        self.arrivals = Arrivals(self._database)
        self.announcements = Announcements(self._database)
        self.quarantine = Quarantine(self._database)
        self.cases = Cases(self._database)
        self.retractions = Retractions(self._database)
        self.outbox = Outbox(self._database)
        self.deliveries = Deliveries(self._database)
        self.commitments = Commitments(self._database)
        self.confirmations = Confirmations(self._database)
        self.patients = Patients(self._database)
        self.views = Views(self._database)
        self.listing = Listing(self._database)
        self.feedback = Feedback(self._database)
        self.accounts = Accounts(self._database)
        self.audit = Audit(self._database)
        self.archive = Archive(self._database)
        self.statistics = Statistics(self._database)
        self.processes = Processes(self._database)
        self.alarms = Alarms(self._database)
        self.canaries = Canaries(self._database)
        self.coverage = Coverage(self._database)
        self.reports = Reports(self._database)
        self.charts = Charts(self._database)
        self.releases = Releases(self._database)
        self.shadows = Shadows(self._database)
        self.jobs = Jobs(self._database)
        self.retention = Retention(self._database)
        self.inspection = Inspection(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
