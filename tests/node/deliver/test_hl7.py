"""Messages of HL7: what they hold, and what becomes of them at peers well and faulty."""

import time

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import parse_message

from node.deliver.answer import Verdict
from node.deliver.channels.hl7 import acknowledged
from node.hl7 import control_id, segment
from node.outcomes import NotAnalysed
from node.states import Priority, Reason
from tests.support.listeners import ack, drip, in_pieces, mllp_peer, raw, silent
from tests.support.peers import free_port
from tests.support.speaking import NEGATIVE, SUSPECTED, hl7, speaking
from training.datasets.series import Identity


def valid(message: bytes, charset: str = "utf-8") -> Message:
    """Return the message, which must be valid for hl7apy's strict profile of its version."""
    parsed = parse_message(message.decode(charset), validation_level=VALIDATION_LEVEL.STRICT)
    assert parsed.validate()
    return parsed


def rows(message: bytes, name: str) -> list[list[str]]:
    """Return the fields of each segment of a name, by number."""
    lines = message.decode().split("\r")
    return [line.split("|") for line in lines if line.startswith(name)]


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1"])
def test_flag_is_a_valid_preliminary_result_that_orders_nothing(tmp_path, version):
    site = {"version": version, "receiving_application": "RIS", "assigner": "HOSP"}
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port, hl7=site)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 1
        assert node.deliveries() == [("ris", "SENT", 1)]
    (message,) = ris.messages
    valid(message)
    (header,), (patient,), (request,) = (rows(message, name) for name in ("MSH", "PID", "OBR"))
    assert header[8] == "ORU^R01^ORU_R01" and header[11] == version
    assert (header[2], header[4], header[17]) == ("ICHNODE", "RIS", "UNICODE UTF-8")
    assert patient[3] == f"{Identity.of('a').patient_id}^^^HOSP^MR"
    assert patient[5] == "^^^^^^U", "nobody's name is sent"
    assert request[2] == "" and request[25] == "P"
    assert not rows(message, "ORC")
    observations = {row[3].split("^")[0]: row for row in rows(message, "OBX")}
    assert {row[11] for row in observations.values()} == {"P"}
    assert observations["ICH.PRIORITY"][5] == "SUSPECTED"
    assert observations["ICH.VOLUME"][5:7] == ["77.4", "mL^milliliter^UCUM"]
    assert observations["ICH.STUDY"][5] == Identity.of("a").study_instance_uid
    assert "RESEARCH USE ONLY" in observations["ICH.SUMMARY"][5]


def test_retraction_takes_every_observation_back(tmp_path):
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        node.read(NEGATIVE)
        assert node.drain() == 1
    flag, retraction = ris.messages
    valid(retraction)
    keys = [[(row[3], row[4]) for row in rows(each, "OBX")] for each in (flag, retraction)]
    assert set(keys[0]) <= set(keys[1])
    assert {row[11] for row in rows(retraction, "OBX")} == {"D"}
    assert rows(retraction, "OBR")[0][25] == "C"
    assert rows(flag, "OBR")[0][3] == rows(retraction, "OBR")[0][3]
    assert "TAKEN BACK" in rows(retraction, "NTE")[0][3]
    assert b"SUSPECTED|" not in retraction


def test_site_says_where_the_accession_stands_and_how_things_are_taken_back(tmp_path):
    site = {
        "accession_in": ["OBR-2", "OBR-18"],
        "retract_with": "W",
        "service": ["77", "HEAD^CT", "RIS"],
        "processing_id": "T",
    }
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port, hl7=site)) as node:
        node.read(SUSPECTED)
        node.drain()
        node.read(NEGATIVE)
        node.drain()
        accession = node.row().accession_number
    request = rows(ris.messages[1], "OBR")[0]
    assert (request[2], request[3], request[18]) == (accession, "", accession)
    assert request[4] == r"77^HEAD\S\CT^RIS"
    assert {row[11] for row in rows(ris.messages[1], "OBX")} == {"W"}
    assert rows(ris.messages[1], "MSH")[0][10] == "T"
    valid(ris.messages[1])


HOSTILE = "a|b^c&d~e\\f\\E\\g\rOBX|9|ST|X||forged\n\x0b\x1c\r\\H\\ grün Ω"


@pytest.mark.parametrize("charset", ["ASCII", "8859/1", "UNICODE UTF-8"])
def test_text_from_outside_adds_no_segment_and_no_field(tmp_path, charset):
    site = {"charset": charset}
    outcome = NotAnalysed(Reason.GEOMETRY, HOSTILE)
    to = hl7(1, hl7=site, priorities=["NOT_ANALYSED"])
    with mllp_peer(ack("AA")) as ris:
        to = to.model_copy(update={"port": ris.port})
        with speaking(tmp_path, to) as node:
            node.read(outcome)
            assert node.drain() == 1
    (message,) = ris.messages
    encoding = {"ASCII": "ascii", "8859/1": "latin-1", "UNICODE UTF-8": "utf-8"}[charset]
    text = message.decode(encoding)
    assert [line[:3] for line in text.split("\r") if line] == [
        *("MSH", "PID", "OBR", *["NTE"] * 3, *["OBX"] * 3)
    ]
    assert "\x0b" not in text and "\x1c" not in text and "\n" not in text
    reason = next(line for line in text.split("\r") if "Reason: " in line)
    assert reason.count("|") == 3
    assert r"a\F\b\S\c\T\d\R\e\E\f\E\E\E\g" in reason and r"\E\H\E\ " in reason
    assert ("grün" in reason) == (charset != "ASCII")
    valid(message, encoding)


