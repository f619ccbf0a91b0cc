import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from errno import EIO
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ImplicitVRLittleEndian, MRImageStorage, RLELossless
from pynetdicom import AE, evt

from node import outages
from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cli.pacs import archive
from node.clock import utc_now
from node.deliver.answer import Answer, Verdict
from node.deliver.channels import CHANNELS, Channel, probe
from node.deliver.loop import POLL_S, Job, deliver
from node.deliver.sending import drain
from node.dicom.net.association import contexts_archive, contexts_echo
from node.dicom.net.requestor import associated
from node.dicom.net.store_scu import echo, send_files
from node.dicom.read.header import read_header
from node.errors import Outage, Retryable
from node.outages import Outages
from node.outcomes import Planned, Reported, Triaged
from node.records import Parcel, ReportObject
from node.settings import Deliver, Destination, Settings
from node.states import Priority, State
from node.worklist import Actor, Signature, Unreachable, Worklist
from tests.support.databases import new_database
from tests.support.peers import (
    ct_series,
    free_port,
    mute_peer,
    orthanc,
    peer,
    storescp,
    wait_until,
)
from training.datasets.series import Identity


@dataclass
class Outbox:
    """A node with something to send, whose time the test moves."""

    settings: Settings
    worklist: Worklist
    now: datetime = datetime(2026, 11, 20, 8, tzinfo=UTC)
    sent: dict[str, Path] = field(default_factory=dict)

    def clock(self) -> datetime:
        return self.now

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def owe(
        self,
        *objects: Path,
        seed: str = "report",
        to: str = "peer",
        priority: Priority = Priority.SUSPECTED,
    ) -> None:
        """Make a reported case that owes these objects to a destination."""
        (slice_,) = ct_series(self.settings.data_dir / "in" / seed, 1, seed=seed)
        ingest(
            slice_,
            self.worklist.arrivals,
            Spool(self.settings.data_dir, 0),
            caller="",
            now=self.now,
        )
        owed = []
        for path in objects:
            ds = dcmread(path, stop_before_pixels=True)
            relative = path.relative_to(self.settings.data_dir).as_posix()
            uids = (str(ds.SOPClassUID), str(ds.SOPInstanceUID))
            owed.append((to, Parcel.of(ReportObject("sr", relative, *uids))))
            self.sent[ds.SOPInstanceUID] = path
        self.wait(minutes=2)
        for state, outcome in (
            (State.RECEIVING, Planned()),
            (State.ASSEMBLED, Triaged(priority, probability=0.5)),
            (State.TRIAGED, Reported(tuple(owed))),
        ):
            case = self.worklist.cases.claim({state}, "test", 60, self.now)
            assert case is not None
            self.worklist.cases.finish(case, "test", outcome, self.now)

    def drain(self, worker: str = "deliver-1") -> int:
        return drain(self.settings, self.worklist.outbox, self.clock, worker)

    @property
    def lines(self):
        return [line for row in self.worklist.views.worklist(self.now) for line in row.deliveries]

    def status(self) -> set[tuple]:
        return {(line.status, line.attempts, line.last_status) for line in self.lines}


@contextmanager
def outbox_to(folder: Path, destination: Destination, **settings: object):
    chosen = {"timeout_s": 5.0, "destinations": (destination,), **settings}
    settings = Settings(data_dir=folder / "node", deliver=Deliver(**chosen))
    new_database(settings.url)
    with closing(Worklist(settings.url)) as worklist:
        yield Outbox(settings, worklist)


def report(folder: Path, objects: int = 3, size: int = 32, *, seed: str = "report") -> list[Path]:
    """Write what stands for a report: some objects of one study."""
    return ct_series(folder / "node" / "cases" / seed, objects, seed=seed, size=size)


def filed(folder: Path) -> list[str]:
    """Return the SOP Instance UIDs of the objects that an archive holds and has written whole."""
    found = []
    for path in folder.iterdir():
        with suppress(InvalidDicomError, EOFError, AttributeError):
            found.append(str(dcmread(path).SOPInstanceUID))
    return sorted(found)


@contextmanager
def answering(
    status: int, comment: str = "", *, after_s: float = 0.0, port: int = 0, most: int = 10
):
    """Run a peer that answers every C-STORE so; yield it and the requests it got."""
    requests: list[evt.Event] = []

    def worklist(event: evt.Event):
        requests.append(event)
        time.sleep(after_s)
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = comment
        return answer

    ae = AE("PEER")
    ae.maximum_associations = most
    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        contexts=contexts_archive(),
        evt_handlers=[(evt.EVT_C_STORE, worklist)],
    )
    try:
        yield peer("PEER", server.server_address[1]), requests
    finally:
        ae.shutdown()


