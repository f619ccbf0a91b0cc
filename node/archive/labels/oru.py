"""Reports that arrive as HL7 v2 messages ORU^R01."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from node.hl7 import Malformed, Received

ACCESSION_IN = ("OBR-18", "OBR-3", "OBR-2")
"""Fields that may hold the accession number: the first that is not empty does."""
TEXT_KINDS = frozenset({"TX", "FT", "ST"})
CODED_KINDS = frozenset({"CE", "CWE"})
"""OBX-2; a coded impression may hold its text in the second component (HL7 v2.5.1, 7.2.4)."""
TAKEN_BACK = frozenset({"D", "W", "X"})
"""OBX-11 of observations that are deleted, wrong or were never made (HL7 table 0085)."""
FINAL = frozenset({"F", "C", "U"})
"""OBR-25 and OBX-11 of what is final, or final and corrected (HL7 tables 0123 and 0085)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one message says of one examination."""

    accession: str
    patient_id: str
    """PID-3.1, "" if the message does not say it."""
    text: str
    """With its line breaks; "" if the message holds none, as where it brings a PDF."""
    is_final: bool


@dataclass(slots=True)
class _Request:
    """One OBR and the observations below it."""

    row: tuple[str, ...]
    observations: list[tuple[str, ...]] = field(default_factory=list)


def reports_of(message: Received, accession_in: Sequence[str] = ACCESSION_IN) -> list[Report]:
    """Return the report of each accession number in a message.

    Where several examinations have one report between them, it stands below one OBR, and each gets
    it.

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
    patient_id = message.value("PID", 3)
    reports = [_report(message, each, patient_id, accession_in) for each in requests]
    written = [report for report in reports if report.text]
    if len(written) != 1:
        return reports
    (one,) = written
    return [Report(each.accession, patient_id, one.text, one.is_final) for each in reports]


def _requests(message: Received) -> list[_Request]:
    requests: list[_Request] = []
    for row in message.segments:
        if row[0] == "OBR":
            requests.append(_Request(row))
        elif row[0] == "OBX" and requests:
            requests[-1].observations.append(row)
    return requests


def _report(
    message: Received, request: _Request, patient_id: str, accession_in: Sequence[str]
) -> Report:
    numbers = (int(name.removeprefix("OBR-")) for name in accession_in)
    found = (_first(message, _cell(request.row, number)) for number in numbers)
    accession = next(filter(None, found), "")
    if not accession:
        raise Malformed(f"an OBR without an accession number in {', '.join(accession_in)}")
    valid = [row for row in request.observations if _cell(row, 11) not in TAKEN_BACK]
    text = "\n".join(_lines(message, valid)).strip()
    return Report(accession, patient_id, text, _is_final(request.row, valid))


def _is_final(request: tuple[str, ...], observations: Sequence[tuple[str, ...]]) -> bool:
    """Return whether OBR-25 says so, or each OBX-11 where OBR-25 is empty."""
    if status := _cell(request, 25):
        return status in FINAL
    return bool(observations) and all(_cell(row, 11) in FINAL for row in observations)


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
