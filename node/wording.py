"""The words of a result, for the report, the picture and the triage page alike."""

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from node.states import Reason

if TYPE_CHECKING:
    from models.findings import Findings

RESEARCH_USE_ONLY = "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE"
SUSPECTED = "Intracranial hemorrhage SUSPECTED by ichnode, unverified"
NOT_SUSPECTED = "No hemorrhage suspected by ichnode - this does not exclude hemorrhage"
UNCERTAIN = "UNCERTAIN: the networks disagree - a person should decide soon"
NOT_ANALYSED = "NOT ANALYSED by ichnode - this is not a negative result"
NOT_ANALYSED_HEADLINE = "ICH NOT ANALYSED, read as usual"
WITHDRAWN = (
    "WITHDRAWN: an earlier result of ichnode was sent in error - this is not a negative result"
)
WITHDRAWN_HEADLINE = "ICH WITHDRAWN, read as usual"
NOT_OUTLINED = "Nothing was outlined: there is no segmentation and no volume."

AMBER = (255, 176, 0)
"""RGB of a suspected lesion, chosen because every kind of colour vision tells it from grey."""


READ_IN_PART = "READ IN PART by ichnode - this is not a negative result"


def verdict(findings: "Findings", in_part: str = "") -> str:
    """Return the result in one sentence.

    Parameters
    ----------
    in_part
        Why the series is not cleared, though nothing suspicious was seen.
    """
    if findings.suspected:
        return SUSPECTED
    return READ_IN_PART if in_part else NOT_SUSPECTED


class Flip(StrEnum):
    """How what one bundle says of a study differs from what another one said."""

    UNFLAGGED = "flagged, now not flagged"
    FLAGGED = "not flagged, now flagged"
    NOT_ANALYSED = "analysed, now not analysed"
    ANALYSED = "not analysed, now analysed"


class Answer(Protocol):
    """What a bundle says of a study."""

    @property
    def analysed(self) -> bool:
        """Whether it says whether there is a bleed."""
        ...

    @property
    def flagged(self) -> bool:
        """Whether a bleed is suspected."""
        ...


def flip(old: Answer, new: Answer) -> Flip | None:
    """Return how the new answer differs from the old one; None if it does not."""
    if old.analysed != new.analysed:
        return Flip.ANALYSED if new.analysed else Flip.NOT_ANALYSED
    if old.flagged != new.flagged:
        return Flip.FLAGGED if new.flagged else Flip.UNFLAGGED
    return None


_PLAINLY = {
    Reason.NOT_CT: "These are no CT images.",
    Reason.LOCALISER: "This is a localiser, not a scan.",
    Reason.DERIVED: "These images were computed from others.",
    Reason.NOT_AXIAL: "The slices are not axial.",
    Reason.NOT_A_HEAD: "This is not a scan of a head.",
    Reason.CONTRAST: "The scan was made with contrast agent.",
    Reason.TOO_FEW_SLICES: "The scan has too few slices.",
    Reason.COVERAGE: "Only a part of the head was scanned.",
    Reason.MISSING_SLICE: "A slice is missing.",
    Reason.INCOMPLETE: "Not all images arrived.",
    Reason.DUPLICATE_POSITION: "Different images lie at the same position.",
    Reason.GEOMETRY: "It is not certain where the slices lie.",
    Reason.NOT_HOUNSFIELD: "The images are not in Hounsfield units.",
    Reason.NOISE: "The images are too noisy.",
    Reason.ARTEFACT: "Metal or motion hides the brain.",
    Reason.AGE: "The patient is too young for this software.",
    Reason.NO_PIXEL_DATA: "An image arrived without its picture.",
    Reason.UNDECODABLE: "A slice arrived damaged.",
    Reason.UNREADABLE: "No brain was found in the images.",
    Reason.MIXED_IDENTITY: "The images name different patients.",
    Reason.PURGED: "Earlier images of the series are kept no longer.",
    Reason.OTHER_SERIES_READ: "Another series of the study was read instead.",
    Reason.WITHDRAWN: "The result was withdrawn.",
    Reason.INTERNAL: "The software failed.",
}


def plainly(reason_code: str) -> str:
    """Return in a person's words what happened to a series that was not analysed.

    Raises
    ------
    ValueError
        If it is no `node.states.Reason`.
    """
    return f"{_PLAINLY[Reason(reason_code)]} Read this study as usual."


def headline(findings: "Findings", in_part: str = "") -> str:
    """Return the result as the first words of a series description, for lists and PACS rules.

    It begins with one of "ICH SUSPECTED", "ICH not suspected" and "ICH NOT ANALYSED"; with a volume
    of four digits, and all that `series_description` adds, it has at most 64 characters.

    Parameters
    ----------
    in_part
        Why the series is not cleared, though nothing suspicious was seen.
    """
    doubt = ", uncertain" if findings.uncertain else ""
    if findings.suspected:
        volume = f" {millilitres(findings.volume_ml)}" if findings.mask.any() else ""
        return f"ICH SUSPECTED{volume}{doubt}"
    return NOT_ANALYSED_HEADLINE if in_part else f"ICH not suspected{doubt}"


def ranked(findings: "Findings") -> list[tuple[str, float]]:
    """Return the subtypes with their probability, the most probable first."""
    return sorted(findings.subtypes.items(), key=lambda item: -item[1])


def counted(number: int, one: str, several: str = "") -> str:
    """Return how many there are: "1 study", "2 studies"; or with a verb, "1 case was".

    Parameters
    ----------
    one
        The words for one.
    several
        Those for none or several; "" for the regular plural of `one`.
    """
    if number == 1:
        return f"1 {one}"
    regular = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{number} {several or regular}"


def millilitres(volume_ml: float) -> str:
    """Return a volume as far as it can be trusted: "77 mL", "4.9 mL", "<0.1 mL"."""
    if volume_ml < 0.1:
        return "<0.1 mL"
    return f"{volume_ml:.0f} mL" if volume_ml >= 10 else f"{volume_ml:.1f} mL"


def series_description(head: str, *, replaces: bool) -> str:
    """Return the SeriesDescription of a result (VR LO: 64 characters) that begins with `head`."""
    return f"{head}{', replaces older' if replaces else ''}, research only"


def replacement(later_images: int, *, withdrawn: bool = False) -> str:
    """Return why a result replaces an earlier one, in one sentence.

    Parameters
    ----------
    withdrawn
        Whether the earlier one says that a result was withdrawn.
    """
    if withdrawn:
        return "Replaces ichnode's withdrawn result: the series was read again"
    if later_images == 0:
        return "Replaces ichnode's earlier result: the patient's identity was corrected"
    images = counted(later_images, "more image")
    return f"Replaces ichnode's earlier result: {images} of the series arrived after it"


def ascii_text(text: str) -> str:
    """Return `text` in ASCII, which each SpecificCharacterSet contains; the rest becomes "?"."""
    return text.encode("ascii", "replace").decode()
