"""Reports that come as HL7 ORU^R01: whose they are, what is kept of them, and which one counts."""

import logging
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from node.arrive.hl7_desk import Hl7Desk
from node.arrive.index import listening
from node.errors import BadConfiguration, Outage
from node.hl7 import END, START, Received
from node.reported import Answer, ReportStatus
from node.settings import Adt, Receive, Settings, Watch
from node.watch import forget_strays, report_takers
from node.worklist import Reports
from tests.support.builder import HEAD, encoded
from tests.support.oru import BLEEDS, NONE, oru
from tests.support.peers import free_port, running
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, working_node

STUDY = HEAD.build()[0].StudyInstanceUID


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(tmp_path: Path, clock: Clock) -> Iterator[WatchedNode]:
    """A node that takes reports, and has one image of the study A1 of the patient."""
    settings = Settings(
        data_dir=tmp_path / "node",
        receive=Receive(adt=Adt(host="127.0.0.1", port=free_port())),
        watch=Watch(reports=True),
    )
    with working_node(settings, clock, Predictor()) as opened:
        receive_files([encoded(HEAD.build()[0])], opened)
        clock.wait(7200)
        yield opened


def desk(node: WatchedNode, reports: Reports | None = None) -> Hl7Desk:
    takers = report_takers(node.settings, reports or node.worklist.reports, node.clock)
    return Hl7Desk(takers, node.clock)


@pytest.fixture
def send(node: WatchedNode) -> Callable[[bytes], tuple[str, str]]:
    opened = desk(node)
    return lambda data: code(opened.answer(data))


def code(answer: bytes) -> tuple[str, str]:
    read = Received.of(answer)
    return read.value("MSA", 1), read.value("MSA", 3)


def counts(node: WatchedNode) -> tuple[Answer, ReportStatus]:
    last = node.worklist.reports.of_study(STUDY)[-1]
    return last.label.answer, last.status


Send = Callable[[bytes], tuple[str, str]]


def test_a_final_report_leaves_its_label_and_the_sentence_that_decided(
    node: WatchedNode, send: Send
) -> None:
    assert send(oru()) == ("AA", "")
    (kept,) = node.worklist.reports.of_study(STUDY)
    assert kept.label.answer is Answer.BLEEDS
    assert kept.label.sentence == "Acute left subdural hematoma."
    assert (kept.label.rule, kept.label.language) == ('asserted: "subdural hematoma"', "en")
    assert kept.status is ReportStatus.FINAL
    assert kept.said_at.isoformat() == "2026-01-15T09:00:00+00:00"
    (event,) = (one for one in node.views.events(STUDY) if one.what == "report came")
    assert event.detail == {"answer": "bleeds", "status": "final"}


def test_nothing_else_of_its_text_is_kept_nor_logged(
    node: WatchedNode, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    send(oru())
    send(oru(accession="A9"))
    kept = b"".join(path.read_bytes() for path in node.root.glob("ichnode.sqlite*"))
    assert b"Acute left subdural" in kept
    assert b"Miller" not in kept and b"MEIER" not in kept
    for secret in ("Miller", "MEIER", "A9", "A1", "subdural"):
        assert secret not in caplog.text


@pytest.mark.parametrize("status", ["P", "R", "A", "X"])
def test_a_report_that_is_not_final_does_not_count(
    node: WatchedNode, send: Send, status: str
) -> None:
    send(oru())
    assert send(oru(NONE, status=status, at="20260115093000+0000")) == ("AA", "")
    assert counts(node) == (Answer.BLEEDS, ReportStatus.FINAL)
    assert len(node.worklist.reports.of_study(STUDY)) == 2


def test_the_report_that_was_given_out_last_counts_in_whichever_order_they_come(
    node: WatchedNode, send: Send
) -> None:
    send(oru(NONE, status="C", at="20260115093000+0000", control="R2"))
    send(oru())
    assert counts(node) == (Answer.NONE, ReportStatus.CORRECTED)


def test_a_report_that_comes_again_changes_nothing(node: WatchedNode, send: Send) -> None:
    send(oru())
    send(oru(NONE, status="C", control="R2"))
    assert send(oru()) == ("AA", "")
    assert counts(node) == (Answer.NONE, ReportStatus.CORRECTED)
    assert len(node.worklist.reports.of_study(STUDY)) == 2
    assert [one.what for one in node.views.events(STUDY)].count("report came") == 2


def test_a_time_that_is_still_to_come_does_not_keep_a_correction_out(
    node: WatchedNode, send: Send, clock: Clock
) -> None:
    send(oru(at="20991231"))
    clock.wait(60)
    send(oru(NONE, status="C", at="", control="R2"))
    clock.wait(60)
    send(oru(NONE, status="C", at="20260115", control="R3"))
    said = [kept.said_at for kept in node.worklist.reports.of_study(STUDY)]
    assert max(said) <= clock.now


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (oru(accession="A9"), "no study here has its accession number"),
        (oru(patient="P2"), "its accession number is another patient's here"),
        (oru(patient=""), "it names no patient"),
        (oru(birth="19000101"), "the patient of its accession number has another birth date here"),
    ],
)
def test_a_report_of_no_study_here_or_of_another_patient_is_kept_apart(
    node: WatchedNode, send: Send, data: bytes, why: str
) -> None:
    assert send(data) == ("AA", "")
    assert send(data) == ("AA", "")
    assert node.worklist.reports.of_study(STUDY) == []
    (stray,) = node.worklist.reports.strays()
    assert stray.why == why


def test_a_report_that_says_no_birth_date_is_taken_by_its_number_and_patient(
    node: WatchedNode, send: Send
) -> None:
    send(oru(birth=""))
    assert counts(node) == (Answer.BLEEDS, ReportStatus.FINAL)


