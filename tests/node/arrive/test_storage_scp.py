import logging
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, MRImageStorage
from pynetdicom.dimse_primitives import C_STORE

from node.arrive.admission import LOCAL_LIMIT, UNKNOWN_CALLED, UNKNOWN_CALLER, Admission
from node.arrive.filing import ingest
from node.arrive.spool import PARTIAL, NoSpace, Spool
from node.dicom.net import gathered
from node.dicom.net.association import Status, contexts_out
from node.dicom.net.store_scu import echo, send_files
from node.dicom.net.tls import Certificate
from node.errors import BadConfiguration, BadObject, Outage, Retryable
from node.settings import Caller, Settings
from node.worklist import Arrival, Worklist
from node.worklist.schema import database
from tests.conftest import require_program
from tests.support.databases import new_database
from tests.support.disks import small_disk
from tests.support.peers import (
    ct_series,
    ct_series_of_other_patient,
    free_port,
    listening,
    peer,
    storescu,
    wait_until,
)
from tests.support.receiving import STUDY, dataset_bytes, listening_node, now
from training.datasets.series import Identity


@pytest.fixture
def node(tmp_path):
    with listening_node(tmp_path) as node:
        yield node


@pytest.fixture
def files(tmp_path):
    return ct_series(tmp_path / "sent")


# What arrives


def test_file_on_disk_holds_the_sent_bytes(node, files):
    assert [result.status for result in node.send(*files)] == [0, 0, 0, 0]
    instances = {i.header.sop_instance_uid: i for i in node.instances()}
    for sent in files:
        instance = instances[dcmread(sent).SOPInstanceUID]
        stored = node.settings.data_dir / instance.stored.path
        assert dataset_bytes(stored) == dataset_bytes(sent)
        assert dcmread(stored).pixel_array.tobytes() == dcmread(sent).pixel_array.tobytes()


