"""Procedure steps and availability notifications that a peer sends to the running receiver."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom.sop_class import InstanceAvailabilityNotification as NOTIFICATION
from pynetdicom.sop_class import ModalityPerformedProcedureStep as PROCEDURE_STEP

from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.arrive.storage_scp import Receiver
from node.dicom.net.acceptor import LONGEST_ATTRIBUTES_BYTES
from node.dicom.net.association import Status
from node.settings import Receive, Settings
from node.worklist import Worklist
from tests.support.announcing import (
    Teller,
    attributes,
    available,
    begun,
    performed,
    references,
)
from tests.support.associating import (
    APPLICATION,
    CT,
    DATA,
    EXPLICIT,
    MAXIMUM,
    NAMED,
    context,
    item,
    pdu,
    request,
)
from tests.support.builder import HEAD, encoded, uid
from tests.support.databases import new_database

STUDY, SERIES = uid("study"), uid("study", "head")
UIDS = [ds.SOPInstanceUID for ds in HEAD.build()]
IMAGES = references(UIDS)


@dataclass
class Node:
    """A receiver that listens, and its worklist."""

    settings: Settings
    worklist: Worklist
    port: int

    def told(self) -> dict[str, int]:
        """Return how many images of the series were announced, by whom."""
        (series,) = self.worklist.arrivals.study(STUDY)
        return {one.told_by: one.images for one in series.announcements}

    @property
    def in_progress(self) -> bool:
        (series,) = self.worklist.arrivals.study(STUDY)
        return series.in_progress

    def receive(self, count: int = 1) -> None:
        spool = Spool(self.settings.data_dir, min_free_mb=0)
        for ds in HEAD.build()[:count]:
            at = datetime.now(UTC)
            ingest(encoded(ds), self.worklist.arrivals, spool, caller="CT1", now=at)


@contextmanager
def listening(folder: Path, **receive: object) -> Iterator[Node]:
    chosen = {"host": "127.0.0.1", "port": 0, "min_free_mb": 0, **receive}
    settings = Settings(data_dir=folder / "data", receive=Receive(**chosen))
    settings.data_dir.mkdir()
    new_database(settings.url)
    with (
        Worklist(settings.url) as worklist,
        Receiver(
            settings, worklist.arrivals, worklist.announcements, lambda: datetime.now(UTC)
        ) as receiver,
    ):
        yield Node(settings, worklist, receiver.port)


@pytest.fixture
def node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Node]:
    with listening(tmp_path) as node:
        yield node
    assert not any(record.exc_info for record in caplog.records)


def test_a_step_that_ends_announces_what_it_lists(node: Node) -> None:
    node.receive()
    with Teller(node.port) as ct:
        assert ct.create(begun(STUDY)).Status == Status.SUCCESS
        assert node.in_progress and node.told() == {}
        assert ct.set(performed({SERIES: IMAGES})).Status == Status.SUCCESS
    assert not node.in_progress and node.told() == {"MPPS": 30}


def test_a_step_tells_over_several_associations_before_any_image(node: Node) -> None:
    with Teller(node.port) as ct:
        ct.create(begun(STUDY))
    with Teller(node.port) as ct:
        ct.set(performed({SERIES: IMAGES}, "IN PROGRESS"))
    node.receive()
    assert node.in_progress and node.told() == {}
    last = Dataset()
    last.PerformedProcedureStepStatus = "DISCONTINUED"
    with Teller(node.port) as ct:
        assert ct.set(last).Status == Status.SUCCESS
    assert not node.in_progress and node.told() == {"MPPS": 30}


def test_a_step_of_another_modality_announces_nothing(node: Node) -> None:
    node.receive()
    with Teller(node.port) as mr:
        assert mr.create(begun(STUDY, "MR")).Status == Status.SUCCESS
        assert not node.in_progress
        captures = references(["1.9.1"], SecondaryCaptureImageStorage)
        assert mr.set(performed({SERIES: captures})).Status == Status.SUCCESS
    assert node.told() == {}


def test_notifications_add_up_and_those_sent_twice_do_not(node: Node) -> None:
    node.receive()
    with Teller(node.port, "PACS") as pacs:
        for part in (IMAGES[:20], IMAGES[:20], IMAGES[15:]):
            answer = pacs.notify(available(STUDY, {SERIES: part}))
            assert answer.Status == Status.SUCCESS
        assert node.told() == {"IAN": 30}
        gone = references(UIDS[28:], InstanceAvailability="UNAVAILABLE")
        pacs.notify(available(STUDY, {SERIES: gone}))
    assert node.told() == {"IAN": 28}


def test_statuses_of_a_step_follow_the_standard(node: Node) -> None:
    with Teller(node.port) as ct:
        assert ct.set(performed({})).Status == Status.NO_SUCH_SOP_INSTANCE
        assert ct.create(begun(STUDY, status="COMPLETED")).Status == Status.INVALID_ATTRIBUTE_VALUE
        assert ct.create(available(STUDY, {})).Status == Status.MISSING_ATTRIBUTE
        assert ct.create(begun(STUDY)).Status == Status.SUCCESS
        assert ct.create(begun(STUDY)).Status == Status.DUPLICATE_SOP_INSTANCE
        assert ct.set(performed({SERIES: [Dataset()]})).Status == Status.MISSING_ATTRIBUTE
        assert ct.set(performed({SERIES: IMAGES})).Status == Status.SUCCESS
        answer = ct.set(performed({SERIES: IMAGES[:3]}))
        assert (answer.Status, answer.ErrorID) == (Status.PROCESSING_FAILURE, 0xA710)
        assert answer.ErrorComment == "Performed Procedure Step Object may no longer be updated"
        assert ct.notify(available(STUDY, {})).Status == Status.MISSING_ATTRIBUTE
    node.receive()
    assert node.told() == {"MPPS": 30}


def test_a_series_of_another_study_is_ignored_and_logged(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.receive()
    with Teller(node.port) as ct:
        ct.create(begun("1.7.99"))
        ct.set(performed({SERIES: IMAGES}))
        ct.notify(available("1.7.99", {SERIES: IMAGES}))
    assert node.told() == {}
    said = [r.event for r in caplog.records if "another study" in r.getMessage()]
    assert [one["told_by"] for one in said] == ["MPPS", "IAN"]
    assert {one["series"] for one in said} == {SERIES}


def test_a_series_that_is_announced_first_under_another_study_is_not_taken(node: Node) -> None:
    with Teller(node.port) as pacs:
        pacs.notify(available("1.7.99", {SERIES: IMAGES}))
    node.receive()
    assert node.told() == {}


def test_who_may_not_call_may_not_announce(tmp_path: Path) -> None:
    with (
        listening(tmp_path, allowed_callers=("CT1",)) as node,
        pytest.raises(AssertionError),
        Teller(node.port, "STRANGER"),
    ):
        pass


# Byte by byte: what no toolkit would send


def command(field: int, sop_class: str, instance: str = "1.2.3", *, is_set: bool = False) -> bytes:
    def element(tag: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, tag, len(value)) + value

    named, of = (0x0003, 0x1001) if is_set else (0x0002, 0x1000)
    return (
        element(named, sop_class.encode())
        + element(0x0100, struct.pack("<H", field))
        + element(0x0110, struct.pack("<H", 7))
        + element(0x0800, struct.pack("<H", 0))
        + element(of, instance.encode())
    )


def pdv(control: int, value: bytes, number: int = 1) -> bytes:
    body = struct.pack(">LBB", len(value) + 2, number, control) + value
    return struct.pack(">BxL", DATA, len(body)) + body


def status_of(answer: bytes) -> int:
    start = answer.index(struct.pack("<HHL", 0, 0x0900, 2)) + 8
    return int(struct.unpack("<H", answer[start : start + 2])[0])


def answered(node: Node, abstract: str, asked: bytes, *parts: bytes) -> int:
    """Return the status that the node answers a message with, its data set sent in parts."""
    contexts = context(1, abstract, EXPLICIT)
    user = item(0x50, MAXIMUM + NAMED)
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
        connection.sendall(request(APPLICATION, contexts, user))
        assert pdu(connection)[0] == 2
        pieces = [pdv(0, part) for part in parts[:-1]] + [pdv(2, parts[-1])]
        connection.sendall(pdv(3, asked) + b"".join(pieces))
        kind, body = pdu(connection)
        assert kind == DATA
        return status_of(body)


BEGUN = attributes(begun(STUDY))
ODD = {
    "another class": (PROCEDURE_STEP, command(0x0140, CT), BEGUN, Status.NO_SUCH_SOP_CLASS),
    "no UID": (
        PROCEDURE_STEP,
        command(0x0140, PROCEDURE_STEP, ""),
        BEGUN,
        Status.INVALID_SOP_INSTANCE,
    ),
    "a UID of letters": (
        PROCEDURE_STEP,
        command(0x0140, PROCEDURE_STEP, "../../etc"),
        BEGUN,
        Status.INVALID_SOP_INSTANCE,
    ),
    "no data set": (
        PROCEDURE_STEP,
        command(0x0140, PROCEDURE_STEP),
        b"",
        Status.MISSING_ATTRIBUTE,
    ),
    "a data set that is none": (
        PROCEDURE_STEP,
        command(0x0140, PROCEDURE_STEP),
        b"\x08\0\x60\0CS\xff\xffno",
        Status.MISSING_ATTRIBUTE,
    ),
    "N-SET of a notification": (
        NOTIFICATION,
        command(0x0120, NOTIFICATION, is_set=True),
        BEGUN,
        Status.UNRECOGNISED_OPERATION,
    ),
    "a step stored": (
        PROCEDURE_STEP,
        command(0x0001, PROCEDURE_STEP),
        BEGUN,
        Status.UNRECOGNISED_OPERATION,
    ),
    "an image created": (CT, command(0x0140, CT), BEGUN, Status.UNRECOGNISED_OPERATION),
}


@pytest.mark.parametrize(("abstract", "asked", "dataset", "status"), ODD.values(), ids=ODD)
def test_what_is_no_such_message_is_refused_with_a_status(
    node: Node, abstract: str, asked: bytes, dataset: bytes, status: Status
) -> None:
    assert answered(node, abstract, asked, dataset) == status


def test_a_message_over_the_limit_is_refused(node: Node) -> None:
    parts = [bytes(1 << 18)] * (LONGEST_ATTRIBUTES_BYTES // (1 << 18)) + [b"\0\0"]
    asked = command(0x0140, PROCEDURE_STEP)
    assert answered(node, PROCEDURE_STEP, asked, *parts) == Status.RESOURCE_LIMITATION


@pytest.mark.sqlite
def test_a_message_that_the_database_cannot_take_is_a_failure(node: Node) -> None:
    node.worklist.close()
    (node.settings.data_dir / "ichnode.sqlite").rename(node.settings.data_dir / "gone")
    with Teller(node.port) as ct:
        assert ct.create(begun(STUDY)).Status == Status.PROCESSING_FAILURE
