"""Takes reports that come as HL7 ORU^R01: each is labelled, and only its label is kept."""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

from node.archive.labels import Labeller, Report, reports_of, vocabularies
from node.errors import BadConfiguration
from node.hl7 import Received
from node.identity import PatientIdentity
from node.log import event
from node.reported import Answer, ReportLabel, ReportOf
from node.settings import Settings
from node.visible import visible
from node.worklist import Reports

logger = logging.getLogger(__name__)

NO_TEXT = ReportLabel(Answer.CANNOT_TELL, "", "the message holds no text", "")


def report_takers(
    settings: Settings, reports: Reports, clock: Callable[[], datetime]
) -> dict[str, Callable[[Received, bytes], None]]:
    """Return who takes reports, by the kind of their messages; nobody where reports are off.

    Raises
    ------
    BadConfiguration
        If a vocabulary cannot be read, or the language has none.
    """
    if not settings.watch.reports:
        return {}
    known = vocabularies(settings.watch.vocabularies)
    language = settings.watch.language
    if language and language not in known:
        raise BadConfiguration(f"watch.language: no language {language!r}: {', '.join(known)}")
    return {"ORU": ReportDesk(settings, reports, Labeller(known), clock).take}


def forget_strays(settings: Settings, reports: Reports, now: datetime) -> int:
    """Forget the reports of no study here once `watch.strays_days` are over; return how many."""
    return reports.forget_strays(now - timedelta(days=settings.watch.strays_days))


class ReportDesk:
    """Labels each report of a study here, and keeps the others apart."""

    def __init__(
        self,
        settings: Settings,
        reports: Reports,
        labeller: Labeller,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._reports = reports
        self._labeller = labeller
        self._clock = clock

    def take(self, message: Received, _: bytes) -> None:
        """Keep what a message reports; once this returns, that is on disk.

        Raises
        ------
        Malformed
            If it is no ORU^R01, or a request in it has no accession number.
        IchnodeError
            If the worklist takes nothing now.
        """
        watch, assigner = self._settings.watch, self._settings.receive.adt.assigner
        for one in reports_of(message, watch.accession_in, assigner):
            self._keep(one, message)

    def _keep(self, one: Report, message: Received) -> None:
        now = self._clock()
        of = _report_of(one, message, now)
        studies, why = self._reports.studies(of)
        if not studies:
            self._reports.keep_apart(of, why, now)
            logger.info("a report is kept apart: %s", why, extra=event("report_apart"))
            return
        label = self._label(one.text)
        self._reports.keep(of, studies, label, now)
        say = event("report", status=of.status, answer=label.answer, studies=len(studies))
        logger.info("a report came", extra=say)

    def _label(self, text: str) -> ReportLabel:
        if not text:
            return NO_TEXT
        found = self._labeller.label(text, self._settings.watch.language)
        said = visible(found.sentence), visible(found.rule)
        return ReportLabel(found.answer, *said, found.language)


def _report_of(one: Report, message: Received, now: datetime) -> ReportOf:
    """Return which report it is: a message that comes twice holds the same ones."""
    sender, number = message.value("MSH", 3), message.value("MSH", 10)
    said = (sender, number, one.accession, one.patient_id, one.birth_date, one.status, one.text)
    at = one.said_at and one.said_at.isoformat()
    return ReportOf(
        digest=sha256(json.dumps([*said, at]).encode()).hexdigest(),
        accession_number=visible(one.accession),
        patient=PatientIdentity(visible(one.patient_id), one.birth_date),
        status=one.status,
        said_at=min(one.said_at or now, now),
    )