def test_a_report_that_came_before_its_study_is_attached_when_it_is_sent_again(
    node: WatchedNode, send: Send
) -> None:
    late = HEAD.build()[0]
    late.StudyInstanceUID, late.SeriesInstanceUID = "1.2.9", "1.2.9.1"
    late.SOPInstanceUID, late.AccessionNumber = "1.2.9.1.1", "A9"
    send(oru(accession="A9"))
    receive_files([encoded(late)], node)
    assert node.worklist.reports.of_study("1.2.9") == [], "never by itself"
    send(oru(accession="A9"))
    assert len(node.worklist.reports.of_study("1.2.9")) == 1
    assert node.worklist.reports.strays() == []


def test_strays_are_forgotten_after_their_days(node: WatchedNode, send: Send, clock: Clock) -> None:
    send(oru(accession="A9"))
    clock.now += timedelta(days=29)
    assert forget_strays(node.settings, node.worklist.reports, clock.now) == 0
    clock.now += timedelta(days=2)
    assert forget_strays(node.settings, node.worklist.reports, clock.now) == 1
    assert node.worklist.reports.strays() == []


def test_a_report_without_text_cannot_tell(node: WatchedNode, send: Send) -> None:
    send(oru(""))
    (kept,) = node.worklist.reports.of_study(STUDY)
    assert (kept.label.answer, kept.label.sentence) == (Answer.CANNOT_TELL, "")
    assert kept.label.rule == "the message holds no text"


def test_control_characters_of_a_report_are_kept_as_signs(node: WatchedNode, send: Send) -> None:
    send(oru("IMPRESSION: Acute\0 subdural hematoma\x1b[2J."))
    (kept,) = node.worklist.reports.of_study(STUDY)
    assert "\0" not in kept.label.sentence and "\x1b" not in kept.label.sentence
    assert kept.label.answer is Answer.BLEEDS


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (oru(accession=""), "an OBR without an accession number in OBR-18, OBR-3, OBR-2"),
        (oru().replace(b"ORU^R01", b"ORU^R30"), "it is no ORU^R01"),
        (b"nonsense", "it does not begin with MSH"),
    ],
)
def test_what_is_no_report_is_rejected_with_the_reason(send: Send, data: bytes, why: str) -> None:
    assert send(data) == ("AR", why)


def test_a_report_that_is_not_on_disk_is_not_acknowledged(node: WatchedNode) -> None:
    class Full(Reports):
        def __init__(self) -> None:
            pass

        def studies(self, *_: object) -> tuple[list[str], str]:
            return [STUDY], ""

        def keep(self, *_: object) -> None:
            raise Outage("the worklist database: disk I/O error")

    assert code(desk(node, Full()).answer(oru())) == ("AE", "it cannot be done now: send it again")


def test_reports_are_not_taken_unless_the_settings_say_so(node: WatchedNode) -> None:
    settings = node.settings.model_copy(update={"watch": Watch()})
    assert report_takers(settings, node.worklist.reports, node.clock) == {}
    assert code(Hl7Desk({}, node.clock).answer(oru())) == ("AA", "")
    assert node.worklist.reports.of_study(STUDY) == []


def test_reports_need_the_port_they_come_to() -> None:
    with pytest.raises(ValueError, match=r"watch\.reports: they come to the port of receive\.adt"):
        Settings(watch=Watch(reports=True))


def test_a_language_without_a_vocabulary_is_refused_at_the_start(node: WatchedNode) -> None:
    watch = Watch(reports=True, language="fr")
    settings = node.settings.model_copy(update={"watch": watch})
    with pytest.raises(BadConfiguration, match=r"watch\.language: no language 'fr': en, de, es"):
        report_takers(settings, node.worklist.reports, node.clock)


def test_the_patient_and_the_number_stand_where_the_settings_say(node: WatchedNode) -> None:
    receive = Receive(adt=Adt(port=2576, assigner="MPI"))
    watch = Watch(reports=True, accession_in=("OBR-2",))
    settings = node.settings.model_copy(update={"receive": receive, "watch": watch})
    takers = report_takers(settings, node.worklist.reports, node.clock)
    data = oru(accession="F1", patient="X").replace(b"OBR|1||", b"OBR|1|A1|")
    data = data.replace(b"X^^^HOSP^MR", f"X^^^HOSP~{HEAD.build()[0].PatientID}^^^MPI".encode())
    assert code(Hl7Desk(takers, node.clock).answer(data)) == ("AA", "")
    assert len(node.worklist.reports.of_study(STUDY)) == 1


def exchange(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(START + data + END)
        got = b""
        while END not in got and (part := connection.recv(4096)):
            got += part
    return got.strip(START + END)


def test_reports_come_through_the_listener_of_the_patient_index(node: WatchedNode) -> None:
    with listening(node.settings, desk(node)) as listener:
        assert listener is not None
        assert code(exchange(listener.port, oru())) == ("AA", "")
    assert counts(node) == (Answer.BLEEDS, ReportStatus.FINAL)


@pytest.mark.slow
def test_the_receive_role_takes_reports_while_it_runs(node: WatchedNode) -> None:
    port, config = free_port(), node.root.parent / "ichnode.toml"
    config.write_text(
        f'data_dir = "{node.root}"\n[receive]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f'[receive.adt]\nhost = "127.0.0.1"\nport = {port}\n[watch]\nreports = true\n'
    )
    command = [sys.executable, "-m", "node.cli", "serve", "--role", "receive", "-c", config]
    with running(command, port):
        assert code(exchange(port, oru(BLEEDS))) == ("AA", "")
    assert counts(node)[0] is Answer.BLEEDS
