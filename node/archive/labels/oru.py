"""Reports that arrive as HL7 v2 messages ORU^R01."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from node.hl7 import Malformed, Received, moment
from node.reported import ReportStatus

ACCESSION_IN = ("OBR-18", "OBR-3", "OBR-2")
"""Fields that may hold the accession number: the first that is not empty does."""
TEXT_KINDS = frozenset({"TX", "FT", "ST"})
CODED_KINDS = frozenset({"CE", "CWE"})
"""OBX-2; a coded impression may hold its text in the second component (HL7 v2.5.1, 7.2.4)."""
TAKEN_BACK = frozenset({"D", "W", "X"})
"""OBX-11 of observations that are deleted, wrong or were never made (HL7 table 0085)."""
STATUSES = {"F": ReportStatus.FINAL, "U": ReportStatus.FINAL, "C": ReportStatus.CORRECTED}
"""OBR-25 and OBX-11 of what is final, or final and corrected (HL7 tables 0123 and 0085)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one message says of one examination."""

    accession: str
    patient_id: str
    """PID-3.1, "" if the message does not say it."""
    birth_date: str
    """YYYYMMDD by PID-7, "" if the message does not say it."""
    text: str
    """With its line breaks; "" if the message holds none, as where it brings a PDF."""
    status: ReportStatus
    said_at: datetime | None
    """When it was given out: OBR-22, else when the message was sent, MSH-7; None without both."""


@dataclass(slots=True)
class _Request:
    """One OBR and the observations below it."""

    row: tuple[str, ...]
    observations: list[tuple[str, ...]] = field(default_factory=list)


def reports_of(
    message: Received, accession_in: Sequence[str] = ACCESSION_IN, assigner: str = ""
) -> list[Report]:
    """Return the report of each accession number in a message.

    Where several examinations have one report between them, it stands below one OBR, and each gets
    it.

    Parameters
    ----------
    assigner
        PID-3.4 of the identifier that is the patient's; "" is the first one.

    Raises
    ------
    Malformed
        If it is no ORU^R01, or one of its OBR has no accession number.
    """
    if (message.value("MSH", 9), message.value("MSH", 9, 2)) != ("ORU", "R01"):
        raise Malformed("it is no ORU^R01")
    requests = _requests(message)
    if not requests:
        raise Malformed("it has no OBR, so that it is the report of nothing")
    patient = message.identifier("PID", 3, assigner), message.date("PID", 7)
    reports = [_report(message, each, patient, accession_in) for each in requests]
    written = [report for report in reports if report.text]
    if len(written) != 1:
        return reports
    return [replace(written[0], accession=each.accession) for each in reports]


def _requests(message: Received) -> list[_Request]:
    requests: list[_Request] = []
    for row in message.segments:
        if row[0] == "OBR":
            requests.append(_Request(row))
        elif row[0] == "OBX" and requests:
            requests[-1].observations.append(row)
    return requests


def _report(
    message: Received, request: _Request, patient: tuple[str, str], accession_in: Sequence[str]
) -> Report:
    numbers = (int(name.removeprefix("OBR-")) for name in accession_in)
    found = (_first(message, _cell(request.row, number)) for number in numbers)
    accession = next(filter(None, found), "")
    if not accession:
        raise Malformed(f"an OBR without an accession number in {', '.join(accession_in)}")
    valid = [row for row in request.observations if _cell(row, 11) not in TAKEN_BACK]
    text = "\n".join(_lines(message, valid)).strip()
    said_at = moment(_cell(request.row, 22)) or moment(message.value("MSH", 7))
    return Report(accession, *patient, text, _status(request.row, valid), said_at)


def _status(request: tuple[str, ...], observations: Sequence[tuple[str, ...]]) -> ReportStatus:
    """Return what OBR-25 says, or all OBX-11 together where OBR-25 is empty."""
    codes = {_cell(request, 25)} - {""} or {_cell(row, 11) for row in observations}
    said = {STATUSES.get(code, ReportStatus.PRELIMINARY) for code in codes}
    if not said or ReportStatus.PRELIMINARY in said:
        return ReportStatus.PRELIMINARY
    return ReportStatus.CORRECTED if ReportStatus.CORRECTED in said else ReportStatus.FINAL


def _lines(message: Received, observations: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the text of the observations; a section's name goes before it, once."""
    heading = ""
    for row in observations:
        kind, text = _cell(row, 2), _cell(row, 5)
        if kind in CODED_KINDS:
            text = next(filter(None, text.split(message.component)[1::-1]), "")
        elif kind not in TEXT_KINDS:
            continue
        named = _heading(message, _cell(row, 3))
        if named and named != heading:
            yield f"\n{named}:"
        heading = named
        yield message.free_text(text)


def _heading(message: Received, observation: str) -> str:
    """Return the name of a section by OBX-3: its text, or "IMPRESSION" for the suffix IMP."""
    code, *rest = observation.split(message.component)
    if code.split(message.subcomponent)[1:2] == ["IMP"]:
        return "IMPRESSION"
    return message.free_text(rest[0]).strip() if rest else ""


def _cell(row: tuple[str, ...], number: int) -> str:
    return row[number] if number < len(row) else ""


def _first(message: Received, raw: str) -> str:
    """Return the first component of a field; a null value is empty."""
    text = message.free_text(raw.split(message.component)[0]).strip()
    return "" if text == '""' else text