# The way through


@pytest.mark.peer
def test_what_is_owed_arrives_and_the_case_is_delivered(tmp_path):
    with storescp(tmp_path / "pacs") as pacs, outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path))
        assert outbox.drain() == 3
        assert outbox.status() == {("SENT", 1, 0)}
        assert outbox.worklist.views.counts()[State.DELIVERED] == 1
        assert filed(tmp_path / "pacs") == sorted(outbox.sent)
        assert outbox.drain() == 0


@pytest.mark.peer
def test_object_is_sent_as_its_own_bytes(tmp_path):
    with orthanc(tmp_path / "pacs") as pacs, outbox_to(tmp_path, pacs.destination) as outbox:
        outbox.owe(*report(tmp_path))
        outbox.drain()
        instances = pacs.instances(Identity.of("report").study_instance_uid)
        assert set(instances) == set(outbox.sent)
        for uid, orthanc_id in instances.items():
            (tmp_path / "back.dcm").write_bytes(pacs.file(orthanc_id))
            assert dcmread(tmp_path / "back.dcm") == dcmread(outbox.sent[uid])


def test_suspected_case_goes_first_and_with_high_priority(tmp_path):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        (first,) = report(tmp_path, 1, seed="negative")
        (second,) = report(tmp_path, 1, seed="bleed")
        outbox.owe(first, seed="negative", priority=Priority.NOT_SUSPECTED)
        outbox.owe(second, seed="bleed", priority=Priority.SUSPECTED)
        assert outbox.drain() == 2
        sent = [
            (event.request.AffectedSOPInstanceUID, event.request.Priority) for event in requests
        ]
        assert sent == [(dcmread(second).SOPInstanceUID, 1), (dcmread(first).SOPInstanceUID, 0)]


def test_who_got_a_case_is_in_the_audit_trail_once(tmp_path):
    with answering(0x0000) as (pacs, _), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 3))
        outbox.drain()
        (row,) = outbox.worklist.audit.entries()
        assert (row.what, row.who, row.address) == ("DELIVERED", "peer", "dicom")
        assert row.study_instance_uid == Identity.of("report").study_instance_uid


def test_who_takes_nothing_of_a_case_is_not_in_the_audit_trail(tmp_path):
    with answering(0xA700) as (pacs, _), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 1))
        outbox.drain()
        assert outbox.worklist.audit.entries() == []


@pytest.mark.peer
def test_peer_that_knows_only_implicit_vr_gets_the_same_object_re_encoded(tmp_path):
    with storescp(tmp_path / "pacs", "+xi") as pacs, outbox_to(tmp_path, pacs) as outbox:
        (path,) = report(tmp_path, 1)
        outbox.owe(path)
        assert outbox.drain() == 1
        (arrived,) = (dcmread(file) for file in (tmp_path / "pacs").iterdir())
        assert arrived.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert arrived == dcmread(path)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("options", "syntax"),
    [((), ImplicitVRLittleEndian), (("+xr",), RLELossless)],
    ids=["not compressed alone", "RLE too"],
)
def test_compressed_picture_goes_to_a_peer_as_the_peer_can_take_it(tmp_path, options, syntax):
    with storescp(tmp_path / "pacs", *options) as pacs, outbox_to(tmp_path, pacs) as outbox:
        (path,) = report(tmp_path, 1)
        ds = dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path)
        outbox.owe(path)
        assert outbox.drain() == 1
        (arrived,) = (dcmread(file) for file in (tmp_path / "pacs").iterdir())
        assert arrived.SOPInstanceUID == ds.SOPInstanceUID
        assert (arrived.pixel_array == ds.pixel_array).all()
        assert arrived.file_meta.TransferSyntaxUID == syntax
        del arrived.PixelData, ds.PixelData
        assert arrived == ds


# Peers that fail


@pytest.mark.peer
def test_peer_that_is_down_gets_everything_once_it_is_up(tmp_path):
    pacs = peer("STORESCP", free_port())
    with outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path))
        assert outbox.drain() == 0
        assert outbox.status() == {("OWED", 0, None)}, "nothing was sent, so nothing was tried"
        outbox.wait(seconds=10)
        with storescp(tmp_path / "pacs", port=pacs.port):
            assert outbox.drain() == 3
        assert outbox.status() == {("SENT", 1, 0)}
        assert filed(tmp_path / "pacs") == sorted(outbox.sent)


