"""What was taken in place of header values that are missing, cannot be, or contradict. Pure."""

from collections import Counter
from collections.abc import Sequence

from node.records import Header
from node.wording import counted

YEARS_APART = 2.0
"""A birthday and rounding to whole years move an age by less."""


def substitutes(headers: Sequence[Header]) -> tuple[str, ...]:
    """Return the sentences that say what was taken, each once, for the images of one series."""
    said = Counter(sentence for header in headers for sentence in header.substitutes)
    said += Counter(_frame_of_reference(headers))
    counted = (_of(sentence, count, len(headers)) for sentence, count in said.items())
    return (*counted, *_ages_apart(headers))


def years(headers: Sequence[Header]) -> float | None:
    """Return the patient's age; None if no image states it.

    A birthday may fall between two images; the lower age counts then. If ages lie further apart,
    the one in their middle counts.
    """
    ages = _ages(headers)
    return ages[len(ages) // 2] if _ages_apart(headers) else min(ages, default=None)


def age_doubts(headers: Sequence[Header]) -> tuple[str, ...]:
    """Return those sentences of `substitutes` that are about the patient's age."""
    return tuple(said for said in substitutes(headers) if said.startswith("PatientAge"))


def _ages(headers: Sequence[Header]) -> list[float]:
    return sorted(h.patient_age_years for h in headers if h.patient_age_years is not None)


def _ages_apart(headers: Sequence[Header]) -> list[str]:
    ages = _ages(headers)
    if not ages or ages[-1] - ages[0] <= YEARS_APART:
        return []
    between = f"from {ages[0]:.0f} to {ages[-1]:.0f} years"
    return [f"PatientAge differs between images, {between}: the age in the middle was taken"]


def _frame_of_reference(headers: Sequence[Header]) -> list[str]:
    """Return one sentence for each image without FrameOfReferenceUID."""
    lost = sum(not header.frame_of_reference_uid for header in headers)
    taken = "that of the other images" if lost < len(headers) else "one of the report's own"
    return [f"FrameOfReferenceUID is missing: {taken} was taken"] * lost


def _of(sentence: str, count: int, images: int) -> str:
    """Return the sentence, with the number of images that it is about if that is not all."""
    return sentence if count == images else f"{sentence} ({count} of {images} images)"


def age_in_words(age: float) -> str:
    """Return the age in words; under two years in months."""
    if not age:
        return "less than a month"
    count, unit = (int(age), "year") if age >= 2 else (round(age * 12), "month")
    return counted(count, unit)
