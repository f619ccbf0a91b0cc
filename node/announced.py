"""What is told from outside the images: how many of a series there are, and whose a study is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StepStatus(StrEnum):
    """PerformedProcedureStepStatus (PS3.3 C.4.14)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


Listed = Mapping[str, frozenset[str]]
"""SOPInstanceUIDs of images by their SeriesInstanceUID."""


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """What a modality performed procedure step says of the images that it makes."""

    status: StepStatus
    modality: str
    study_instance_uids: frozenset[str]
    images: Listed


MPPS, IAN = "MPPS", "IAN"
"""Who tells a number of images by their list; an archive's answer is a number alone."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """How many images a series has, told from outside its images."""

    images: int
    told_by: str
    """MPPS, IAN, or the question and whom it was put to: "C-FIND of archive"."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Corrected:
    """Whose a study is by the word of the patient index, in place of what its images say."""

    patient_id: str
    birth_date: str
    name: str | None
    """PatientName (PS3.5 6.2.1), "" if it is not known; None keeps that of the images."""
    sex: str
    """PatientSex; "" keeps that of the images."""
