"""C-FIND, C-MOVE and C-GET of what the node holds, by DCMTK and by pynetdicom."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import FileDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_context, build_role, evt

from node.arrive.intake import Intake
from node.arrive.query_scp import QueryScp
from node.arrive.storage_scp import Receiver
from node.dicom.net.association import PATIENT_ROOT, STUDY_ROOT
from node.settings import Caller, Deliver, Destination, Receive, Settings
from node.worklist import Worklist
from tests.conftest import require_program
from tests.support.databases import new_database
from tests.support.peers import (
    NODELAY,
    ct_series,
    free_port,
    listening,
    mute_peer,
    storescp,
    wait_until,
)
from training.datasets.series import Identity

FIND, MOVE, GET = STUDY_ROOT
PATIENT_FIND = PATIENT_ROOT[0]
ALL = Caller(ae_title="VIEWER", may=("find", "move", "get"))


@dataclass
class Node:
    settings: Settings
    worklist: Worklist
    port: int

    def take(self, files: list[Path]) -> None:
        intake = Intake(self.settings, self.worklist.arrivals, now)
        for path in files:
            intake.take(path.name, path.read_bytes(), caller="CT1")
        intake.release()


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def querying(folder: Path, *callers: Caller, to: tuple[Destination, ...] = ()) -> Iterator[Node]:
    """Run the node's SCP while the block runs."""
    settings = Settings(
        data_dir=folder / "node",
        receive=Receive(host="127.0.0.1", port=0, min_free_mb=0, callers=callers or (ALL,)),
        deliver=Deliver(destinations=to, timeout_s=3.0),
    )
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        queries = QueryScp(settings, worklist.archive)
        handles = (worklist.arrivals, worklist.announcements)
        with Receiver(settings, *handles, now, queries) as receiver:
            yield Node(settings, worklist, receiver.port)


def named(folder: Path, seed: str, name: str, number: int = 3, **values: Any) -> list[FileDataset]:
    """Write a series of a study of its own; return its objects."""
    found = []
    for path in ct_series(folder / seed, number, seed=seed):
        ds = dcmread(path)
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.PatientName = name
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.save_as(path)
        found.append(dcmread(path))
    return found


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[FileDataset]]:
    folder = tmp_path_factory.mktemp("sent")
    return {
        "a": named(folder, "a", "M\xfcller^Jos\xe9", StudyDate="20260105"),
        "b": named(folder, "b", "Doe^Jane", StudyDate="20260115"),
    }


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, sent: dict[str, list[FileDataset]]
) -> Iterator[Node]:
    with querying(tmp_path_factory.mktemp("node")) as running:
        running.take([Path(str(ds.filename)) for series in sent.values() for ds in series])
        yield running


