"""A row of the audit trail as a DICOM audit message (PS3.15 A.5), XML by its schema (A.5.1.1).

A query's message names the keys that were asked for, not their values, which may be a patient's:
its ParticipantObjectQuery holds words and no data set.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from ipaddress import ip_address
from typing import Any
from xml.etree import ElementTree as ET

from node.audit.rejections import REJECTED
from node.audit.trail import MOVE_TO
from node.settings import Settings
from node.visible import visible
from node.worklist import CERTIFICATE, AuditEntry, Deed

Code = tuple[str, str, str]
"""Value, coding scheme and meaning."""

DCM = "DCM"
APPLICATION, ACCESSED, TRANSFERRED, DELETED, EXPORT, PROCEDURE, QUERY, ALERT, AUTHENTICATION = (
    (value, DCM, meaning)
    for value, meaning in (
        ("110100", "Application Activity"),
        ("110103", "DICOM Instances Accessed"),
        ("110104", "DICOM Instances Transferred"),
        ("110105", "DICOM Study Deleted"),
        ("110106", "Export"),
        ("110111", "Procedure Record"),
        ("110112", "Query"),
        ("110113", "Security Alert"),
        ("110114", "User Authentication"),
    )
)
"""Of CID 400, Audit Event ID."""
RESTRICTED = ("110132", DCM, "Use of Restricted Function")
NODE_AUTHENTICATION = ("110126", DCM, "Node Authentication")
EVENT_TYPES: Mapping[Deed, Code] = {
    Deed.STARTED: ("110120", DCM, "Application Start"),
    Deed.STOPPED: ("110121", DCM, "Application Stop"),
    Deed.SIGNED_IN: ("110122", DCM, "Login"),
    Deed.SIGN_IN_FAILED: ("110122", DCM, "Login"),
    Deed.SIGNED_OUT: ("110123", DCM, "Logout"),
    Deed.ACCOUNT: ("110137", DCM, "User Security Attributes Changed"),
    Deed.QUARANTINE: RESTRICTED,
    Deed.DELIVERIES: RESTRICTED,
    Deed.ECHOED: RESTRICTED,
    Deed.COVERAGE: RESTRICTED,
    Deed.CANARY: RESTRICTED,
    Deed.WATCH: RESTRICTED,
    Deed.BUNDLE: RESTRICTED,
    Deed.REFUSED: RESTRICTED,
}
"""Of CID 401, Audit Event Type Code."""
EVENTS: Mapping[Deed, tuple[Code, str]] = {
    **dict.fromkeys((Deed.STARTED, Deed.STOPPED), (APPLICATION, "E")),
    **dict.fromkeys((Deed.SIGNED_IN, Deed.SIGNED_OUT, Deed.SIGN_IN_FAILED), (AUTHENTICATION, "E")),
    **dict.fromkeys((Deed.STUDY, Deed.PICTURES, Deed.KEY_SLICE), (ACCESSED, "R")),
    **dict.fromkeys((Deed.FEEDBACK, Deed.UNDONE, Deed.RETRACTED), (PROCEDURE, "U")),
    **dict.fromkeys((Deed.QUERIED, Deed.LIST), (QUERY, "E")),
    **dict.fromkeys((Deed.ACCOUNT, Deed.QUARANTINE, Deed.DELIVERIES, Deed.ECHOED), (ALERT, "E")),
    **dict.fromkeys((Deed.COVERAGE, Deed.CANARY, Deed.WATCH, Deed.REFUSED), (ALERT, "E")),
    Deed.BUNDLE: (ALERT, "E"),
    Deed.COMMITMENT: (ACCESSED, "R"),
    Deed.PURGED: (DELETED, "D"),
    Deed.STORED: (TRANSFERRED, "C"),
    Deed.RETRIEVED: (TRANSFERRED, "R"),
    Deed.DELIVERED: (TRANSFERRED, "R"),
}
"""The EventID of each deed and its EventActionCode. CID 400 has none for storage commitment: who
vouches for objects has read them."""
FAILURES = frozenset((Deed.SIGN_IN_FAILED, Deed.REFUSED))
"""Deeds that failed; EventOutcomeIndicator 4, a minor failure."""
SOURCE, DESTINATION = ("110153", DCM, "Source Role ID"), ("110152", DCM, "Destination Role ID")
MEDIA, RUNS = ("110154", DCM, "Destination Media"), ("110150", DCM, "Application")
STUDY_UID, NODE_ID = ("110180", DCM, "Study Instance UID"), ("110182", DCM, "Node ID")
PATIENT_NUMBER = ("2", "RFC-3881", "Patient Number")
SEARCH = ("10", "RFC-3881", "Search Criteria")


@dataclass(frozen=True, slots=True)
class Participant:
    """Who took part: PS3.15's ActiveParticipant."""

    user: str
    role: Code | None = None
    requests: bool = False
    address: str = ""
    certificate: str = ""


