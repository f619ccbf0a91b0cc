"""The patient index: "unknown, trauma 7" gets a name, and two patients become one."""

import logging
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage

from node.arrive.adt import PatientIndex
from node.arrive.filing import ingest
from node.arrive.hl7_desk import Hl7Desk
from node.arrive.index import listening
from node.arrive.spool import Spool
from node.cases.worker import work_once
from node.cli.pacs import archive
from node.deliver.sending import drain
from node.errors import Retryable
from node.hl7 import END, START, Received
from node.settings import Adt, Deliver, Receive, Settings
from node.states import State
from node.worklist import Arrival, Patients
from tests.support.builder import HEAD, encoded, one
from tests.support.listeners import ack, mllp_peer
from tests.support.peers import free_port, peer, running
from tests.support.postgresql import cluster
from tests.support.speaking import hl7
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, work, working_node

UNKNOWN = HEAD.build()[0].PatientID


def adt(
    trigger: str = "A40",
    *,
    now: str = "4711",
    was: str = UNKNOWN,
    name: str = "MEIER^ANNA",
    birth: str = "19520304",
    charset: str = "",
    control: str = "M1",
) -> bytes:
    lines = [
        f"MSH|^~\\&|PI|HOSP|ICHNODE||20260115||ADT^{trigger}^ADT_A39|{control}|P|2.5.1||||||{charset}",
        f"EVN|{trigger}|20260115",
        f"PID|1||{now}^^^HOSP^MR~9^^^OTHER^XX||{name}||{birth}|F",
    ]
    lines += [f"MRG|{was}^^^HOSP^MR"] if trigger == "A40" else []
    return "".join(f"{line}\r" for line in lines).encode()


