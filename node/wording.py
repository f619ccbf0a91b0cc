"""The words of a result, for the report, the picture and the triage page alike."""

from models.findings import Findings

RESEARCH_USE_ONLY = "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE"
SUSPECTED = "Intracranial hemorrhage SUSPECTED by ichnode"
NOT_SUSPECTED = "No hemorrhage suspected by ichnode - this does not exclude hemorrhage"
UNCERTAIN = "UNCERTAIN: the networks disagree - a person should decide soon"
NOT_ANALYSED = "NOT ANALYSED by ichnode - this is not a negative result"
NOT_OUTLINED = "Nothing was outlined: there is no segmentation and no volume."

AMBER = (255, 176, 0)
"""RGB of a suspected lesion, chosen because every kind of colour vision tells it from grey."""


READ_IN_PART = "READ IN PART by ichnode - this is not a negative result"


def verdict(findings: Findings, in_part: str = "") -> str:
    """Return the result in one sentence.

    Parameters
    ----------
    in_part
        Why the series is not cleared, though nothing suspicious was seen.
    """
    if findings.suspected:
        return SUSPECTED
    return READ_IN_PART if in_part else NOT_SUSPECTED


def replacement(later_images: int) -> str:
    """Return why a result replaces an earlier one, in one sentence."""
    if later_images == 0:
        return "Replaces ichnode's earlier result: the patient's identity was corrected"
    images = "1 more image" if later_images == 1 else f"{later_images} more images"
    return f"Replaces ichnode's earlier result: {images} of the series arrived after it"


def ascii_text(text: str) -> str:
    """Return `text` in ASCII, which each SpecificCharacterSet contains; the rest becomes "?"."""
    return text.encode("ascii", "replace").decode()