@pytest.mark.peer
@pytest.mark.parametrize("fault", ["--refuse", "--abort-during", "--abort-after"])
def test_faulty_peer_gets_each_object_once_when_it_is_well(tmp_path, fault):
    port = free_port()
    with outbox_to(tmp_path, peer("STORESCP", port)) as outbox:
        outbox.owe(*report(tmp_path))
        with storescp(tmp_path / "faulty", fault, port=port):
            assert outbox.drain() == 0
        tried = 0 if fault == "--refuse" else 1
        assert outbox.status() == {("OWED", tried, None)}
        outbox.wait(seconds=10)
        with storescp(tmp_path / "pacs", port=port):
            assert outbox.drain() == 3
        assert filed(tmp_path / "pacs") == sorted(outbox.sent)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("fault", "left"),
    [("--sleep-during", ("OWED", 1, None)), ("--sleep-after", ("SENT", 1, 0))],
)
def test_peer_that_stalls_is_left_within_the_time_limit(tmp_path, fault, left):
    (path,) = report(tmp_path, 1, size=2048)
    with (
        storescp(tmp_path / "pacs", fault, "30") as pacs,
        outbox_to(tmp_path, pacs, timeout_s=1.0) as outbox,
    ):
        outbox.owe(path)
        start = time.monotonic()
        outbox.drain()
        assert time.monotonic() - start < 8
        assert outbox.status() == {left}


def test_peer_that_never_says_a_word_is_left_within_the_time_limit(tmp_path):
    with mute_peer() as pacs, outbox_to(tmp_path, pacs, timeout_s=1.0) as outbox:
        outbox.owe(*report(tmp_path))
        start = time.monotonic()
        assert outbox.drain() == 0
        assert time.monotonic() - start < 8
        assert outbox.status() == {("OWED", 0, None)}


@pytest.mark.parametrize(
    ("status", "outcome", "wait_s"),
    [
        (0x0000, "SENT", None),
        (0xB000, "SENT", None),
        (0xB006, "SENT", None),
        (0xB007, "SENT", None),
        (0xA700, "OWED", 10),
        (0x0110, "OWED", 10),
        (0x0124, "OWED", 10),
        (0xA900, "OWED", 900),
        (0xC123, "OWED", 900),
        (0x0122, "OWED", 900),
    ],
    ids=lambda value: f"{value:04X}" if isinstance(value, int) and value > 900 else None,
)
def test_status_is_kept_verbatim_and_decides_when_to_try_again(tmp_path, status, outcome, wait_s):
    with answering(status, "because") as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 1))
        outbox.drain()
        assert outbox.status() == {(outcome, 1, status)}
        if wait_s:
            outbox.wait(seconds=0.7 * wait_s)
            outbox.drain()
            assert len(requests) == 1
            outbox.wait(seconds=0.3 * wait_s)
            outbox.drain()
            assert len(requests) == 2


def test_a_destination_that_is_not_known_yet_is_tried_again_soon(tmp_path):
    """The worker may know a new destination before the role that delivers does."""
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 1))
        drain(Settings(data_dir=tmp_path / "node"), outbox.worklist.outbox, outbox.clock, "w")
        (line,) = outbox.lines
        assert (line.status, line.attempts) == ("OWED", 1)
        outbox.wait(seconds=10)
        assert outbox.drain() == len(requests) == 1


def test_nothing_more_is_begun_once_it_is_over(tmp_path):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 1))
        owing = outbox.worklist.outbox
        arrived = drain(outbox.settings, owing, outbox.clock, "w", is_over=lambda: True)
        assert arrived == 0
        assert not requests


def test_waits_double_up_to_the_longest(tmp_path):
    with (
        answering(0xA700) as (pacs, _),
        outbox_to(tmp_path, pacs, retry_s=10.0, max_retry_s=60.0) as outbox,
    ):
        outbox.owe(*report(tmp_path, 1))
        for attempts, wait_s in enumerate((10, 20, 40, 60, 60), start=1):
            outbox.drain()
            assert outbox.lines[0].attempts == attempts
            outbox.wait(seconds=0.7 * wait_s)
            outbox.drain()
            assert outbox.lines[0].attempts == attempts
            outbox.wait(seconds=0.3 * wait_s)


def test_after_the_last_attempt_a_person_must_look(tmp_path):
    with answering(0xA700) as (pacs, _), outbox_to(tmp_path, pacs, max_attempts=2) as outbox:
        outbox.owe(*report(tmp_path, 1))
        for _ in range(3):
            outbox.drain()
            outbox.wait(hours=1)
        assert outbox.status() == {("DEAD", 2, 0xA700)}