def dcmtk(program: str, port: int, *options: str, called: str = "ICHNODE") -> str:
    """Run a DCMTK client as VIEWER; return what it printed."""
    require_program(program)
    done = subprocess.run(
        [program, "-v", "-aet", "VIEWER", "-aec", called, *options, "127.0.0.1", str(port)],
        env=os.environ | NODELAY,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    return done.stdout


@contextmanager
def associated(port: int, *contexts: Any, calling: str = "VIEWER", **options: Any) -> Iterator[Any]:
    ae = AE(calling)
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = 30
    assoc = ae.associate("127.0.0.1", port, list(contexts), ae_title="ICHNODE", **options)
    assert assoc.is_established
    try:
        yield assoc
    finally:
        assoc.release()


def asking(level: str, **keys: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    with disable_value_validation():
        for keyword, value in keys.items():
            setattr(ds, keyword, value)
    return ds


def find(node: Node, ds: Dataset, model: str = FIND, **options: Any) -> list[tuple[Any, Any]]:
    with associated(node.port, build_context(model), **options) as assoc:
        return list(assoc.send_c_find(ds, model))


# C-FIND


@pytest.mark.peer
def test_findscu_lists_studies_series_and_images(
    node: Node, sent: dict[str, list[FileDataset]], tmp_path: Path
) -> None:
    first = sent["a"][0]
    keys = ("-k", "PatientName=m*", "-k", "StudyInstanceUID", "-k", "ModalitiesInStudy")
    printed = dcmtk(
        "findscu", node.port, "-S", "-X", "-od", str(tmp_path), "-k", "0008,0052=STUDY", *keys
    )
    (file,) = tmp_path.glob("rsp*.dcm")
    found = dcmread(file, force=True)
    assert (found.StudyInstanceUID, found.ModalitiesInStudy) == (first.StudyInstanceUID, "CT")
    assert "Success" in printed
    for level, unique, count in (
        ("SERIES", "SeriesInstanceUID", 1),
        ("IMAGE", "SOPInstanceUID", 3),
    ):
        keys = ("-k", f"StudyInstanceUID={first.StudyInstanceUID}", "-k", unique)
        printed = dcmtk("findscu", node.port, "-S", "-k", f"0008,0052={level}", *keys)
        assert printed.count("(Pending)") == count, printed
    printed = dcmtk("findscu", node.port, "-P", "-k", "0008,0052=PATIENT", "-k", "PatientID")
    assert printed.count("(Pending)") == 2


def test_answers_are_in_utf_8_and_hold_what_was_asked_for(
    node: Node, sent: dict[str, list[FileDataset]]
) -> None:
    ds = asking(
        "STUDY", PatientName="", StudyDate="20260101-20260110", NumberOfStudyRelatedInstances=None
    )
    (status, found), (last, _) = find(node, ds)
    assert (status.Status, last.Status) == (0xFF00, 0x0000)
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.PatientName == "M\xfcller^Jos\xe9"
    assert found.NumberOfStudyRelatedInstances == 3
    assert found.StudyInstanceUID == sent["a"][0].StudyInstanceUID
    assert found.RetrieveAETitle == "ICHNODE"
    assert "AccessionNumber" not in found


def test_a_name_is_matched_in_the_character_set_of_the_query(node: Node) -> None:
    for charset in ("ISO_IR 192", "ISO_IR 100"):
        ds = asking("STUDY", SpecificCharacterSet=charset, PatientName="M\xdcLLER*")
        assert len(find(node, ds)) == 2


def test_the_priority_is_a_private_return_key(node: Node) -> None:
    ds = asking("STUDY", StudyInstanceUID=Identity.of("a").study_instance_uid)
    block = ds.private_block(0x2117, "ICHNODE", create=True)
    block.add_new(0x01, "CS", "")
    (_, found), _ = find(node, ds)
    block = found.private_block(0x2117, "ICHNODE")
    assert block[0x01].value in ("PENDING", b"PENDING ")
    assert b"RESEARCH" in bytes(str(block[0x02].value).upper(), "ascii")


@pytest.mark.parametrize(
    ("level", "keys", "model", "status"),
    [
        ("PATIENT", {"PatientID": ""}, FIND, 0xA900),
        ("NOWHERE", {}, FIND, 0xA900),
        ("STUDY", {"StudyDate": "2026010"}, FIND, 0xC000),
        ("STUDY", {"StudyInstanceUID": "1.2\\x"}, FIND, 0xC000),
        ("STUDY", {"StudyInstanceUID": "1.2.3"}, FIND, 0x0000),
        ("PATIENT", {"PatientID": "nobody"}, PATIENT_FIND, 0x0000),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(
    node: Node, level: str, keys: dict[str, str], model: str, status: int
) -> None:
    ((answer, _),) = find(node, asking(level, **keys), model)
    assert answer.Status == status
    assert bool(answer.get("ErrorComment")) == bool(status)


def test_keys_that_are_not_supported_are_told_by_the_status(node: Node) -> None:
    uid = Identity.of("a").study_instance_uid
    (status, _), _ = find(node, asking("STUDY", StudyInstanceUID=uid, PatientComments=""))
    assert status.Status == 0xFF01


def test_a_find_is_cancelled(tmp_path: Path) -> None:
    with querying(tmp_path) as node:
        node.take([f for n in range(45) for f in ct_series(tmp_path / f"{n}", 1, seed=f"s{n}")])
        with associated(node.port, build_context(FIND)) as assoc:
            seen = []
            for status, _ in assoc.send_c_find(asking("STUDY"), FIND, msg_id=7):
                if not seen:
                    assoc.send_c_cancel(7, query_model=FIND)
                seen.append(status.Status)
            assert seen[-1] in (0xFE00, 0x0000)
            again = list(assoc.send_c_find(asking("STUDY", PatientName="*"), FIND, msg_id=8))
            assert len(again) == 46, "a cancel of one request leaves the next alone"


def test_answers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.arrive.query_scp.MOST_ANSWERS", 2)
    with querying(tmp_path) as node:
        node.take([f for n in range(3) for f in ct_series(tmp_path / f"{n}", 1, seed=f"s{n}")])
        statuses = [status for status, _ in find(node, asking("STUDY"))]
        assert [s.Status for s in statuses] == [0xFF00, 0xFF00, 0xA700]
        assert "narrow" in statuses[-1].ErrorComment


# Rights


@pytest.mark.parametrize("right", ["find", "move", "get", "store"])
def test_each_right_is_a_right_of_its_own(tmp_path: Path, right: str) -> None:
    (file,) = ct_series(tmp_path / "sent", 1)
    ds = asking("STUDY", StudyInstanceUID=dcmread(file).StudyInstanceUID)
    contexts = [build_context(uid) for uid in STUDY_ROOT]
    contexts.append(build_context(CTImageStorage, ExplicitVRLittleEndian))
    with (
        querying(tmp_path, Caller(ae_title="VIEWER", may=(right,))) as node,
        associated(node.port, *contexts) as assoc,
    ):
        statuses = {
            "find": [s.Status for s, _ in assoc.send_c_find(ds, FIND)][-1],
            "move": [s.Status for s, _ in assoc.send_c_move(ds, "PACS", MOVE)][-1],
            "get": [s.Status for s, _ in assoc.send_c_get(ds, GET)][-1],
            "store": assoc.send_c_store(dcmread(file)).Status,
        }
    assert {name for name, status in statuses.items() if status != 0x0124} == {right}


def test_a_caller_of_the_older_list_may_store_alone(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "node",
        receive=Receive(host="127.0.0.1", port=0, min_free_mb=0, allowed_callers=("VIEWER",)),
    )
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        queries = QueryScp(settings, worklist.archive)
        handles = (worklist.arrivals, worklist.announcements)
        with Receiver(settings, *handles, now, queries) as receiver:
            node = Node(settings, worklist, receiver.port)
            ((answer, _),) = find(node, asking("STUDY"))
            assert answer.Status == 0x0124


def test_a_caller_from_another_address_has_no_right(tmp_path: Path) -> None:
    here = Caller(ae_title="VIEWER", address="127.0.0.0/8", may=("store",))
    there = Caller(ae_title="VIEWER", address="192.0.2.0/24", may=("find",))
    with querying(tmp_path, here, there) as node:
        ((answer, _),) = find(node, asking("STUDY"))
        assert answer.Status == 0x0124


# C-GET


@pytest.mark.peer
def test_getscu_gets_a_study(
    node: Node, sent: dict[str, list[FileDataset]], tmp_path: Path
) -> None:
    uid = sent["a"][0].StudyInstanceUID
    keys = ("-k", "0008,0052=STUDY", "-k", f"StudyInstanceUID={uid}")
    printed = dcmtk("getscu", node.port, "-S", "-od", str(tmp_path), *keys)
    got = {ds.SOPInstanceUID: ds for ds in map(dcmread, tmp_path.iterdir())}
    assert set(got) == {ds.SOPInstanceUID for ds in sent["a"]}, printed
    for original in sent["a"]:
        assert got[original.SOPInstanceUID].PixelData == original.PixelData


def getting(node: Node, ds: Dataset, *syntaxes: str) -> tuple[list[Any], list[Dataset]]:
    got = []

    def store(event: evt.Event) -> int:
        found = event.dataset
        found.file_meta = event.file_meta
        got.append(found)
        return 0x0000

    contexts = [build_context(GET), *(build_context(CTImageStorage, s) for s in syntaxes)]
    role = [build_role(CTImageStorage, scp_role=True)]
    handlers = [(evt.EVT_C_STORE, store)]
    with associated(node.port, *contexts, ext_neg=role, evt_handlers=handlers) as assoc:
        return [status for status, _ in assoc.send_c_get(ds, GET)], got


def test_objects_are_got_as_stored_or_uncompressed(tmp_path: Path) -> None:
    files = ct_series(tmp_path / "sent", 2)
    for path in files:
        ds = dcmread(path)
        pixels = ds.pixel_array
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path)
    study = asking("STUDY", StudyInstanceUID=dcmread(files[0]).StudyInstanceUID)
    with querying(tmp_path) as node:
        node.take(files)
        for offered, form in (
            ((RLELossless, ExplicitVRLittleEndian), RLELossless),
            ((JPEGLSLossless, ExplicitVRLittleEndian), ExplicitVRLittleEndian),
            ((ImplicitVRLittleEndian,), ImplicitVRLittleEndian),
        ):
            statuses, got = getting(node, study, *offered)
            assert [s.Status for s in statuses] == [0xFF00, 0x0000]
            assert {ds.file_meta.TransferSyntaxUID for ds in got} == {form}
            assert (got[-1].pixel_array == pixels).all()
            counts = [statuses[0].NumberOfRemainingSuboperations]
            counts += [s.NumberOfCompletedSuboperations for s in statuses]
            assert counts == [1, 1, 2]
        statuses, got = getting(node, study, JPEGLSLossless)
        assert (statuses[-1].Status, statuses[-1].NumberOfFailedSuboperations) == (0xA702, 2)
        assert not got


def test_an_object_that_changed_on_disk_is_a_failed_sub_operation(tmp_path: Path) -> None:
    files = ct_series(tmp_path / "sent", 3)
    first = dcmread(files[0])
    study = asking("STUDY", StudyInstanceUID=first.StudyInstanceUID)
    with querying(tmp_path) as node:
        node.take(files)
        assert len(find(node, study)) == 2  # it is in the index now
        unique = ([first.StudyInstanceUID], [first.SeriesInstanceUID], [first.SOPInstanceUID])
        (stored,) = node.worklist.archive.stored(*unique)
        place = node.settings.data_dir / stored.path
        place.write_bytes(place.read_bytes()[:-2] + b"\xff\xff")
        role = [build_role(CTImageStorage, scp_role=True)]
        contexts = [build_context(GET), build_context(CTImageStorage, ExplicitVRLittleEndian)]
        handlers = [(evt.EVT_C_STORE, lambda _: 0xB007)]
        with associated(node.port, *contexts, ext_neg=role, evt_handlers=handlers) as assoc:
            *_, (last, failed) = assoc.send_c_get(study, GET)
    assert last.Status == 0xB000
    counts = (last.NumberOfFailedSuboperations, last.NumberOfWarningSuboperations)
    assert (counts, last.NumberOfCompletedSuboperations) == ((1, 2), 0)
    assert failed.FailedSOPInstanceUIDList == first.SOPInstanceUID


def test_a_get_needs_its_unique_key(node: Node) -> None:
    for ds in (asking("STUDY"), asking("SERIES", StudyInstanceUID="1.2"), asking("IMAGE")):
        (status,), _ = getting(node, ds, ExplicitVRLittleEndian)
        assert status.Status == 0xA900
    (status,), _ = getting(node, asking("STUDY", StudyInstanceUID="1.2"), ExplicitVRLittleEndian)
    assert status.Status == 0x0000


def test_a_series_and_an_image_are_got_alone(
    node: Node, sent: dict[str, list[FileDataset]]
) -> None:
    one = sent["b"][1]
    keys = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
    _, got = getting(node, asking("SERIES", **keys), ExplicitVRLittleEndian)
    assert len(got) == 3
    ds = asking("IMAGE", **keys, SOPInstanceUID=one.SOPInstanceUID)
    _, got = getting(node, ds, ExplicitVRLittleEndian)
    assert [found.SOPInstanceUID for found in got] == [one.SOPInstanceUID]


def test_a_peer_that_is_no_scp_of_a_made_class_cannot_store_it(node: Node) -> None:
    ae = AE("VIEWER")
    seg = "1.2.840.10008.5.1.4.1.1.66.4"
    contexts = [build_context(seg), build_context(GET)]
    assoc = ae.associate("127.0.0.1", node.port, contexts, ae_title="ICHNODE")
    assert [cx.abstract_syntax for cx in assoc.accepted_contexts] == [GET]
    assoc.release()


# C-MOVE


@pytest.mark.peer
def test_movescu_sends_to_a_configured_destination_alone(
    tmp_path: Path, sent: dict[str, list[FileDataset]]
) -> None:
    uid = sent["a"][0].StudyInstanceUID
    keys = ("-k", "0008,0052=STUDY", "-k", f"StudyInstanceUID={uid}")
    with storescp(tmp_path / "pacs") as pacs, querying(tmp_path, to=(pacs,)) as node:
        node.take([Path(str(ds.filename)) for ds in sent["a"]])
        printed = dcmtk("movescu", node.port, "-S", "-aem", "STORESCP", *keys)
        assert "Success" in printed
        got = {dcmread(file).SOPInstanceUID for file in (tmp_path / "pacs").iterdir()}
        assert got == {ds.SOPInstanceUID for ds in sent["a"]}
        printed = dcmtk("movescu", node.port, "-S", "-aem", "STRANGER", *keys)
        assert "MoveDestinationUnknown" in printed


def moving(port: int, ds: Dataset, to: str) -> list[Any]:
    with associated(port, build_context(MOVE)) as assoc:
        return [status for status, _ in assoc.send_c_move(ds, to, MOVE)]


@pytest.mark.peer
def test_a_refused_and_a_dead_destination_are_told_with_the_counts(
    tmp_path: Path, sent: dict[str, list[FileDataset]]
) -> None:
    dead = Destination(name="dead", ae_title="DEAD", host="127.0.0.1", port=free_port())
    ds = asking("STUDY", StudyInstanceUID=sent["a"][0].StudyInstanceUID)
    with storescp(tmp_path / "p", "--refuse") as pacs, querying(tmp_path, to=(pacs, dead)) as node:
        node.take([Path(str(each.filename)) for each in sent["a"]])
        for title in ("STORESCP", "DEAD"):
            last = moving(node.port, ds, title)[-1]
            assert last.Status == 0xA702
            assert (last.NumberOfFailedSuboperations, last.NumberOfCompletedSuboperations) == (3, 0)


def test_a_silent_destination_does_not_keep_images_out(
    tmp_path: Path, sent: dict[str, list[FileDataset]]
) -> None:
    ds = asking("STUDY", StudyInstanceUID=sent["a"][0].StudyInstanceUID)
    storing = Caller(ae_title="CT1")
    with mute_peer() as mute, querying(tmp_path, ALL, storing, to=(mute,)) as node:
        node.take([Path(str(each.filename)) for each in sent["a"]])
        ae = AE("VIEWER")
        movers = []
        for number in range(5):
            contexts = [build_context(MOVE)]
            assoc = ae.associate("127.0.0.1", node.port, contexts, ae_title="ICHNODE")
            movers.append((assoc, assoc.send_c_move(ds, "MUTE", MOVE, msg_id=number + 1)))
        context = build_context(CTImageStorage, ExplicitVRLittleEndian)
        with associated(node.port, context, calling="CT1") as assoc:
            assert assoc.send_c_store(sent["b"][0]).Status == 0x0000
        last = [[status for status, _ in answers][-1].Status for _, answers in movers]
        assert sorted(last) == [0xA700, 0xA702, 0xA702, 0xA702, 0xA702]
        for assoc, _ in movers:
            assoc.release()
        wait_until(lambda: listening(node.port))
