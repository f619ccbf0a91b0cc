"""The words of a result: the same in the report, in the picture and on the triage page."""

from models.findings import Findings

RESEARCH_USE_ONLY = "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE"
SUSPECTED = "Intracranial hemorrhage SUSPECTED by ichnode"
NOT_SUSPECTED = "No hemorrhage suspected by ichnode - this does not exclude hemorrhage"
UNCERTAIN = "UNCERTAIN: the networks disagree - a person should decide soon"
NOT_ANALYSED = "NOT ANALYSED by ichnode - this is not a negative result"
NOT_OUTLINED = "Nothing was outlined: there is no segmentation and no volume."

AMBER = (255, 176, 0)
"""RGB of a suspected lesion: told from grey by every kind of colour vision (chosen)."""


def verdict(findings: Findings) -> str:
    """Return the result in one sentence."""
    return SUSPECTED if findings.suspected else NOT_SUSPECTED


def replacement(later_images: int) -> str:
    """Return why a result takes the place of an earlier one, in one sentence."""
    images = "1 more image" if later_images == 1 else f"{later_images} more images"
    return f"Replaces ichnode's earlier result: {images} of the series arrived after it"


def ascii_text(text: str) -> str:
    """Return `text` in ASCII, which every SpecificCharacterSet holds; anything else becomes "?"."""
    return text.encode("ascii", "replace").decode()