class TestUnreachable:
    """A destination that is down for the whole run, and then up."""

    def test_costs_no_delivery_an_attempt_however_long_it_lasts(self, tmp_path):
        with outbox_to(tmp_path, peer("PACS", free_port()), max_attempts=2) as outbox:
            outbox.owe(*report(tmp_path))
            for _ in range(10):
                outbox.drain()
                outbox.wait(hours=10)
            assert outbox.status() == {("OWED", 0, None)}

    def test_everything_owed_goes_at_once_when_the_peer_answers_again(self, tmp_path):
        port = free_port()
        with outbox_to(tmp_path, peer("PACS", port)) as outbox:
            with answering(0xC123, port=port):  # waits the longest time, by itself
                outbox.owe(*report(tmp_path, 1, seed="one"), seed="one")
                outbox.drain()
            outbox.owe(*report(tmp_path, 3, seed="two"), seed="two")
            outbox.drain()
            outbox.wait(seconds=10)
            with answering(0x0000, port=port) as (_, requests):
                assert outbox.drain() == 4
            assert len(requests) == 4

    def test_it_is_tried_by_one_connection_each_time_whatever_it_is_owed(self, tmp_path):
        with outbox_to(tmp_path, peer("PACS", free_port())) as outbox:
            outbox.owe(*report(tmp_path, 20))
            for tries, wait_s in enumerate((10, 20, 40, 60, 60), start=1):
                outbox.drain()
                outbox.wait(seconds=wait_s - 1)
                outbox.drain()
                (down,) = outbox.worklist.deliveries.unreachable()
                assert down.tries == tries
                outbox.wait(seconds=1)

    def test_who_is_down_since_when_why_and_what_it_is_owed_can_be_seen(self, tmp_path):
        port = free_port()
        with outbox_to(tmp_path, peer("PACS", port)) as outbox:
            outbox.owe(*report(tmp_path))
            outbox.drain()
            since = outbox.now
            outbox.wait(seconds=10)
            outbox.drain()
            (down,) = outbox.worklist.deliveries.unreachable()
            assert down == Unreachable(
                destination="peer",
                since=since,
                why=f"peer: no connection to 127.0.0.1:{port}",
                tries=2,
                next_try_at=outbox.now + timedelta(seconds=20),
                owed=3,
            )
            outbox.wait(seconds=20)
            with answering(0x0000, port=port):
                outbox.drain()
            assert outbox.worklist.deliveries.unreachable() == []

    def test_is_logged_once_and_once_when_it_is_over(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        port = free_port()
        with outbox_to(tmp_path, peer("PACS", port)) as outbox:
            outbox.owe(*report(tmp_path))
            for _ in range(5):
                outbox.drain()
                outbox.wait(minutes=1)
            with answering(0x0000, port=port):
                outbox.drain()
        said = [r.event["action"] for r in caplog.records if hasattr(r, "event")]
        assert said == ["unreachable", "answers_again", *["delivered"] * 3]

    def test_a_person_who_retries_waits_for_no_timer(self, tmp_path):
        port = free_port()
        with outbox_to(tmp_path, peer("PACS", port)) as outbox:
            outbox.owe(*report(tmp_path))
            outbox.drain()
            numbers = [one.number for one in outbox.worklist.deliveries.unsent()]
            outbox.worklist.deliveries.retry(numbers[:1], Actor("A", "terminal"), outbox.now)
            with answering(0x0000, port=port):
                assert outbox.drain() == 3

    def test_a_peer_that_has_no_association_left_for_now_is_up(self, tmp_path):
        with answering(0x0000, most=1) as (pacs, _), outbox_to(tmp_path, pacs) as outbox:
            outbox.owe(*report(tmp_path))
            with associated(pacs, contexts_echo(), ae_title="OTHER", timeout_s=5):
                outbox.drain()
            assert outbox.status() == {("OWED", 1, None)}
            assert outbox.worklist.deliveries.unreachable() == []

    def test_another_destination_gets_what_it_is_owed(self, tmp_path):
        down = peer("DOWN", free_port())
        with answering(0x0000) as (up, requests):
            up = up.model_copy(update={"name": "up"})
            with outbox_to(tmp_path, down, destinations=(down, up)) as outbox:
                outbox.owe(*report(tmp_path, 3, seed="one"), seed="one")
                outbox.owe(*report(tmp_path, 3, seed="two"), seed="two", to="up")
                assert outbox.drain() == 3
        assert len(requests) == 3


def test_the_same_failure_of_several_objects_is_one_line(tmp_path, caplog):
    with answering(0xA700) as (pacs, _), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 6))
        outbox.drain()
    (said,) = [
        r for r in caplog.records if getattr(r, "event", {}).get("action") == "not_delivered"
    ]
    assert said.event["objects"] == 6