def code(answer: bytes) -> tuple[str, str]:
    read = Received.of(answer)
    return read.value("MSA", 1), read.value("MSA", 2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


SR = Comprehensive3DSRStorage


def desk(settings: Settings, patients: Patients, clock: Clock) -> Hl7Desk:
    return Hl7Desk({"ADT": PatientIndex(settings, patients, clock).take}, clock)


def index(node: WatchedNode) -> Hl7Desk:
    return desk(node.settings, node.worklist.patients, node.clock)


def files() -> list[bytes]:
    return [encoded(ds) for ds in HEAD.build()]


def sent_with(node: WatchedNode, clock: Clock) -> int:
    return drain(node.settings, node.outbox, clock, "deliver")


def owner(paths: list[Path]) -> set[tuple[str, str, str]]:
    found = (dcmread(path, stop_before_pixels=True) for path in paths)
    return {(ds.PatientID, ds.PatientBirthDate, str(ds.PatientName)) for ds in found}


def test_study_and_its_results_follow_when_two_patients_become_one(tmp_path, clock):
    (tmp_path / "pacs").mkdir()
    with archive("PACS", tmp_path / "pacs") as port, mllp_peer(ack("AA")) as ris:
        to = Deliver(destinations=(peer("PACS", port), hl7(ris.port)))
        settings = Settings(data_dir=tmp_path / "node", deliver=to)
        with working_node(settings, clock, Predictor()) as node:
            receive_files(files(), node)
            work(node, clock)
            assert sent_with(node, clock) == 5
            before = {path.name: path for path in (tmp_path / "pacs").iterdir()}
            images = {path: path.read_bytes() for path in (node.root / "received").rglob("*.dcm")}
            assert code(index(node).answer(adt())) == ("AA", "M1")
            (row,) = node.views.worklist(clock.now)
            assert row.patient_id == "4711"
            assert row.state is State.TRIAGED, "its report is due again, and it is not read again"
            work(node, clock)
            assert sent_with(node, clock) == 5
            assert node.views.counts()[State.DELIVERED] == 1
            events = [event.what for event in node.views.events(row.study_instance_uid)]
            assert images == {path: path.read_bytes() for path in images}, "images stay"
            assert images
    after = [path for path in (tmp_path / "pacs").iterdir() if path.name not in before]
    assert owner(list(before.values())) != owner(after)
    assert owner(after) == {("4711", "19520304", "MEIER^ANNA")}
    assert len(before) == len(after) == 4, "each object has a UID of its own"
    assert "identity corrected" in events and "reported again" in events
    (report,) = (ds for ds in map(dcmread, after) if ds.SOPClassUID == SR)
    (older,) = (ds for ds in map(dcmread, before.values()) if ds.SOPClassUID == SR)
    (named,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == older.SOPInstanceUID
    assert "the patient's identity was corrected" in report.to_json()
    first, second = (Received.of(message) for message in ris.messages)
    assert (first.value("PID", 3), second.value("PID", 3)) == (UNKNOWN, "4711")
    assert "replaces the result" in second.value("NTE", 3)


@pytest.fixture
def filed(tmp_path, clock):
    """A node that has one image and read nothing."""
    with working_node(Settings(data_dir=tmp_path / "node"), clock, Predictor()) as opened:
        receive_files(files()[:1], opened)
        yield opened


@pytest.mark.peer
def test_identity_follows_in_postgresql_too(tmp_path, clock):
    with cluster() as url:
        settings = Settings(data_dir=tmp_path / "node", database_url=url)
        with working_node(settings, clock, Predictor()) as node:
            receive_files(files(), node)
            work(node, clock)
            assert code(index(node).answer(adt())) == ("AA", "M1")
            work(node, clock)
            (row,) = node.views.worklist(clock.now)
            assert (row.patient_id, row.state) == ("4711", State.DELIVERED)
            assert {who for who, *_ in reported(node)} == {"4711"}


@pytest.fixture
def node(tmp_path, clock):
    """A node that has reported a study."""
    settings = Settings(
        data_dir=tmp_path / "node", deliver=Deliver(destinations=(peer("PACS", free_port()),))
    )
    with working_node(settings, clock, Predictor()) as opened:
        receive_files(files(), opened)
        work(opened, clock)
        yield opened


def reported(node: WatchedNode) -> set[tuple[str, str, str]]:
    return owner(list(node.root.glob("cases/*/report/*.dcm")))


def test_patient_who_gets_a_name_and_a_birth_date(node, clock):
    message = adt("A08", now=UNKNOWN, name="MÜLLER&VON^JOSÉ^^JR^DR", birth="19610203")
    assert code(index(node).answer(message)) == ("AA", "M1")
    work(node, clock)
    assert reported(node) == {(UNKNOWN, "19610203", "MULLER^JOSE^^DR^JR")}


def test_message_that_comes_twice_changes_nothing_the_second_time(node, clock):
    for message in (adt(), adt("A08", now="4711"), adt("A08", now="4711", control="M2")):
        assert code(index(node).answer(message))[0] == "AA"
        work(node, clock)
    (row,) = node.views.worklist(clock.now)
    events = [event.what for event in node.views.events(row.study_instance_uid)]
    assert events.count("identity corrected") == 1


def test_name_of_an_earlier_message_stays_where_a_later_one_has_none(node, clock):
    for message in (adt(), adt("A40", was="4711", now="4712", name="", birth="")):
        index(node).answer(message)
    work(node, clock)
    assert reported(node) == {("4712", "19520304", "MEIER^ANNA")}


def test_name_of_another_patient_is_left_out_where_no_message_has_one(node, clock):
    index(node).answer(adt(name="", birth=""))
    work(node, clock)
    assert {(who, name) for who, _, name in reported(node)} == {("4711", "")}


@pytest.mark.parametrize("message", [adt("A08"), adt(was="SOMEBODY"), adt("A01"), adt("A31")])
def test_message_that_concerns_no_study_is_accepted_and_changes_nothing(filed, message):
    assert code(index(filed).answer(message)) == ("AA", "M1")
    assert not (filed.root / "adt").exists()


def test_study_that_came_long_ago_keeps_its_identity(filed, clock):
    """The next "unknown, trauma 7" is somebody else."""
    clock.wait(8 * 24 * 3600)
    assert code(index(filed).answer(adt()))[0] == "AA"
    (row,) = filed.views.worklist(clock.now)
    assert row.patient_id == UNKNOWN


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"MSH",
        b"MSH|^~\\&|",
        adt().replace(b"MRG|", b"ZZZ|"),
        adt(now=""),
        adt(was=""),
        bytes(range(256)),
        b"MSH|^~\\&" + b"|" * 100000,
    ],
    ids=range(9),
)
def test_message_that_lacks_what_it_needs_is_rejected_and_logged(filed, caplog, message):
    answer = code(index(filed).answer(message))[0]
    if message.startswith(b"MSH|^~\\&|") and b"ADT" not in message:
        assert answer == "AA", "HL7 of another kind"
    else:
        assert answer == "AR"
        (line,) = (record for record in caplog.records if record.levelname == "ERROR")
        assert line.event["action"] == "hl7_malformed"
    assert not (filed.root / "adt").exists()


def test_log_names_nobody(filed, caplog):
    caplog.set_level(logging.INFO)
    index(filed).answer(adt())
    assert "studies follow another identity" in caplog.text
    for secret in ("MEIER", "4711", "19520304", UNKNOWN):
        assert secret not in caplog.text


def test_message_that_cannot_be_done_now_is_an_error_to_be_sent_again(filed):
    class Locked(Patients):
        def __init__(self) -> None:
            pass

        def studies(self, *_: object):
            raise Retryable("the worklist database: locked")

    assert code(desk(filed.settings, Locked(), filed.clock).answer(adt()))[0] == "AE"


def test_late_image_under_the_old_identity_is_filed_and_under_a_third_is_not(node, clock):
    index(node).answer(adt())
    work(node, clock)
    spool = Spool(node.root, 0)
    arrived = []
    for number, (patient, birth) in enumerate(
        [(UNKNOWN, HEAD.build()[0].PatientBirthDate), ("4711", "19520304"), ("999", "19520304")]
    ):
        ds = one(0, PatientID=patient, PatientBirthDate=birth)(HEAD.build())[0]
        ds.SOPInstanceUID = f"1.2.3.{number}"
        _, arrival = ingest(encoded(ds), node.arrivals, spool, caller="", now=clock.now)
        arrived.append(arrival)
    assert arrived == [Arrival.NEW, Arrival.NEW, Arrival.CONFLICT]
    work(node, clock)
    assert {who for who, *_ in reported(node)} == {"4711"}