def dicom_message(entry: AuditEntry, patients: Mapping[str, str], settings: Settings) -> bytes:
    """Return the audit message of a row, in UTF-8.

    Parameters
    ----------
    patients
        The PatientID of each study that the worklist has, by StudyInstanceUID.
    """
    node = settings.receive.ae_title
    root = ET.Element("AuditMessage")
    _add_event(root, entry)
    for participant in _participants(entry, node, settings):
        _add_participant(root, participant)
    source = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=node)
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server
    _add_objects(root, entry, patients, node)
    message: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return message


def is_failure(entry: AuditEntry) -> bool:
    """Return whether a row says that something failed."""
    return entry.what in FAILURES


def _event(entry: AuditEntry) -> tuple[Code, str]:
    if entry.what is Deed.DELIVERED and entry.address != "dicom":
        return EXPORT, "R"
    return EVENTS[entry.what]


def _add_event(root: ET.Element, entry: AuditEntry) -> None:
    code, action = _event(entry)
    event = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=entry.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        EventOutcomeIndicator="4" if is_failure(entry) else "0",
    )
    _add_code(event, "EventID", code)
    if (kind := _event_type(entry)) is not None:
        _add_code(event, "EventTypeCode", kind)


def _event_type(entry: AuditEntry) -> Code | None:
    if entry.what is Deed.REFUSED and (entry.about or "").startswith(REJECTED):
        return NODE_AUTHENTICATION
    return EVENT_TYPES.get(entry.what)


def _participants(entry: AuditEntry, node: str, settings: Settings) -> list[Participant]:
    about, _, certificate = (entry.about or "").partition(CERTIFICATE)
    told: Any = {"requests": True, "address": entry.address, "certificate": certificate}
    who, here = entry.who, Participant(node)
    match entry.what:
        case Deed.STARTED | Deed.STOPPED:
            return [Participant(node, RUNS, address=entry.address)]
        case Deed.QUERIED | Deed.LIST | Deed.STORED:
            return [Participant(who, SOURCE, **told), Participant(node, DESTINATION)]
        case Deed.RETRIEVED if about.startswith(MOVE_TO):
            to = Participant(about.removeprefix(MOVE_TO), DESTINATION)
            return [Participant(node, SOURCE), to, Participant(who, **told)]
        case Deed.RETRIEVED:
            return [Participant(node, SOURCE), Participant(who, DESTINATION, **told)]
        case Deed.DELIVERED:
            role = DESTINATION if entry.address == "dicom" else MEDIA
            to = Participant(who, role, address=_host(who, settings))
            return [Participant(node, SOURCE, requests=True), to]
        case Deed.COMMITMENT if entry.address == "dicom":  # ours, of a destination
            return [
                Participant(node, requests=True),
                Participant(who, address=_host(who, settings)),
            ]
    return [Participant(who, **told), here]


def _host(destination: str, settings: Settings) -> str:
    hosts = {one.name: one.host for one in settings.deliver.destinations}
    return hosts.get(destination, "")


def _add_participant(root: ET.Element, one: Participant) -> None:
    told = {"UserID": visible(one.user), "UserIsRequestor": "true" if one.requests else "false"}
    if one.certificate:
        told["AlternativeUserID"] = one.certificate
    if one.address and one.address != "terminal":
        told["NetworkAccessPointID"] = one.address
        told["NetworkAccessPointTypeCode"] = "2" if _is_ip(one.address) else "1"
    element = ET.SubElement(root, "ActiveParticipant", told)
    if one.role is not None:
        _add_code(element, "RoleIDCode", one.role)


def _add_objects(
    root: ET.Element, entry: AuditEntry, patients: Mapping[str, str], node: str
) -> None:
    code, _ = _event(entry)
    study, about = entry.study_instance_uid, entry.about or entry.what.value.lower()
    if code == QUERY:
        words = b64encode(about.encode()).decode()
        _add_object(root, study or "worklist", ("2", "24"), SEARCH, query=words)
    elif code == ALERT:
        told = ("Alert Description", about)
        _add_object(root, node, ("2", "13"), NODE_ID, name=node, detail=told)
    if study is None:
        return
    _add_object(root, study, ("2", "3"), STUDY_UID, name=study, detail=("about", about))
    if patient := visible(patients.get(study, "")):
        _add_object(root, patient, ("1", "1"), PATIENT_NUMBER, name=patient)


def _add_object(
    root: ET.Element,
    identifier: str,
    kind: tuple[str, str],
    code: Code,
    *,
    name: str = "",
    query: str = "",
    detail: tuple[str, str] | None = None,
) -> None:
    """Add a ParticipantObjectIdentification; `kind` is its type code and its role."""
    element = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=kind[0],
        ParticipantObjectTypeCodeRole=kind[1],
    )
    _add_code(element, "ParticipantObjectIDTypeCode", code)
    said = ET.SubElement(element, "ParticipantObjectQuery" if query else "ParticipantObjectName")
    said.text = query or name
    if detail is not None:
        value = b64encode(detail[1].encode()).decode()
        ET.SubElement(element, "ParticipantObjectDetail", type=detail[0], value=value)


def _add_code(parent: ET.Element, name: str, code: Code) -> None:
    value, scheme, meaning = code
    ET.SubElement(
        parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning}
    )


def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