def test_object_whose_class_the_peer_does_not_take_does_not_hold_up_the_others(tmp_path):
    first, second = report(tmp_path, 2)
    ds = dcmread(first)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.save_as(first)
    ae = AE("CTONLY")
    ae.add_supported_context(dcmread(second).SOPClassUID)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)]
    )
    with outbox_to(tmp_path, peer("CTONLY", server.server_address[1])) as outbox:
        outbox.owe(first, second)
        assert outbox.drain() == 1
        assert outbox.status() == {("SENT", 1, 0), ("OWED", 1, None)}
    ae.shutdown()


def test_file_that_is_not_the_object_owed_is_never_sent(tmp_path):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        first, second, third = report(tmp_path)
        outbox.owe(first, second, third)
        first.write_bytes(second.read_bytes())
        third.unlink()
        assert outbox.drain() == 1
        assert [e.request.AffectedSOPInstanceUID for e in requests] == [
            dcmread(second).SOPInstanceUID
        ]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "OTHER"),
        ("PatientID", ""),
        ("PatientBirthDate", "19550402"),
        ("StudyInstanceUID", "1.2.3"),
        ("SOPInstanceUID", "1.2.3"),
    ],
)
def test_object_of_other_identity_than_its_images_is_never_sent(tmp_path, caplog, keyword, value):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        sound, other = report(tmp_path, 2)
        outbox.owe(sound, other)
        ds = dcmread(other)
        setattr(ds, keyword, value)
        ds.save_as(other)
        assert outbox.drain() == 1
        outbox.wait(hours=24)
        assert outbox.drain() == 0
        assert outbox.status() == {("SENT", 1, 0), ("DEAD", 0, None)}
        assert [e.request.AffectedSOPInstanceUID for e in requests] == [
            dcmread(sound).SOPInstanceUID
        ]
        events = outbox.worklist.views.events(Identity.of("report").study_instance_uid)
        (event,) = (e for e in events if e.what == "never sent")
        assert keyword in event.detail["reason"]
        (line,) = (r for r in caplog.records if r.levelname == "ERROR")
        assert keyword in line.message and line.event["action"] == "never_sent"
        assert value == "" or value not in line.message


def test_result_waiting_when_its_images_get_another_identity_is_never_sent(tmp_path):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        (owed,) = report(tmp_path, 1)
        outbox.owe(owed, priority=Priority.SUSPECTED)
        (image,) = ct_series(tmp_path / "corrected", 1, seed="report")
        ds = dcmread(image)
        ds.PatientID = "CORRECTED"
        ds.save_as(image)
        spool = Spool(outbox.settings.data_dir, 0)
        ingest(image, outbox.worklist.arrivals, spool, caller="", now=outbox.now)
        (entry,) = outbox.worklist.quarantine.listed()
        signed = Signature("admin", outbox.now)
        outbox.worklist.quarantine.release({entry.number: read_header(image)}, signed)
        assert outbox.drain() == 0
        assert requests == []


def test_destination_that_is_no_longer_set_is_said_so_and_waits(tmp_path):
    with outbox_to(tmp_path, peer("NOBODY", 1)) as outbox:
        outbox.owe(*report(tmp_path, 1))
        outbox.settings = outbox.settings.model_copy(update={"deliver": Deliver()})
        assert outbox.drain() == 0
        assert outbox.status() == {("OWED", 1, None)}


def test_no_other_sends_what_takes_its_sender_longer_than_a_lease(tmp_path, monkeypatch):
    begun = threading.Event()

    def slowly(batch, *_):
        begun.set()
        for owed in batch:
            time.sleep(4.5)
            yield owed, Answer(Verdict.STORED, 0)

    monkeypatch.setitem(CHANNELS, "dicom", Channel(slowly, probe))
    with (
        outbox_to(tmp_path, peer("PEER", 1), timeout_s=1.5) as outbox,
        ThreadPoolExecutor() as pool,
    ):
        outbox.owe(*report(tmp_path, 1))
        owing = outbox.worklist.outbox
        sending = pool.submit(drain, outbox.settings, owing, utc_now, "slow")
        assert begun.wait(30)
        wait_until(lambda: sending.done() or owing.claim("another", 3, utc_now()))
        assert sending.done() and sending.result() == 1
        assert outbox.status() == {("SENT", 1, 0)}


def test_an_answer_is_noted_once_an_outage_is_over_and_nothing_is_sent_twice(tmp_path, monkeypatch):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 1))
        owing, met = outbox.worklist.outbox, [Outage("the database is away")]
        delivered = owing.delivered

        def away_at_first(*args):
            if met:
                raise met.pop()
            return delivered(*args)

        monkeypatch.setattr(owing, "delivered", away_at_first)
        assert outbox.drain() == 1
        outbox.wait(minutes=1)
        assert outbox.drain() == 0
        assert outbox.status() == {("SENT", 1, 0)} and len(requests) == 1


