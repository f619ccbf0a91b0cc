"""Rows of the audit trail as DICOM audit messages (PS3.15 A.5)."""

from base64 import b64decode
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from node.audit import dicom_message
from node.settings import Deliver, Destination, Receive, Settings
from node.worklist import AuditEntry, Deed
from tests.support.audit_schema import faults

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
STUDY = "1.2.840.99.1"
PACS = Destination(name="pacs", ae_title="PACS", host="192.0.2.10", port=104)
SETTINGS = Settings(receive=Receive(ae_title="NODE"), deliver=Deliver(destinations=(PACS,)))


def entry(what: Deed, **values: object) -> AuditEntry:
    told = {"who": "VIEWER", "address": "192.0.2.7", "study_instance_uid": None, "about": None}
    return AuditEntry(number=1, at=T0, what=what, digest="", **{**told, **values})  # type: ignore[arg-type]


def message(what: Deed, **values: object) -> ET.Element:
    return ET.fromstring(dicom_message(entry(what, **values), {STUDY: "PID^1"}, SETTINGS))


def codes(root: ET.Element, name: str) -> list[str]:
    return [found.attrib["csd-code"] for found in root.iter(name)]


def participants(root: ET.Element) -> list[tuple[str, str, str, str]]:
    """User, whether they ask, address and role of each."""
    return [
        (
            each.attrib["UserID"],
            each.attrib["UserIsRequestor"],
            each.get("NetworkAccessPointID", ""),
            each[0].attrib["csd-code"] if len(each) else "",
        )
        for each in root.iter("ActiveParticipant")
    ]


@pytest.mark.parametrize("what", Deed)
@pytest.mark.parametrize("study", [None, STUDY])
@pytest.mark.parametrize("patients", [{}, {STUDY: "山田\x1b<&\ud800"}])
def test_each_deed_is_a_message_of_the_schema(
    what: Deed, study: str | None, patients: dict[str, str]
) -> None:
    for about in (None, 'a < "b" & \x00\x1b', "C-MOVE to PACS"):
        for address in ("192.0.2.7", "::1", "scanner.example", "terminal", "dicom", "mail"):
            row = entry(what, study_instance_uid=study, about=about, address=address)
            assert faults(dicom_message(row, patients, SETTINGS)) == []


def test_the_check_itself_finds_faults() -> None:
    good = dicom_message(entry(Deed.STUDY, study_instance_uid=STUDY), {}, SETTINGS)
    assert faults(good) == []
    for old, new in (
        (b'csd-code="110103" ', b""),
        (b'UserID="VIEWER"', b'User="VIEWER"'),
        (b"ActiveParticipant", b"Active"),
        (b'EventOutcomeIndicator="0"', b'EventOutcomeIndicator="1"'),
    ):
        assert old in good and faults(good.replace(old, new))


def test_a_retrieval_names_source_destination_and_who_asked() -> None:
    got = message(Deed.RETRIEVED, study_instance_uid=STUDY, about="C-GET")
    assert codes(got, "EventID") == ["110104"]
    assert participants(got) == [
        ("NODE", "false", "", "110153"),
        ("VIEWER", "true", "192.0.2.7", "110152"),
    ]
    moved = message(Deed.RETRIEVED, study_instance_uid=STUDY, about="C-MOVE to PACS")
    assert participants(moved) == [
        ("NODE", "false", "", "110153"),
        ("PACS", "false", "", "110152"),
        ("VIEWER", "true", "192.0.2.7", ""),
    ]
    by = "C-MOVE to PACS, certificate CN=CT1,O=Hospital"
    shown = message(Deed.RETRIEVED, study_instance_uid=STUDY, about=by)
    assert participants(shown) == participants(moved)
    asker = [*shown.iter("ActiveParticipant")][-1]
    assert asker.get("AlternativeUserID") == "CN=CT1,O=Hospital"
    objects = [one.get("ParticipantObjectID") for one in got if "Object" in one.tag]
    assert objects == [STUDY, "PID^1"]
    assert codes(got, "ParticipantObjectIDTypeCode") == ["110180", "2"]


def test_a_store_a_delivery_and_a_message_name_who_sent_to_whom() -> None:
    stored = message(Deed.STORED, study_instance_uid=STUDY, who="CT1")
    assert (codes(stored, "EventID"), stored[0].get("EventActionCode")) == (["110104"], "C")
    assert [one[0] for one in participants(stored)] == ["CT1", "NODE"]
    for channel, event in (("dicom", "110104"), ("hl7", "110106")):
        sent = message(Deed.DELIVERED, who="pacs", address=channel, study_instance_uid=STUDY)
        assert codes(sent, "EventID") == [event]
        assert participants(sent)[1][:3] == ("pacs", "false", "192.0.2.10")


def test_storage_commitment_names_who_asked_whom() -> None:
    about = "asks to keep 3, transaction 1.2.9, certificate CN=CT1,O=Hospital"
    by = message(Deed.COMMITMENT, study_instance_uid=STUDY, about=about)
    assert (codes(by, "EventID"), by[0].get("EventActionCode")) == (["110103"], "R")
    assert participants(by) == [("VIEWER", "true", "192.0.2.7", ""), ("NODE", "false", "", "")]
    asker = next(by.iter("ActiveParticipant"))
    assert asker.get("AlternativeUserID") == "CN=CT1,O=Hospital"
    of = message(Deed.COMMITMENT, study_instance_uid=STUDY, who="pacs", address="dicom")
    assert participants(of) == [("NODE", "true", "", ""), ("pacs", "false", "192.0.2.10", "")]
    assert [one.get("ParticipantObjectID") for one in of if "Object" in one.tag] == [STUDY, "PID^1"]


def test_a_refused_commitment_is_a_failed_use_of_a_restricted_function() -> None:
    refused = message(Deed.REFUSED, about="asks to keep objects, refused: NO_SUCH_ACTION")
    assert codes(refused, "EventID") == ["110113"]
    assert codes(refused, "EventTypeCode") == ["110132"]
    assert refused[0].get("EventOutcomeIndicator") == "4"
    assert participants(refused)[0] == ("VIEWER", "true", "192.0.2.7", "")
    (detail,) = refused.iter("ParticipantObjectDetail")
    assert b64decode(detail.get("value") or "").endswith(b"refused: NO_SUCH_ACTION")


def test_a_rejected_association_is_a_failed_authentication_of_a_node() -> None:
    rejected = message(Deed.REFUSED, about="association rejected: local limit exceeded")
    assert (codes(rejected, "EventID"), codes(rejected, "EventTypeCode")) == (
        ["110113"],
        ["110126"],
    )
    assert rejected[0].get("EventOutcomeIndicator") == "4"
    assert participants(rejected)[0] == ("VIEWER", "true", "192.0.2.7", "")


def test_a_query_says_what_was_asked_for_and_start_and_stop_have_their_types() -> None:
    asked = message(Deed.QUERIED, about="C-FIND STUDY by PatientID: 3 found")
    (query,) = asked.iter("ParticipantObjectQuery")
    assert b64decode(query.text or "") == b"C-FIND STUDY by PatientID: 3 found"
    assert codes(asked, "EventID") == ["110112"]
    for what, kind in ((Deed.STARTED, "110120"), (Deed.STOPPED, "110121")):
        one = message(what, who="ichnode", about="web, process 7", address="node1")
        assert (codes(one, "EventID"), codes(one, "EventTypeCode")) == (["110100"], [kind])
        assert codes(one, "RoleIDCode") == ["110150"]
