"""Studies on a worklist beside what a report says of them, without messages."""

from datetime import datetime, timedelta

from node.identity import PatientIdentity
from node.reported import Answer, ReportLabel, ReportOf, ReportStatus
from node.worklist import Worklist


def report_on(
    worklist: Worklist,
    number: int,
    answer: Answer,
    at: datetime,
    *,
    status: ReportStatus = ReportStatus.FINAL,
    sentence: str = "Acute left subdural hematoma.",
    after: timedelta = timedelta(0),
) -> None:
    """Keep a report of study 1.7.`number` that was given out at `at`, and came `after` that."""
    digest = f"{number:032}{answer:.16}{at:%H%M%S%f}".ljust(64, "0")[:64]
    of = ReportOf(digest, "A", PatientIdentity("P", ""), status, at)
    label = ReportLabel(answer, sentence, 'asserted: "subdural hematoma"', "en")
    worklist.reports.keep(of, [f"1.7.{number}"], label, at + after)
