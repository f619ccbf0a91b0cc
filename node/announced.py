"""What is told from outside the images: their number, whose they are, what an archive has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


OF_STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "PatientID", "AccessionNumber"),
    *("StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"),
)
OF_SERIES = (
    *("SeriesInstanceUID", "Modality", "SeriesDescription", "BodyPartExamined"),
    *("ProtocolName", "NumberOfSeriesRelatedInstances"),
)
"""What an archive is asked of a study and of a series, by keyword."""

LONGEST_UID = 64
"""PS3.5 chapter 9."""

Value = Callable[[str], str]
"""Returns an attribute's value by its keyword, as DICOM writes it; "" where there is none."""


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study as an archive lists it; text is "" and a number None where it does not say."""

    study_instance_uid: str
    study_date: str = ""
    study_time: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study_description: str = ""
    modalities: frozenset[str] = frozenset()
    images: int | None = None
    """NumberOfStudyRelatedInstances."""

    @classmethod
    def of(cls, value: Value) -> "ListedStudy":
        """Return the study that an answer describes."""
        return cls(
            value("StudyInstanceUID")[:LONGEST_UID],  # a longer one is none, and never comes
            study_date=value("StudyDate"),
            study_time=value("StudyTime"),
            patient_id=value("PatientID"),
            accession_number=value("AccessionNumber"),
            study_description=value("StudyDescription"),
            modalities=frozenset(value("ModalitiesInStudy").split("\\")) - {""},
            images=_number(value("NumberOfStudyRelatedInstances")),
        )


@dataclass(frozen=True, slots=True)
class ListedSeries:
    """A series as an archive lists it; text is "" and a number None where it does not say."""

    series_instance_uid: str
    modality: str = ""
    series_description: str = ""
    body_part: str = ""
    protocol_name: str = ""
    images: int | None = None
    """NumberOfSeriesRelatedInstances."""

    @classmethod
    def of(cls, value: Value) -> "ListedSeries":
        """Return the series that an answer describes."""
        return cls(
            value("SeriesInstanceUID"),
            modality=value("Modality"),
            series_description=value("SeriesDescription"),
            body_part=value("BodyPartExamined"),
            protocol_name=value("ProtocolName"),
            images=_number(value("NumberOfSeriesRelatedInstances")),
        )


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class Shows(StrEnum):
    """What a study at an archive shows, by the words of its series."""

    HEAD = "HEAD"
    PERHAPS = "PERHAPS"
    """It does not say, or was not asked yet."""
    OTHER = "OTHER"
    """Every CT series of it names another part of the body."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a source says of one CT study.

    Attributes
    ----------
    series
        The number of images of each CT series that may show a head, by its UID; None where it is
        not told.
    exact
        Whether the numbers count only objects that the node takes.
    """

    study: ListedStudy
    shows: Shows = Shows.PERHAPS
    series: Mapping[str, int | None] = field(default_factory=dict)
    exact: bool = False
