"""QIDO-RS (PS3.18 10.6): query parameters in, answers in the DICOM JSON model out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from node.dicom.archive.json_model import (
    PRIORITY,
    attributes_json,
    keyword_of,
    priority_json,
)
from node.worklist import Found, Level, Query

MOST_ANSWERS = 1000
"""How many answers one request gets; a header says that there are more. Chosen: it bounds what a
request without a limit costs."""

_STUDY: tuple[str, ...] = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName"),
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"),
    *("StudyDescription", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)
_SERIES: tuple[str, ...] = (
    *("Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "StudyInstanceUID"),
    *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
    "NumberOfSeriesRelatedInstances",
)
_OBJECT: tuple[str, ...] = (
    *("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated"),
    *("NumberOfFrames", "StudyInstanceUID", "SeriesInstanceUID", "AvailableTransferSyntaxUID"),
)
RETURNED: Mapping[Level, Sequence[str]] = {
    Level.STUDY: _STUDY,
    Level.SERIES: _SERIES,
    Level.IMAGE: _OBJECT,
}
"""What each answer has (PS3.18 tables 10.6.3-3 to 10.6.3-5); of a search over all studies, what the
levels above have too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: what it matches, and which attributes its answers have."""

    query: Query
    returned: frozenset[str]
    everything: bool = False
    priority: bool = False


def read_query(level: Level, parameters: Iterable[tuple[str, str]], **within: str) -> Asked:
    """Return the search that a request's query parameters describe.

    Parameters
    ----------
    within
        UIDs of the resource that is searched, by keyword.

    Raises
    ------
    HTTPException
        400 if a parameter cannot be served.
    """
    keys, limits, fields = dict(within), {"limit": MOST_ANSWERS, "offset": 0}, set[str]()
    everything = False
    for name, value in parameters:
        if name in limits:
            limits[name] = _whole(name, value)
        elif name == "includefield":
            everything = everything or value.strip() == "all"
            fields |= {part.strip() for part in value.split(",")}
        elif name == "fuzzymatching":
            if value.strip().lower() != "false":
                raise HTTPException(400, "fuzzymatching is not offered: leave it out")
        else:
            _add_key(keys, name, value)
    returned = set(RETURNED[level]) | {keyword_of(field) for field in fields} | set(keys)
    if level is not Level.STUDY and "StudyInstanceUID" not in within:
        returned |= set(_STUDY)
    if level is Level.IMAGE and "SeriesInstanceUID" not in within:
        returned |= set(_SERIES)
    limit = min(limits["limit"], MOST_ANSWERS)
    query = Query(level, keys, limit + 1, limits["offset"])  # one more tells whether there are more
    return Asked(query, frozenset(returned), everything, everything or PRIORITY in fields)


def answer_json(found: Found, asked: Asked, base: str, priority: str | None) -> dict[str, Any]:
    """Return one answer in the DICOM JSON model.

    Parameters
    ----------
    base
        The address of the DICOMweb service.
    priority
        Of its study in the worklist; None if it was not asked for, or there is none.
    """
    returned = found if asked.everything else asked.returned
    values = {key: value for key, value in found.items() if key in returned}
    values |= {
        "SpecificCharacterSet": "ISO_IR 192",
        "InstanceAvailability": "ONLINE",
        "RetrieveURL": base + _resource(found, asked.query.level),
    }
    said = attributes_json(values)
    if priority is not None:
        said |= priority_json(priority)
    return dict(sorted(said.items()))


def _resource(found: Found, level: Level) -> str:
    parts = [("studies", "StudyInstanceUID"), ("series", "SeriesInstanceUID")]
    parts.append(("instances", "SOPInstanceUID"))
    depth = {Level.STUDY: 1, Level.SERIES: 2}.get(level, 3)
    return "".join(f"/{name}/{found[keyword]}" for name, keyword in parts[:depth])


def _add_key(keys: dict[str, str], name: str, value: str) -> None:
    keyword = keyword_of(name)
    if not keyword:
        raise HTTPException(400, "a query parameter names no attribute")
    if keyword.endswith("UID"):
        value = value.replace(",", "\\")
    if keyword in keys and keys[keyword] != value:
        raise HTTPException(400, f"{keyword} is given twice")
    keys[keyword] = value


def _whole(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value.strip()):
        raise HTTPException(400, f"{name} is no whole number")
    return int(value)