def test_segment_escapes_each_delimiter_and_ends_where_its_fields_end():
    assert segment("NTE", {1: "1", 3: "a|b", 5: ""}) == r"NTE|1||a\F\b"
    assert segment("PID", {3: ("a^b", "", "", "c&d")}) == r"PID|||a\S\b^^^c\T\d"


# --- acknowledgements ---


def test_message_that_is_sent_again_is_the_same_message(tmp_path):
    with (
        mllp_peer(ack("AE", error="207"), ack("AA")) as ris,
        speaking(tmp_path, hl7(ris.port)) as node,
    ):
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("ris", "OWED", 1)]
        assert node.drain() == 0, "before its time it is not tried again"
        node.wait(seconds=10)
        assert node.drain() == 1
        assert node.deliveries() == [("ris", "SENT", 2)]
    first, second = ris.messages
    assert first == second


def test_what_the_peer_rejects_is_a_dead_letter_at_once(tmp_path, caplog):
    with mllp_peer(ack("AR", error="204")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        node.drain()
        node.wait(hours=24)
        node.drain()
        assert node.deliveries() == [("ris", "DEAD", 1)]
    assert len(ris.messages) == 1
    assert "AR (error 204)" in caplog.text and "DOE" not in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(raw(b""), id="closes"),
        pytest.param(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="is no MLLP"),
        pytest.param(raw(b"\x0bMSH|^~\\&|RIS\rMSA|AA|"), id="closes in the middle"),
        pytest.param(raw(b"\x0bMSH|^~\\&|RIS\rMSA\r\x1c\r"), id="says nothing"),
        pytest.param(raw(b"\x0b\x1c\r"), id="says less"),
        pytest.param(raw(b"\x0b" + b"x" * 70000), id="does not stop"),
        pytest.param(ack("AA", about="ANOTHER"), id="means another message"),
        pytest.param(ack("XX"), id="has a code of its own"),
    ],
)
def test_answer_that_acknowledges_nothing_counts_as_none(tmp_path, fault):
    with mllp_peer(fault, ack("AA")) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        assert node.deliveries() == [("ris", "OWED", 1)]
        node.wait(seconds=10)
        assert node.drain() == 1
    assert ris.messages[0] == ris.messages[1]


@pytest.mark.parametrize("fault", [silent, drip])
def test_peer_that_does_not_come_to_an_end_is_left_within_the_time_limit(tmp_path, fault):
    with (
        mllp_peer(fault, ack("AA")) as ris,
        speaking(tmp_path, hl7(ris.port), timeout_s=0.5) as node,
    ):
        node.read(SUSPECTED)
        start = time.monotonic()
        assert node.drain() == 0
        assert time.monotonic() - start < 8
        node.wait(seconds=10)
        assert node.drain() == 1


def test_answer_in_pieces_is_one_answer(tmp_path):
    with mllp_peer(in_pieces) as ris, speaking(tmp_path, hl7(ris.port)) as node:
        node.read(SUSPECTED)
        assert node.drain() == 1


def test_peer_that_is_down_gets_the_message_once_it_is_up(tmp_path):
    port = free_port()
    with speaking(tmp_path, hl7(port), max_attempts=3) as node:
        node.read(SUSPECTED)
        assert node.drain() == 0
        node.wait(seconds=10)
        with mllp_peer(ack("CA"), port=port) as ris:
            assert node.drain() == 1
        assert len(ris.messages) == 1


def test_after_the_last_attempt_a_message_is_a_dead_letter(tmp_path):
    with mllp_peer(ack("AE")) as ris, speaking(tmp_path, hl7(ris.port), max_attempts=2) as node:
        node.read(SUSPECTED)
        for _ in range(3):
            node.drain()
            node.wait(hours=1)
        assert node.deliveries() == [("ris", "DEAD", 2)]


def test_other_delimiters_of_the_peer_are_read():
    answer = b"MSH$*~\\&$RIS\rMSA$AR$ME\rERR$$$200*no\r"
    assert acknowledged(answer, "ME").verdict is Verdict.FINAL
    assert acknowledged(answer, "ME").message == "AR (error 200)"


def test_control_ids_differ_and_fit_msh_10():
    assert len(control_id("a")) == 20 and control_id("a") == control_id("a") != control_id("b")


def test_priority_names_are_those_of_the_worklist(tmp_path):
    to = {"priorities": ["NOT_SUSPECTED"]}
    with mllp_peer(ack("AA")) as ris, speaking(tmp_path, hl7(ris.port, **to)) as node:
        node.read(NEGATIVE)
        assert node.drain() == 1
    held = {row[3].split("^")[0]: row[5] for row in rows(ris.messages[0], "OBX")}
    assert held["ICH.PRIORITY"] == Priority.NOT_SUSPECTED
    assert "does not exclude hemorrhage" in held["ICH.SUMMARY"]
    assert not {"ICH.VOLUME", "ICH.KEYSLICE"} & set(held)