@pytest.mark.peer
@pytest.mark.parametrize(
    ("convert", "propose"),
    [
        (("dcmconv", "+ti"), "-xi"),
        (("dcmconv", "+tb"), "-xb"),
        (("dcmcrle",), "-xr"),
        (("dcmcjpeg", "+e1"), "-xs"),
        (("dcmcjpls",), "-xt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_dcmtk_sends_in_any_common_transfer_syntax_and_its_bytes_are_kept(
    node, files, tmp_path, convert, propose
):
    require_program(convert[0])
    sent = tmp_path / "converted.dcm"
    subprocess.run([*convert, files[0], sent], check=True)
    result = storescu([sent], node.receiver.port, propose)
    assert result.returncode == 0, result.stdout
    (instance,) = node.instances()
    assert instance.header.transfer_syntax_uid == dcmread(sent).file_meta.TransferSyntaxUID
    stored = node.settings.data_dir / instance.stored.path
    assert dcmread(stored).PixelData == dcmread(sent).PixelData


def test_parallel_associations_lose_nothing(node, tmp_path):
    series = {seed: ct_series(tmp_path / seed, 12, seed=seed) for seed in "abcd"}
    answers: list = []
    threads = [
        threading.Thread(target=lambda f=f: answers.extend(node.send(*f))) for f in series.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status for a in answers] == [0] * 48
    for seed in series:
        assert len(node.instances(Identity.of(seed).study_instance_uid)) == 12


def test_object_sent_again_is_acknowledged_and_filed_once(node, files):
    node.send(files[0])
    assert node.send(files[0])[0].status == Status.SUCCESS
    assert len(node.instances()) == 1
    assert len(list((node.settings.data_dir / "received").rglob("*.dcm"))) == 1


def test_object_without_pixels_is_filed_for_assemble_to_judge(node, files, tmp_path):
    ds = dcmread(files[0])
    del ds.PixelData
    ds.save_as(tmp_path / "no_pixels.dcm")
    assert node.send(tmp_path / "no_pixels.dcm")[0].status == Status.SUCCESS
    assert [i.header.has_pixel_data for i in node.instances()] == [False]


def test_folder_goes_the_same_way_as_an_association(node, files, tmp_path):
    node.send(*files)
    new_database(f"sqlite:///{tmp_path}/other.sqlite")
    with closing(Worklist(f"sqlite:///{tmp_path}/other.sqlite")) as worklist:
        spool = Spool(tmp_path / "other", 0)
        for path in files:
            _, arrival = ingest(path, worklist.arrivals, spool, caller="", now=now())
            assert arrival is Arrival.NEW
        (series,) = worklist.arrivals.study(STUDY)
    assert [i.header for i in series.instances] == [i.header for i in node.instances()]


def test_file_that_is_no_dicom_is_refused_and_not_copied(tmp_path, node):
    (tmp_path / "notes.txt").write_text("not an image")
    spool = Spool(tmp_path / "other", 0)
    with pytest.raises(BadObject, match="not a DICOM file"):
        ingest(tmp_path / "notes.txt", node.worklist.arrivals, spool, caller="", now=now())
    assert list((tmp_path / "other").rglob("*.dcm")) == []


# Completeness


def released(node) -> bool:
    return all(series.released_at for series in node.worklist.arrivals.study(STUDY))


def test_release_of_the_association_releases_its_series(node, files):
    node.send(*files)
    wait_until(lambda: released(node))


def test_aborted_association_releases_nothing(node, files):
    kinds = {(dcmread(files[0]).SOPClassUID, dcmread(files[0]).file_meta.TransferSyntaxUID)}
    with node.associated(contexts_out(kinds)) as assoc:
        assert assoc.send_c_store(files[0]).Status == 0
        assoc.abort()
    wait_until(lambda: not node.receiver.connections)
    assert not released(node)


# What cannot be filed


def damaged(path: Path, tmp_path: Path, keep: int, tail: bytes = b"") -> Path:
    """Write the file's meta information, `keep` bytes of its dataset, then `tail`."""
    data = path.read_bytes()
    start = len(data) - len(dataset_bytes(path))
    (tmp_path / "damaged.dcm").write_bytes(data[: start + keep] + tail)
    return tmp_path / "damaged.dcm"


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_dataset_of_garbage_is_not_understood_and_kept(node, files, tmp_path):
    sent = damaged(files[0], tmp_path, 0, b"\x99garbage!" * 500)
    (result,) = node.send(sent)
    assert result.status == Status.CANNOT_UNDERSTAND
    assert result.message
    assert node.kept().endswith(b"\x99garbage!" * 500)
    assert node.worklist.quarantine.listed()[0].code == "CANNOT_UNDERSTAND"


def test_header_that_is_cut_short_is_not_understood_and_kept(node, files, tmp_path):
    (result,) = node.send(damaged(files[0], tmp_path, 200))
    assert result.status == Status.CANNOT_UNDERSTAND
    assert node.kept().endswith(dataset_bytes(files[0])[:200])


def test_empty_dataset_is_not_filed(node, files, tmp_path):
    (result,) = node.send(damaged(files[0], tmp_path, 0))
    assert not result.stored
    assert node.instances() == []


def test_instance_uid_that_contradicts_the_request_is_a_mismatch_and_kept(node, files, tmp_path):
    ds = dcmread(files[0])
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.save_as(tmp_path / "other.dcm", enforce_file_format=False)
    (result,) = node.send(tmp_path / "other.dcm")
    assert result.status == Status.MISMATCH
    assert result.message == "SOP class or instance UID differs from the request's"
    assert node.kept().endswith(dataset_bytes(tmp_path / "other.dcm"))
    assert node.instances() == []


def test_study_under_another_patient_is_kept_apart_and_the_sender_is_told(node, files, tmp_path):
    node.send(*files)
    (other,) = ct_series_of_other_patient(tmp_path / "other", "a")
    (result,) = node.send(other)
    assert result.status == Status.IDENTITY_CONFLICT
    assert len(node.instances()) == 4
    assert node.kept().endswith(dataset_bytes(other))


def test_other_sop_classes_and_deflated_data_are_not_negotiated(node, files, tmp_path):
    ds = dcmread(files[0])
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    ds.save_as(tmp_path / "mr.dcm")
    (result,) = node.send(tmp_path / "mr.dcm")
    assert "accepts none of the SOP classes" in result.message

    ds = dcmread(files[0])
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "deflated.dcm")
    kinds = {(ds.SOPClassUID, DeflatedExplicitVRLittleEndian)}
    with node.associated(contexts_out(kinds)) as assoc:
        accepted = [cx.transfer_syntax[0] for cx in assoc.accepted_contexts]
    assert DeflatedExplicitVRLittleEndian not in accepted


def test_full_disk_answers_out_of_resources_and_files_nothing(tmp_path, files):
    with listening_node(tmp_path, min_free_mb=1 << 40) as node:
        (result,) = node.send(files[0])
        assert result.status == Status.OUT_OF_RESOURCES
        assert "MB free" in result.message
        assert node.instances() == []


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_fails_refuses_all_says_so_once_and_takes_all_afterwards(
    fault, tmp_path, files, caplog
):
    caplog.set_level(logging.WARNING)
    chosen = {"database_url": f"sqlite:///{tmp_path}/worklist.sqlite"}
    with small_disk(tmp_path / "node") as disk, listening_node(tmp_path, **chosen) as node:
        disk.fill() if fault == "full" else disk.forbid_writing()
        answers = [sent.status for sent in node.send(*files)]
        disk.empty() if fault == "full" else disk.allow_writing()
        again = [sent.status for sent in node.send(*files)]
        assert len(node.instances()) == len(files)
    assert answers == [Status.OUT_OF_RESOURCES] * len(files)
    assert again == [Status.SUCCESS] * len(files)
    said = [r.event["action"] for r in caplog.records if r.event["action"].startswith("role_")]
    assert said == ["role_waits", "role_goes_on"]


def test_a_database_that_stays_locked_is_answered_within_ten_seconds_however_many_wait():
    """Who comes while others are committed waits for them, then for its own turn and commit."""
    assert 2 * (database.BUSY_TIMEOUT_MS + database.TURN_TIMEOUT_MS) < 10_000


def test_who_waits_for_the_turn_to_write_gives_up_too(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 60_000)
    monkeypatch.setattr(database, "TURN_TIMEOUT_MS", 100)
    new_database(f"sqlite:///{tmp_path}/worklist.sqlite")
    opened = database.Database(f"sqlite:///{tmp_path}/worklist.sqlite")
    with (
        closing(opened),
        opened.write(),
        pytest.raises(Outage, match="another thread"),
        opened.write(),
    ):
        pass


@pytest.mark.sqlite
def test_locked_database_answers_out_of_resources(tmp_path, files, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
    with listening_node(tmp_path) as node:
        with closing(sqlite3.connect(node.settings.data_dir / "ichnode.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            assert node.send(files[0])[0].status == Status.OUT_OF_RESOURCES
        assert node.send(files[0])[0].status == Status.SUCCESS


def test_error_of_our_own_is_a_processing_failure_and_names_no_patient(node, files, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError(dcmread(files[0]).PatientName)

    monkeypatch.setattr(node.worklist.arrivals, "add", broken)
    (result,) = node.send(files[0])
    assert result.status == Status.PROCESSING_FAILURE
    assert "Phantom" not in result.message


# Who may send


@pytest.mark.parametrize(
    ("allowed", "calling", "called", "address", "refusal"),
    [
        ((), "ANY", "ICHNODE", "127.0.0.1", None),
        ((), "ANY", "ICHNODE", "::1", None),
        ((), "ANY", "ICHNODE", "::ffff:127.0.0.1", None),
        ((), "ANY", "ICHNODE", "10.0.0.5", UNKNOWN_CALLER),
        ((), "ANY", "OTHER", "127.0.0.1", UNKNOWN_CALLED),
        (("PACS",), "PACS", "ICHNODE", "10.0.0.5", None),
        (("PACS",), " PACS ", "ICHNODE ", "10.0.0.5", None),
        (("PACS",), "pacs", "ICHNODE", "10.0.0.5", UNKNOWN_CALLER),
        (("PACS",), "CT1", "ICHNODE", "127.0.0.1", UNKNOWN_CALLER),
        (("PACS@10.0.0.5",), "PACS", "ICHNODE", "10.0.0.5", None),
        (("PACS@10.0.0.5",), "PACS", "ICHNODE", "::ffff:10.0.0.5", None),
        (("PACS@10.0.0.5",), "PACS", "ICHNODE", "10.0.0.6", UNKNOWN_CALLER),
        (("PACS@10.0.0.5",), "PACS", "ICHNODE", "127.0.0.1", UNKNOWN_CALLER),
        (("CT1", "PACS@10.0.0.0/24"), "PACS", "ICHNODE", "10.0.0.77", None),
        (("PACS@fe80::1",), "PACS", "ICHNODE", "fe80::1%eth0", None),
    ],
)
def test_admission_knows_callers_by_title_and_address(allowed, calling, called, address, refusal):
    admission = Admission.of("ICHNODE", allowed)
    found = admission.refusal(calling, called, address)
    assert (found and found.rejection) == refusal
    if refusal is None:
        assert admission.knows_address(address)


CT7 = Certificate("CN=CT7,O=Hospital", "00ff")


@pytest.mark.parametrize(
    ("calling", "address", "shown", "words"),
    [
        ("CT7", "10.0.0.5", None, "CT7 is not in allowed_callers"),
        ("", "10.0.0.5", None, "a caller without a title is not in allowed_callers"),
        ("PACS", "10.9.9.9", None, "PACS is in allowed_callers, but not at 10.9.9.9"),
        ("CT8", "10.0.0.5", None, "CT8 is in receive.callers, but not without a certificate"),
        (
            *("CT9", "10.0.0.5", CT7),
            "CT9 is in receive.callers, but not with the certificate "
            "CN=CT7,O=Hospital (sha256:00ff)",
        ),
        ("PACS", "10.0.0.5", None, None),
        ("CT8", "10.0.0.5", CT7, None),
    ],
)
def test_rejection_says_which_setting_does_not_let_a_caller_in(calling, address, shown, words):
    callers = [
        Caller(ae_title="CT8", certificate="CN=CT7, O=Hospital"),
        Caller(ae_title="CT9", certificate="SHA256:01:FF"),
    ]
    admission = Admission.of("ICHNODE", ["PACS@10.0.0.0/24"], callers)
    found = admission.refusal(calling, "ICHNODE", address, shown)
    assert (found and found.words) == words


def test_rights_go_with_the_certificate():
    title = {"ae_title": "CT7", "may": ("find", "get")}
    callers = [Caller(**title, certificate="sha256:00:FF"), Caller(ae_title="CT7")]
    admission = Admission.of("ICHNODE", [], callers)
    assert admission.rights("CT7", "10.0.0.5", CT7) == {"store", "find", "get"}
    for other in (None, Certificate("CN=CT7,O=Hospital", "01ff")):
        assert admission.rights("CT7", "10.0.0.5", other) == {"store"}


def test_caller_with_an_address_that_is_none_is_a_wrong_setting():
    with pytest.raises(BadConfiguration, match="PACS@pacs.local"):
        Admission.of("ICHNODE", ["PACS@pacs.local"])


def test_connection_from_an_unknown_address_is_closed_before_it_says_anything(tmp_path):
    with (
        listening_node(tmp_path, allowed_callers=("PACS@10.9.9.9",)) as node,
        socket.create_connection(("127.0.0.1", node.receiver.port), timeout=5) as stranger,
    ):
        assert stranger.recv(1) == b""


@pytest.mark.peer
def test_unknown_caller_is_rejected_and_the_known_one_is_not(tmp_path, files):
    with listening_node(tmp_path, allowed_callers=("CT1",)) as node:
        refused = storescu(files, node.receiver.port, calling="CT2")
        assert "Calling AE Title Not Recognized" in refused.stdout
        assert storescu(files, node.receiver.port, calling="CT1").returncode == 0
        assert {i.header.sop_instance_uid for i in node.instances()} == {
            dcmread(path).SOPInstanceUID for path in files
        }


@pytest.mark.peer
def test_association_for_another_called_title_is_rejected(node, files):
    refused = storescu(files, node.receiver.port, called="OTHER")
    assert "Called AE Title Not Recognized" in refused.stdout
    assert node.instances() == []


def test_association_beyond_the_limit_is_told_so_and_silent_connections_do_not_count(tmp_path):
    with listening_node(tmp_path, max_associations=1) as node:
        port = node.receiver.port
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        kinds = contexts_out({("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")})
        with (
            node.associated(kinds),
            pytest.raises(Retryable, match="[Ll]ocal limit"),
        ):
            echo(node.peer, node.settings)
        wait_until(lambda: _echoes(node))
        for connection in silent:
            connection.close()
    assert LOCAL_LIMIT == (2, 3, 2)


def _echoes(node) -> bool:
    try:
        return echo(node.peer, node.settings) == 0
    except Retryable:
        return False


# Hostile input


def closed_within(connection: socket.socket, within_s: float) -> bool:
    """Return whether the node ends the connection in time, whatever it says before."""
    connection.settimeout(within_s)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: ichnode\r\n\r\n",
        bytes(range(256)) * 64,
        b"\x01\x00" + b"\xff\xff\xff\xff",  # an A-ASSOCIATE-RQ of 4 GiB
        b"\x04\x00" + b"\x7f\xff\xff\xff" + bytes(1000),  # P-DATA of 2 GiB, before any association
        b"\x01\x00" + b"\x00\x00\x00\x44" + b"\xff" * 0x44,
        b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    ],
    ids=["http", "garbage", "length_lie", "data_first", "bad_request", "abort"],
)
def test_garbage_ends_its_own_connection_and_no_other(tmp_path, files, said):
    with listening_node(tmp_path, network_timeout_s=1.0) as node:
        with socket.create_connection(("127.0.0.1", node.receiver.port)) as stranger:
            stranger.sendall(said)
            assert closed_within(stranger, 15)
        assert node.send(files[0])[0].status == 0


def test_peer_that_says_nothing_or_drips_does_not_delay_others_and_is_closed(tmp_path, files):
    with listening_node(tmp_path, network_timeout_s=1.0) as node:
        silent, drip = (
            socket.create_connection(("127.0.0.1", node.receiver.port)) for _ in range(2)
        )
        drip.sendall(b"\x01\x00\x00\x00\x01\x00dripping")
        start = time.monotonic()
        assert [r.status for r in node.send(*files)] == [0, 0, 0, 0]
        assert time.monotonic() - start < 2
        with silent, drip:
            assert closed_within(silent, 10)
            assert closed_within(drip, 10)


def test_stop_is_prompt_though_connections_are_open(tmp_path):
    with listening_node(tmp_path) as node:
        silent = socket.create_connection(("127.0.0.1", node.receiver.port))
        wait_until(lambda: node.receiver.connections)
        start = time.monotonic()
    assert time.monotonic() - start < 3
    silent.close()


def test_idle_association_is_aborted(tmp_path):
    kinds = contexts_out({("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")})
    with (
        listening_node(tmp_path, network_timeout_s=1.0) as node,
        node.associated(kinds) as assoc,
    ):
        wait_until(lambda: assoc.is_aborted)


def test_object_larger_than_the_limit_is_refused_and_the_next_one_taken(tmp_path):
    (large,) = ct_series(tmp_path / "large", 1, size=1024)
    (small,) = ct_series(tmp_path / "small", 1, seed="b")
    with listening_node(tmp_path, max_object_mb=1) as node:
        results = node.send(large, small)
        assert [r.status for r in results] == [Status.OUT_OF_RESOURCES, Status.SUCCESS]
        assert results[0].message == "over 1 MB"
        assert node.instances() == []


def test_object_too_large_for_memory_lies_in_an_unnamed_file_while_it_comes(
    node, tmp_path, monkeypatch
):
    monkeypatch.setattr(gathered, "IN_MEMORY_BYTES", 1 << 20)
    opened, scratch = [], Spool.scratch
    monkeypatch.setattr(Spool, "scratch", lambda spool: opened.append(1) or scratch(spool))
    (large,) = ct_series(tmp_path / "large", 1, size=1024)
    (small,) = ct_series(tmp_path / "small", 1, seed="b")
    assert [result.status for result in node.send(small, large)] == [Status.SUCCESS] * 2
    assert opened == [1]
    (instance,) = node.instances()
    stored = node.settings.data_dir / instance.stored.path
    assert dataset_bytes(stored) == dataset_bytes(large)
    assert list((node.settings.data_dir / PARTIAL).iterdir()) == []


def test_no_room_for_a_large_object_is_out_of_resources_and_the_next_is_taken(
    node, tmp_path, monkeypatch
):
    def full(_spool):
        raise NoSpace("less than 1 MB free")

    monkeypatch.setattr(gathered, "IN_MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(Spool, "scratch", full)
    (large,) = ct_series(tmp_path / "large", 1, size=1024)
    (small,) = ct_series(tmp_path / "small", 1, seed="b")
    results = node.send(large, small)
    assert [result.status for result in results] == [Status.OUT_OF_RESOURCES, Status.SUCCESS]
    assert results[0].message == "less than 1 MB free"


def test_header_over_the_limit_is_not_read_and_the_object_is_kept(tmp_path, files):
    ds = dcmread(files[0])
    ds.add_new(0x00291010, "OB", bytes(2 << 20))
    ds.save_as(tmp_path / "long.dcm")
    with listening_node(tmp_path, max_header_mb=1) as node:
        results = node.send(tmp_path / "long.dcm", files[1])
        assert [r.status for r in results] == [Status.CANNOT_UNDERSTAND, Status.SUCCESS]
        assert "longer than 1 MB" in node.worklist.quarantine.listed()[0].reason
        assert node.kept().endswith(dataset_bytes(tmp_path / "long.dcm"))


def test_peer_that_does_not_wait_for_answers_gets_them_in_order(node, files):
    ds = dcmread(files[0])
    kinds = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)}
    with node.associated(contexts_out(kinds)) as assoc:
        context = assoc._get_valid_context(*kinds.pop(), "scu", allow_conversion=False)
        assoc._reactor_checkpoint.clear()  # or it takes the answers for itself
        for message_id in range(20):
            request = C_STORE()
            request.MessageID = message_id + 1
            request.AffectedSOPClassUID = ds.SOPClassUID
            request.AffectedSOPInstanceUID = ds.SOPInstanceUID
            request.Priority = 0
            request.DataSet = BytesIO(dataset_bytes(files[0]))
            assoc.dimse.send_msg(request, context.context_id)
        answers = [assoc.dimse.get_msg(block=True)[1] for _ in range(20)]
        assoc._reactor_checkpoint.set()
    assert [(a.MessageIDBeingRespondedTo, a.Status) for a in answers] == [
        (message_id + 1, 0) for message_id in range(20)
    ]


# A node that dies

SERVE = """
import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from node.arrive.storage_scp import Receiver
from node.settings import Caller, Receive, Settings
from node.worklist import Worklist

receive = Receive(host="127.0.0.1", port=int(sys.argv[2]), min_free_mb=0)
settings = Settings(data_dir=Path(sys.argv[1]), receive=receive)
worklist = Worklist(settings.url)
with Receiver(settings, worklist.arrivals, worklist.announcements, lambda: datetime.now(UTC)):
    sys.stdin.read()
"""


def test_every_acknowledged_object_survives_a_killed_receiver(tmp_path):
    settings = Settings(data_dir=tmp_path / "node")
    new_database(settings.url)
    sent = {seed: ct_series(tmp_path / seed, 60, seed=seed) for seed in "abc"}
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(settings.data_dir), str(port)], stdin=subprocess.PIPE
    )
    acknowledged: list[Path] = []

    def push(files: list[Path]) -> None:
        for result in send_files(files, peer("ICHNODE", port), settings):
            if result.stored:
                acknowledged.append(result.path)

    with process:
        wait_until(lambda: listening(port))
        threads = [threading.Thread(target=push, args=(files,)) for files in sent.values()]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 20)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert len(acknowledged) < 180

    with closing(Worklist(settings.url)) as worklist:
        filed = {
            instance.header.sop_instance_uid: settings.data_dir / instance.stored.path
            for seed in sent
            for series in worklist.arrivals.study(Identity.of(seed).study_instance_uid)
            for instance in series.instances
        }
    for path in acknowledged:
        assert dataset_bytes(filed[dcmread(path).SOPInstanceUID]) == dataset_bytes(path)
    for path in filed.values():
        dcmread(path)
