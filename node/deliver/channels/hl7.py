r"""The channel "hl7": an unsolicited result, HL7 v2 ORU^R01, over MLLP.

It creates no order: there is no ORC segment. All observations are preliminary (OBX-11 P). A message
that takes a suspicion back repeats those of the message before with OBX-11 D or W and no value. So
does one that withdraws a result which was sent in error, with W unless the settings say D: "post
original as wrong, e.g., transmitted for wrong patient" (HL7 v2.5.1, table 0085). C would correct a
final result by another value, and there is none.
OBX-3 and OBX-4 are the same in each message of a study, so that a later one replaces an earlier.
"""

import socket
import time
from datetime import datetime

from node.deliver.answer import Answer, Verdict
from node.deliver.messages import Message, sentences
from node.errors import NoConnection, Retryable
from node.hl7 import (
    ENCODINGS,
    END,
    START,
    Field,
    Malformed,
    Received,
    control_id,
    header,
    segment,
    timestamp,
)
from node.news import News, What
from node.settings import Destination, Hl7, Settings
from node.states import Priority

MAX_ANSWER = 65536
"""Longest acknowledgement that is read, bytes. They have some hundred; chosen."""
CODES = "99ICHNODE"
"""The coding system of OBX-3; local ones begin with 99 (HL7 table 0396)."""


def probe(destination: Destination, settings: Settings) -> str:
    """Return that an HL7 peer takes connections; no message is sent, since each is a result.

    Raises
    ------
    Retryable
        If it takes none.
    """
    try:
        _connect(destination, settings.deliver.timeout_s).close()
    except OSError as error:
        raise Retryable(_failure(error)) from error
    return "takes connections (no message was sent)"


# --- the message ---------------------------------------------------------------------------------


def compose(message: Message, destination: Destination) -> bytes:
    """Return the message; the same message gives the same bytes, MSH-10 with them."""
    said, site = message.said, destination.hl7
    segments = [_header(message, site), _patient(said, site), _request(message, site)]
    segments += [
        segment("NTE", {1: str(number), 2: "L", 3: text})
        for number, text in enumerate(sentences(message), start=1)
    ]
    segments += _observations(message, site)
    text = "".join(f"{each}\r" for each in segments)
    return text.encode(ENCODINGS[site.charset], "replace")


def _header(message: Message, site: Hl7) -> str:
    fields: dict[int, Field] = {
        3: site.sending_application,
        4: site.sending_facility,
        5: site.receiving_application,
        6: site.receiving_facility,
        7: _time(message.said.at),
        9: ("ORU", "R01", "ORU_R01"),
        10: control_id(message.key),
        11: site.processing_id,
        12: site.version,
        18: site.charset,
    }
    return header(fields)


def _time(iso: str) -> str:
    return timestamp(datetime.fromisoformat(iso))


def _patient(said: News, site: Hl7) -> str:
    """Return PID; the name is left out, and PID-5 says so by its type (table 0200, U)."""
    fields: dict[int, Field] = {
        1: "1",
        3: (said.patient_id, "", "", site.assigner, "MR"),
        5: ("", "", "", "", "", "", "U"),
        7: said.patient_birth_date if said.patient_birth_date.isdigit() else "",
    }
    return segment("PID", fields)


def _request(message: Message, site: Hl7) -> str:
    said = message.said
    fields: dict[int, Field] = {int(each[4:]): said.accession_number for each in site.accession_in}
    fields |= {
        1: "1",
        4: site.service,
        7: _time(said.received_at),
        22: _time(said.at),
        24: "CT",
        25: "C" if said.what is What.RETRACT else "P",
    }
    return segment("OBR", fields)


def _observations(message: Message, site: Hl7) -> list[str]:
    said = message.said
    taken_back = said.what is What.RETRACT
    found = _taken_back(said) if taken_back else _results(message)
    status = "P"
    if taken_back:
        status = site.withdraw_with if said.withdrawn else site.retract_with
    return [
        segment(
            "OBX",
            {
                1: str(number),
                2: kind,
                3: (f"ICH.{code}", text, CODES),
                4: "1",
                5: value,
                6: ("mL", "milliliter", "UCUM") if code == "VOLUME" else "",
                11: status,
                14: _time(said.at),
            },
        )
        for number, (kind, code, text, value) in enumerate(found, start=1)
    ]