def test_what_a_slow_batch_leaves_is_due_at_once(tmp_path, monkeypatch):
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        outbox.owe(*report(tmp_path, 3))
        monkeypatch.setattr(AE, "associate", _later(outbox, AE.associate, seconds=6))
        assert outbox.drain() == 3
        assert outbox.status() == {("SENT", 1, 0)}, "and that is no try"
        assert len(requests) == 3


def _later(outbox, real, **time: float):
    """Return what does as `real` does, and lets time pass."""

    def later(*args, **kwargs):
        outbox.wait(**time)
        return real(*args, **kwargs)

    return later


# Nodes that die


@pytest.mark.peer
def test_node_that_dies_before_it_notes_the_answer_sends_again_what_is_one_object(tmp_path):
    with orthanc(tmp_path / "pacs") as pacs, outbox_to(tmp_path, pacs.destination) as outbox:
        outbox.owe(*report(tmp_path))
        batch = outbox.worklist.outbox.claim("dead", 10, outbox.now)
        paths = [outbox.settings.data_dir / owed.parcel.path for owed in batch]
        assert all(sent.stored for sent in send_files(paths, pacs.destination, outbox.settings))
        assert outbox.drain() == 0, "the dead worker's lease still runs"
        outbox.wait(seconds=10)
        assert outbox.drain() == 3
        instances = pacs.instances(Identity.of("report").study_instance_uid)
        assert sorted(instances) == sorted(outbox.sent)


DELIVER = """
import sys, threading
from datetime import UTC, datetime
from node.deliver.loop import deliver
from node.settings import Settings
from node.worklist import Worklist

settings = Settings.model_validate_json(sys.argv[1])
deliver(settings, Worklist(settings.url).outbox, lambda: datetime.now(UTC), threading.Event())
"""


@pytest.mark.peer
def test_killed_deliver_role_leaves_nothing_unsent_and_nothing_twice(tmp_path):
    with (
        orthanc(tmp_path / "pacs") as pacs,
        outbox_to(tmp_path, pacs.destination, timeout_s=1.0) as outbox,
    ):
        outbox.now = datetime.now(UTC) - timedelta(hours=1)
        outbox.owe(*report(tmp_path, 40, size=256))
        command = [sys.executable, "-c", DELIVER, outbox.settings.model_dump_json()]
        study = Identity.of("report").study_instance_uid
        with subprocess.Popen(command) as process:
            wait_until(lambda: len(pacs.instances(study)) > 0)
            process.kill()
        assert {line.status for line in outbox.lines} != {"SENT"}
        with subprocess.Popen(command) as process:
            wait_until(lambda: outbox.worklist.views.counts()[State.DELIVERED] == 1, within_s=30)
            process.kill()
        assert sorted(pacs.instances(study)) == sorted(outbox.sent)


@pytest.mark.slow
def test_role_delivers_past_a_peer_that_hangs_and_stops_when_told(tmp_path):
    (tmp_path / "pacs").mkdir()
    with mute_peer() as mute, archive("PACS", tmp_path / "pacs") as port:
        well = Destination(name="well", ae_title="PACS", host="127.0.0.1", port=port)
        with outbox_to(tmp_path, mute, timeout_s=5.0, destinations=(mute, well)) as outbox:
            (first,) = report(tmp_path, 1, seed="one")
            (second,) = report(tmp_path, 1, seed="two")
            outbox.owe(first, seed="one", to="peer")
            outbox.owe(second, seed="two", to="well")
            stop = threading.Event()
            thread = threading.Thread(
                target=deliver,
                args=(outbox.settings, outbox.worklist.outbox, outbox.clock, stop),
                daemon=True,
            )
            thread.start()
            both = {("SENT", 1, 0), ("OWED", 0, None)}
            wait_until(lambda: outbox.status() == both, within_s=4)
            stop.set()
            thread.join(15)
            assert not thread.is_alive()
            assert outbox.status() == both
            assert [one.destination for one in outbox.worklist.deliveries.unreachable()] == ["peer"]