def test_report_that_is_being_made_meanwhile_is_void(tmp_path, clock):
    with working_node(Settings(data_dir=tmp_path / "node"), clock, Predictor()) as node:
        receive_files(files(), node)
        for _ in range(60):
            clock.wait(1)
            claimed = node.cases.claim({State.TRIAGED}, "slow", 600, clock.now)
            if claimed:
                break
            work_once(node, "other")
        assert claimed
        index(node).answer(adt())
        assert not node.cases.renew(claimed.id, "slow", 600, clock.now)
        work(node, clock)
        assert {who for who, *_ in reported(node)} == {"4711"}


def test_result_under_the_old_identity_that_waits_is_sent_no_more(node, clock):
    assert sent_with(node, clock) == 0
    index(node).answer(adt())
    work(node, clock)
    (row,) = node.views.worklist(clock.now)
    assert {line.status for line in row.deliveries} == {"CANCELLED", "OWED"}


# --- the listener ---


def exchange(port: int, data: bytes, answers: int = 1) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        got = b""
        while got.count(END) < answers and (part := connection.recv(4096)):
            got += part
        return got


@pytest.fixture
def port(filed, clock):
    receive = Receive(adt=Adt(host="127.0.0.1", port=free_port()))
    settings = filed.settings.model_copy(update={"receive": receive})
    with listening(settings, desk(settings, filed.worklist.patients, clock)) as listener:
        yield listener.port


def test_listener_answers_each_message_of_a_connection(filed, clock, port):
    both = START + adt("A01") + END + START + adt(control="M2") + END
    answers = exchange(port, both, 2).split(END)
    assert [code(each.removeprefix(START)) for each in answers[:2]] == [("AA", "M1"), ("AA", "M2")]
    (row,) = filed.views.worklist(clock.now)
    assert row.patient_id == "4711"


def test_listener_closes_what_is_no_frame_and_goes_on(port, caplog):
    assert exchange(port, b"GET / HTTP/1.1\r\n\r\n") == b""
    assert exchange(port, START + b"x" * (1 << 20) + b"y") == b""
    assert code(exchange(port, START + b"nonsense" + END).strip(START + END))[0] == "AR"
    assert code(exchange(port, START + adt() + END).strip(START + END))[0] == "AA"
    assert "no MLLP frame" in caplog.text


def test_listener_admits_only_whom_the_settings_name(filed, clock):
    receive = Receive(adt=Adt(host="127.0.0.1", port=free_port(), allowed_addresses=["192.0.2.1"]))
    settings = filed.settings.model_copy(update={"receive": receive})
    with listening(settings, desk(settings, filed.worklist.patients, clock)) as listener:
        with suppress(ConnectionError):
            assert exchange(listener.port, START + adt() + END) == b""
        assert listener.admits("192.0.2.1")
    (row,) = filed.views.worklist(clock.now)
    assert row.patient_id == UNKNOWN


def test_listener_is_off_where_no_port_is_set(filed):
    with listening(filed.settings, index(filed)) as listener:
        assert listener is None


@pytest.mark.parametrize(
    ("charset", "codec"), [("", "utf-8"), ("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1")]
)
def test_name_is_read_in_the_charset_of_the_message(charset, codec):
    data = adt(name="MÜLLER\\T\\SÖHNE^A", charset=charset).decode().encode(codec)
    assert Received.of(data).field("PID", 5)[0] == ["MÜLLER&SÖHNE", "A"]


def test_identifier_is_that_of_the_assigner_that_the_settings_name(filed):
    receive = Receive(adt=Adt(assigner="OTHER"))
    settings = filed.settings.model_copy(update={"receive": receive})
    answer = desk(settings, filed.worklist.patients, filed.clock).answer
    assert code(answer(adt())) == ("AR", "M1"), "MRG has no identifier of it"
    merged = adt().replace(b"MRG|", f"MRG|X^^^HOSP~{UNKNOWN}^^^OTHER~".encode())
    assert code(answer(merged)) == ("AA", "M1")
    (row,) = filed.views.worklist(filed.clock())
    assert row.patient_id == "9"


@pytest.mark.slow
def test_receive_role_listens_for_adt_while_it_runs(filed):
    port, config = free_port(), filed.root.parent / "ichnode.toml"
    config.write_text(
        f'data_dir = "{filed.root}"\n[receive]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f'[receive.adt]\nhost = "127.0.0.1"\nport = {port}\nmax_age_days = 100000\n'
    )
    command = [sys.executable, "-m", "node.cli", "serve", "--role", "receive", "-c", config]
    with running(command, port):
        assert code(exchange(port, START + adt() + END).strip(START + END)) == ("AA", "M1")
    (row,) = filed.views.worklist(filed.clock())
    assert row.patient_id == "4711"
    assert len(list((filed.root / "adt").glob("*.hl7"))) == 1
