"""What is taken where an attribute is missing, or has a value that it cannot have.

Each function returns a value, and the sentence that says what was taken in place of what; the
sentence is "" if the attribute was taken as it stands.
"""

import re
from collections.abc import Iterable
from datetime import date

from pydicom.dataset import Dataset

from node.dicom.read.elements import number, short, text
from node.wording import counted

THINNEST_MM, THICKEST_MM = 0.1, 30.0
"""What a SliceThickness can be. Estimates: photon-counting scanners make slices of 0.2 mm, and
reformatted slabs are up to 20 mm thick."""
YEARS_APART = 2.0
"""By how much PatientAge may differ from the birth date: both are rounded to whole years."""
OLDEST_YEARS = 120.0
"""A birth date that makes the patient older stands for an unknown one, as 19000101 does."""

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


def slice_thickness_mm(measures: Iterable[Dataset]) -> tuple[float | None, str]:
    """Return the SliceThickness that all frames share; None if there is none.

    Zero, negative and impossible values count as absent, since a thickness decides which gaps are
    holes.
    """
    found = {number(item, "SliceThickness") for item in measures}
    usable = {mm for mm in found if mm is not None and THINNEST_MM <= mm <= THICKEST_MM}
    if usable:
        return (usable.pop() if len(usable) == 1 else None), ""
    return None, "SliceThickness is missing or no thickness: the distance between slices was taken"


def age_years(ds: Dataset, acquired: str) -> tuple[float | None, str]:
    """Return the patient's age on the day of acquisition; None if unknown.

    PatientAge is taken where it agrees with the birth date. Where it does not, or where it is zero,
    the birth date is taken.
    """
    written = text(ds, "PatientAge").upper()
    stated, lived = _stated_years(written), _lived_years(text(ds, "PatientBirthDate"), acquired)
    if lived is None and stated == 0:
        return stated, f"PatientAge is {written}, and no birth date says more"
    if lived is None or stated is None:
        return (lived if stated is None else stated), ""
    if abs(stated - lived) <= YEARS_APART:
        return stated or lived, ""
    return lived, (
        f"PatientAge {written} contradicts the birth date, by which the patient is {_words(lived)} "
        "old: the birth date was taken"
    )


def samples_per_pixel(ds: Dataset) -> tuple[int, str]:
    """Return the number of values of a pixel: 1, or 3 if it is a colour."""
    stated = short(ds, "SamplesPerPixel")
    if stated is not None:
        return stated, ""
    photometric = text(ds, "PhotometricInterpretation").upper()
    if not photometric:
        return 1, (
            "SamplesPerPixel and PhotometricInterpretation are missing: one value a pixel was taken"
        )
    if photometric.startswith("MONOCHROME"):
        return 1, f"SamplesPerPixel is missing: 1 was taken, as {photometric} has it"
    return 3, f"SamplesPerPixel is missing: 3 was taken, as {photometric} has it"


def bits_stored(ds: Dataset) -> int | None:
    """Return BitsStored; if it is missing, what HighBit tells, else BitsAllocated."""
    if (stated := short(ds, "BitsStored")) is not None:
        return stated
    high = short(ds, "HighBit")
    return short(ds, "BitsAllocated") if high is None else high + 1


def _stated_years(written: str) -> float | None:
    """Return what PatientAge says; None if it is empty or no age."""
    stated = _AGE.fullmatch(written)
    years = int(stated[1]) * _DAYS[stated[2]] / _DAYS["Y"] if stated else None
    return years if years is not None and years <= OLDEST_YEARS else None


def _lived_years(born: str, acquired: str) -> float | None:
    """Return the time from birth to acquisition; None if a date is missing or cannot be."""
    try:
        lived = date.fromisoformat(acquired[:8]) - date.fromisoformat(born)
    except ValueError:
        return None
    years = lived.days / _DAYS["Y"]
    return years if 0 <= years <= OLDEST_YEARS else None


def _words(years: float) -> str:
    """Return an age in words that a PatientAge can be compared with."""
    count, unit = (int(years), "year") if years >= 2 else (round(years * 12), "month")
    return counted(count, unit)
