"""Words of headers in few classes: age bands, places of order, days. Pure."""

import re
from collections.abc import Sequence
from datetime import date, datetime

OLDEST = 90
"""From this age on all patients share a band: a greater age may tell who it is (45 CFR 164.514)."""

_PLACES = (
    (
        "emergency",
        re.compile(
            r"emerg|casualty|\b(ed|er|a ?& ?e|zna|samu|urg)\b|trauma ?room|shock ?room|schockraum|"
            r"notauf|notfall|urgenc",
            re.I,
        ),
    ),
    ("outpatient", re.compile(r"out-?patient|ambul|policlinic|poliklin|praxis|consulta", re.I)),
    (
        "inpatient",
        re.compile(
            r"in-?patient|\bwards?\b|\b[ni]?icu\b|intensiv|stroke unit|\bstation\b|hospitali[sz]|"
            r"\bplanta\b|stationär",
            re.I,
        ),
    ),
)
"""An estimate of what headers contain; nothing was counted in archives."""


def place(words: Sequence[str]) -> str:
    """Return "emergency", "inpatient" or "outpatient", as far as the words of a header say; ""."""
    said = " / ".join(words)
    return next((name for name, pattern in _PLACES if pattern.search(said)), "")


def age_band(years: float | None) -> str:
    """Return an age in tens of years, "60-69"; "90+" is the last, "" if it is unknown."""
    if years is None or years < 0:
        return ""
    if years >= OLDEST:
        return f"{OLDEST}+"
    tens = int(years) // 10 * 10
    return f"{tens}-{tens + 9}"


def iso_day(written: str) -> str:
    """Return the day of a DICOM date as ISO 8601; "" if it is none."""
    day = day_of(written)
    return day.isoformat() if day else ""


def day_of(written: str) -> date | None:
    """Return the day that a DICOM date or time begins with; None if it begins with none."""
    try:
        return datetime.strptime(written[:8], "%Y%m%d").date()  # noqa: DTZ007  a day has no zone
    except ValueError:
        return None
