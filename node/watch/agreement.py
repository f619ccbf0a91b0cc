"""How a study's result stands beside its radiologist's report. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from node.reported import Answer
from node.states import Priority
from node.visible import visible
from node.worklist import Counted, KeptReport

UNNAMED = "a scanner without a name"
LONGEST_NAME = 200
"""Characters: three values of DICOM's LO and SH have 144 (PS3.5 6.2)."""
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
"""Before the first study of any node."""


class Agreement(StrEnum):
    """What becomes of a study that has a report, the first to be looked at first."""

    REPORT_ONLY = "report only"
    """It bleeds by the report, and was not suspected: a miss, unless the label is wrong."""
    NODE_ONLY = "node only"
    NOT_READ = "not read"
    """The study was not analysed, or its reading failed: there is nothing to compare."""
    CANNOT_TELL = "cannot tell"
    """The report does not say."""
    AGREE = "agree"


COMPARED = frozenset({Agreement.AGREE, Agreement.NODE_ONLY, Agreement.REPORT_ONLY})
"""Of which result and report both say something."""


def scanner_name(manufacturer: str, model: str, station: str) -> str:
    """Return what a scanner is called by its headers, as one line that may be a mail's subject."""
    name = " ".join(filter(None, (manufacturer, model, station)))
    return visible(name)[:LONGEST_NAME] or UNNAMED


@dataclass(frozen=True, slots=True)
class Watched:
    """A study beside its report.

    `agreement` is None without a report, while the study waits, and if its result was withdrawn.
    """

    study: Counted
    report: KeptReport | None
    agreement: Agreement | None

    @property
    def scanner(self) -> str:
        """Make, model and station of the scanner."""
        return scanner_name(self.study.manufacturer, self.study.model, self.study.station)

    @property
    def page(self) -> str:
        """Where the node's page shows it."""
        return f"/studies/{self.study.case_id}"

    def to_json(self) -> dict[str, Any]:
        """Return the study as `ichnode watch --json` lists it; a stable interface."""
        said = self.report
        return {
            "study_instance_uid": self.study.study_instance_uid,
            "page": self.page,
            "scanner": self.scanner,
            "received_at": self.study.received_at.isoformat(),
            "priority": self.study.priority.value,
            "probability": self.study.probability,
            "agreement": self.agreement and self.agreement.value,
            "report": said
            and {
                "answer": said.label.answer.value,
                "sentence": said.label.sentence,
                "rule": said.label.rule,
                "language": said.label.language,
                "status": said.status.value,
                "said_at": said.said_at.isoformat(),
            },
        }


def watched(studies: Iterable[Counted], reports: Mapping[str, KeptReport]) -> list[Watched]:
    """Return studies beside the reports that count, by UID; the first to come first."""
    beside = ((one, reports.get(one.study_instance_uid)) for one in studies)
    found = [
        Watched(one, said, None if said is None else _agreement(one, said)) for one, said in beside
    ]
    return sorted(found, key=lambda one: (one.study.received_at, one.study.study_instance_uid))


def _agreement(study: Counted, said: KeptReport) -> Agreement | None:
    priority = study.priority
    if priority is Priority.PENDING or study.withdrawn:
        return None
    if priority is Priority.NOT_ANALYSED:
        return Agreement.NOT_READ
    if said.label.answer is Answer.CANNOT_TELL:
        return Agreement.CANNOT_TELL
    suspected, bleeds = priority is Priority.SUSPECTED, said.label.answer is Answer.BLEEDS
    if suspected == bleeds:
        return Agreement.AGREE
    return Agreement.NODE_ONLY if suspected else Agreement.REPORT_ONLY


@dataclass(frozen=True, slots=True)
class Tally:
    """How the results of one scanner stand beside the reports.

    Attributes
    ----------
    studies
        All that came; those of `counts` have a report and a result.
    """

    scanner: str
    studies: int
    counts: Mapping[Agreement, int]

    def to_json(self) -> dict[str, Any]:
        """Return it as `ichnode watch --json` prints it; a stable interface."""
        counts = {each.value.replace(" ", "_"): self.counts[each] for each in Agreement}
        return {"scanner": self.scanner, "studies": self.studies, **counts}


def tallies(studies: Iterable[Watched]) -> list[Tally]:
    """Return the tally of each scanner, by name."""
    of_scanner: dict[str, list[Watched]] = {}
    for one in studies:
        of_scanner.setdefault(one.scanner, []).append(one)
    return [
        Tally(scanner, len(own), Counter(one.agreement for one in own if one.agreement))
        for scanner, own in sorted(of_scanner.items())
    ]
