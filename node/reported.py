"""What a radiologist's report says of a study, and how far the report has got, in closed words."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from node.identity import PatientIdentity


class Answer(StrEnum):
    """What a report says of hemorrhage inside the skull, on the day of the examination."""

    BLEEDS = "bleeds"
    NONE = "none"
    CANNOT_TELL = "cannot tell"


class ReportStatus(StrEnum):
    """How far a report has got (HL7 table 0123)."""

    PRELIMINARY = "preliminary"
    """Or anything else that is not final: it does not count."""
    FINAL = "final"
    CORRECTED = "corrected"


@dataclass(frozen=True, slots=True)
class ReportOf:
    """Whose a report is, and which; its text is not kept.

    Attributes
    ----------
    digest
        SHA-256 by which it is known when it comes again.
    patient
        The birth date is "" where the report does not say it.
    said_at
        When its author gave it out, by its sender, but not after it came.
    """

    digest: str
    accession_number: str
    patient: PatientIdentity
    status: ReportStatus
    said_at: datetime


@dataclass(frozen=True, slots=True)
class ReportLabel:
    """What a report says of hemorrhage, as its labeller read it.

    Attributes
    ----------
    sentence
        The one that decided, as it stands in the report; "" where none did.
    rule
        Which rule, and the words that it rests on.
    language
        "" where it is not known.
    """

    answer: Answer
    sentence: str
    rule: str
    language: str