@contextmanager
def delivering(outbox: Outbox):
    """Run the deliver role while the block runs."""
    stop = threading.Event()
    role = (outbox.settings, outbox.worklist.outbox, outbox.clock, stop)
    thread = threading.Thread(target=deliver, args=role, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.slow
def test_a_bleed_does_not_wait_for_the_parcels_of_other_studies_at_a_slow_peer(tmp_path):
    with (
        answering(0x0000, after_s=0.5) as (pacs, requests),
        outbox_to(tmp_path, pacs, timeout_s=300.0) as outbox,  # owing moves the clock by minutes
    ):
        outbox.owe(*report(tmp_path, 20, seed="many"), seed="many", priority=Priority.NOT_SUSPECTED)
        with delivering(outbox):
            wait_until(lambda: requests)
            (bleed,) = report(tmp_path, 1, seed="bleed")
            outbox.owe(bleed, seed="bleed")
            owed = time.monotonic()
            uid = dcmread(bleed).SOPInstanceUID
            wait_until(lambda: uid in [event.request.AffectedSOPInstanceUID for event in requests])
            assert time.monotonic() - owed < 2
            assert len(requests) < 20


@pytest.mark.slow
def test_a_bleed_does_not_wait_for_a_peer_that_hangs_with_much_to_take(tmp_path):
    (tmp_path / "pacs").mkdir()
    with mute_peer() as mute, archive("PACS", tmp_path / "pacs") as port:
        well = Destination(name="well", ae_title="PACS", host="127.0.0.1", port=port)
        with outbox_to(tmp_path, mute, timeout_s=8.0, destinations=(mute, well)) as outbox:
            outbox.owe(*report(tmp_path, 40, seed="many"), seed="many", to="peer")
            (bleed,) = report(tmp_path, 1, seed="bleed")
            outbox.owe(bleed, seed="bleed", to="well")
            with delivering(outbox):
                wait_until(lambda: filed(tmp_path / "pacs"), within_s=6)


@pytest.mark.slow
def test_no_destination_waits_for_another_that_takes_much_and_answers_nothing(tmp_path):
    (tmp_path / "pacs").mkdir()
    let_go, asked = threading.Event(), []

    def hang(event: evt.Event):
        asked.append(event)
        let_go.wait(60)
        return 0x0000

    ae = AE("HANGS")
    handlers = [(evt.EVT_C_STORE, hang)]
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, contexts=contexts_archive(), evt_handlers=handlers
    )
    hangs = peer("HANGS", server.server_address[1])
    with archive("PACS", tmp_path / "pacs") as port:
        well = Destination(name="well", ae_title="PACS", host="127.0.0.1", port=port)
        quiet = {"priority": Priority.NOT_SUSPECTED}
        with outbox_to(tmp_path, hangs, timeout_s=300.0, destinations=(hangs, well)) as outbox:
            outbox.owe(*report(tmp_path, 40, seed="many"), seed="many", **quiet)
            with delivering(outbox):
                wait_until(lambda: asked)
                time.sleep(3 * POLL_S)  # each thread has looked for work
                (one,) = report(tmp_path, 1, seed="one")
                outbox.owe(one, seed="one", to="well", **quiet)
                try:
                    wait_until(lambda: filed(tmp_path / "pacs"))
                    assert len(asked) == 1
                finally:
                    let_go.set()
    ae.shutdown()


# By hand


def test_echo_returns_the_status_and_says_why_there_is_none(tmp_path):
    settings, impatient = Settings(), Settings(deliver=Deliver(timeout_s=1.0))
    with archive("PACS", tmp_path) as port:
        assert echo(peer("PACS", port), settings) == 0
        with pytest.raises(Retryable, match="Called AE title not recognised"):
            echo(peer("OTHER", port), settings)
    with pytest.raises(Retryable, match=f"no connection to 127.0.0.1:{port}"):
        echo(peer("PACS", port), settings)
    with mute_peer() as mute, pytest.raises(Retryable, match="did not answer"):
        echo(mute, impatient)
    nowhere = Destination(name="nowhere", ae_title="X", host="pacs.invalid", port=104)
    with pytest.raises(Retryable, match="pacs.invalid"):
        echo(nowhere, settings)


def test_sending_a_folder_says_how_each_file_fared(tmp_path):
    files = ct_series(tmp_path / "ct", 2)
    notes = tmp_path / "notes.txt"
    notes.write_text("no image")
    with archive("PACS", tmp_path) as port:
        results = list(send_files([files[0], notes, files[1]], peer("PACS", port), Settings()))
    assert [(r.path, r.stored) for r in results] == [
        (files[0], True),
        (notes, False),
        (files[1], True),
    ]
    assert "no complete DICOM file" in results[1].message
    assert len(list(tmp_path.glob("*.dcm"))) == 2


def test_sender_may_stop_before_the_end(tmp_path):
    files = ct_series(tmp_path / "ct", 3)
    with archive("PACS", tmp_path) as port:
        results = send_files(files, peer("PACS", port), Settings())
        assert next(results).stored
        results.close()
    assert len(list(tmp_path.glob("*.dcm"))) == 1