_NAMES = {
    "PRIORITY": ("ST", "ICH triage priority"),
    "SUMMARY": ("TX", "ICH triage result in words"),
    "PROBABILITY": ("NM", "ICH probability"),
    "VOLUME": ("NM", "ICH outlined volume"),
    "STUDY": ("ST", "Study Instance UID"),
    "KEYSLICE": ("ST", "Key slice SOP Instance UID"),
}
"""The observations: value type and text by code."""


def _results(message: Message) -> list[tuple[str, str, str, str]]:
    said = message.said
    values = {
        "PRIORITY": said.priority.value,
        "SUMMARY": "; ".join(sentences(message)),
        "STUDY": said.study_instance_uid,
    }
    if said.probability is not None:
        values["PROBABILITY"] = f"{said.probability:.3f}"
    if said.priority is Priority.SUSPECTED and said.volume_ml is not None:
        values["VOLUME"] = f"{said.volume_ml:.1f}"
    if said.priority is Priority.SUSPECTED and said.key_slice_sop_instance_uid:
        values["KEYSLICE"] = said.key_slice_sop_instance_uid
    return [(*_of(code), values[code]) for code in _NAMES if code in values]


def _taken_back(said: News) -> list[tuple[str, str, str, str]]:
    """Return all that a message of a suspicion may have held; the study alone keeps its value."""
    values = {"STUDY": said.study_instance_uid}
    return [(*_of(code), values.get(code, "")) for code in _NAMES]


def _of(code: str) -> tuple[str, str, str]:
    kind, text = _NAMES[code]
    return kind, code, text


# --- over the network ----------------------------------------------------------------------------


def post(destination: Destination, message: Message, settings: Settings) -> Answer:
    """Send one message over MLLP; return how that ended."""
    content = compose(message, destination)
    try:
        answer = exchange(destination, content, settings.deliver.timeout_s)
    except NoConnection as error:
        return Answer(Verdict.DOWN, message=str(error))
    except (OSError, Retryable) as error:
        return Answer(Verdict.AGAIN, message=_failure(error))
    return acknowledged(answer, control_id(message.key))


def exchange(destination: Destination, content: bytes, timeout_s: float) -> bytes:
    """Send a message in a frame; return what the frame of the answer holds.

    Raises
    ------
    NoConnection
        If the peer is out of reach.
    OSError
        If it is not done within the time limit, or breaks the connection.
    Retryable
        If it closes before its answer is whole, or answers without a frame.
    """
    deadline = time.monotonic() + timeout_s
    with _connect(destination, timeout_s) as connection:
        connection.sendall(START + content + END)
        got = b""
        while END not in got:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = connection.recv(4096)
            got += part
            if not part or len(got) > MAX_ANSWER:
                raise Retryable("the peer closed before its answer was whole, or it is endless")
            if not got.startswith(START):
                raise Retryable("the peer's answer is no MLLP frame")
        return got[len(START) : got.index(END)]


def _connect(destination: Destination, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((destination.host, destination.port), timeout_s)
    except OSError as error:
        raise NoConnection(_failure(error)) from error


def acknowledged(answer: bytes, sent: str) -> Answer:
    """Return what an acknowledgement says of the message with this MSH-10.

    AA and CA accept it, AR and CR reject it for good, and AE and CE are an error that may pass
    (HL7 v2.5.1, 2.9.2). What is no acknowledgement of this message counts as none.
    """
    code, about, error = _read(answer)
    if about != sent or code not in _MEANING:
        return Answer(Verdict.AGAIN, message="the answer does not acknowledge this message")
    said = "" if code in ("AA", "CA") else f"{code}{error}"
    return Answer(_MEANING[code], message=said)


_MEANING = {
    **dict.fromkeys(("AA", "CA"), Verdict.STORED),
    **dict.fromkeys(("AE", "CE"), Verdict.AGAIN),
    **dict.fromkeys(("AR", "CR"), Verdict.FINAL),
}


def _read(answer: bytes) -> tuple[str, str, str]:
    """Return MSA-1, MSA-2 and the code of an ERR; its text stays unread, it may name a patient."""
    try:
        received = Received.of(answer)
    except Malformed:
        return "", "", ""
    number = received.value("ERR", 3)
    known = number.isascii() and number.isdigit() and len(number) < 6
    error = f" (error {number})" if known else ""
    return received.value("MSA", 1), received.value("MSA", 2), error


def _failure(error: Exception) -> str:
    return str(error) if isinstance(error, Retryable) else f"no answer: {type(error).__name__}"