def test_a_job_is_noted_seldom_and_at_once_when_it_begins_or_ceases_to_fail(tmp_path):
    outcome = [None]

    with outbox_to(
        tmp_path, Destination(name="peer", ae_title="P", host="127.0.0.1", port=1)
    ) as node:

        def work():
            if outcome[0]:
                raise Retryable(outcome[0])

        start = node.now
        job = Job("send", work, node.worklist.outbox, node.clock, Outages("deliver"))

        def after(seconds, fails=None):
            node.now, outcome[0] = start + timedelta(seconds=seconds), fails
            job()
            (line,) = node.worklist.jobs.listed()
            failed = line.failed_at and (line.failed_at - start).total_seconds()
            return (line.ran_at - start).total_seconds(), line.error, failed

        assert after(0) == (0, None, None)
        assert after(20) == (0, None, None)
        assert after(31) == (31, None, None)
        assert after(32, "full") == (32, "full", 32)
        assert after(33, "full") == (32, "full", 32)
        assert after(34) == (34, "full", 32)


class TestOutage:
    """The outbox, or a disk, is out of reach."""

    @pytest.fixture
    def jobs(self, tmp_path):
        """Two jobs of one role, and what each meets: an error, or None."""
        meets: dict[str, Exception | None] = {"send": None, "escalate": None}

        def work(name):
            if (error := meets[name]) is not None:
                raise error

        met = Outages("deliver")
        with outbox_to(tmp_path, peer("PEER", 104)) as node:
            outbox = node.worklist.outbox
            yield meets, [Job(n, partial(work, n), outbox, node.clock, met) for n in meets]

    @pytest.mark.parametrize("error", [Outage("database away"), OSError(EIO, "disk fails")])
    def test_is_said_once_and_once_when_it_is_over(self, jobs, error, caplog, monkeypatch):
        caplog.set_level(logging.WARNING)
        monkeypatch.setattr(outages, "AGAIN_S", 0.0)
        meets, made = jobs
        for error_now in (error, error, error, None, None):
            meets.update(send=error_now, escalate=error_now)
            for job in made:
                job()
        actions = [record.event["action"] for record in caplog.records]
        assert actions == ["role_waits", "role_goes_on"]

    def test_is_looked_at_again_after_a_while_only(self, jobs):
        meets, made = jobs
        meets["send"] = Outage("database away")
        made[0]()
        meets["send"] = AssertionError("asked again at once")
        made[0]()


def test_what_is_owed_leaves_though_the_clock_is_set_back_under_the_scheduler(
    tmp_path, monkeypatch
):
    class SetBack(datetime):
        by = timedelta(0)

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - cls.by

    for module in ("schedulers.base", "executors.base"):
        monkeypatch.setattr(f"apscheduler.{module}.datetime", SetBack)
    monkeypatch.setattr("node.deliver.loop.datetime", SetBack)
    with answering(0x0000) as (pacs, requests), outbox_to(tmp_path, pacs) as outbox:
        stop = threading.Event()
        role = threading.Thread(
            target=deliver, args=(outbox.settings, outbox.worklist.outbox, outbox.clock, stop)
        )
        role.start()
        try:
            wait_until(lambda: len(outbox.worklist.jobs.listed()) == 2)
            SetBack.by = timedelta(hours=1)
            outbox.owe(*report(tmp_path))
            wait_until(lambda: len(requests) == 3)
        finally:
            stop.set()
            role.join()


class TestAPause:
    def test_nothing_is_sent_until_it_is_over_and_then_all_of_it(self, tmp_path):
        ada = Actor("Ada", "terminal")
        with (
            answering(0x0000) as (destination, requests),
            outbox_to(tmp_path, destination) as outbox,
        ):
            sent = outbox.worklist.deliveries
            begun = sent.pause(ada, "the PACS moves", outbox.now)
            outbox.owe(*report(tmp_path))
            assert outbox.drain() == 0 and not requests
            again = sent.pause(Actor("Bob", "terminal"), "", outbox.now)
            assert again == begun == sent.paused()
            assert sent.held_up() == [begun]
            assert "by Ada (the PACS moves)" in str(begun)
            outbox.wait(minutes=90)
            assert outbox.drain() == 0 and not requests
            assert sent.resume(ada, outbox.now) == begun
            assert outbox.drain() == len(requests) == 3
            assert sent.resume(ada, outbox.now) is None
            trail = [(one.who, one.about) for one in outbox.worklist.audit.entries()]
            assert ("Ada", "sending paused: the PACS moves") in trail
            assert ("Ada", "sending resumed") in trail
