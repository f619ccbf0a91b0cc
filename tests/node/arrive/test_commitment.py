"""Callers ask the node to keep what it received, and hear what it keeps."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, MRImageStorage

from node.arrive.commitment_scp import HELD_S, CommitmentScp
from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.arrive.storage_scp import Receiver
from node.audit import Trail
from node.committed import CommitmentAsked, FailureReason, Reference
from node.deliver.committing import report_what_is_due
from node.dicom.net.association import Status
from node.settings import Caller, Deliver, Receive, Settings
from node.worklist import Actor, Deed, Worklist
from tests.support.committing import Named, asking, listener, report_to_node, told
from tests.support.databases import new_database
from tests.support.peers import ct_series, free_port, mute_peer, orthanc, wait_until
from training.datasets.series import Identity

T1, T2 = "1.2.826.0.1.3680043.9.11", "1.2.826.0.1.3680043.9.12"
STUDY = Identity.of("a").study_instance_uid


def asked_for(objects: list[Named]) -> CommitmentAsked:
    return CommitmentAsked(T1, tuple(Reference(*one) for one in objects))


@dataclass
class Node:
    """A receiver that listens, its worklist, and a clock that the test moves."""

    settings: Settings
    worklist: Worklist
    files: list[Path]
    now: datetime = datetime(2026, 11, 20, 8, tzinfo=UTC)
    port: int = 0

    def clock(self) -> datetime:
        return self.now

    def receive(self, count: int = 3) -> list[Named]:
        """File a series; return what it is named by."""
        self.files = ct_series(self.settings.data_dir / "in", count, seed="a")
        spool = Spool(self.settings.data_dir, 0)
        for path in self.files:
            ingest(path, self.worklist.arrivals, spool, caller="CT7", now=self.now)
        return sorted((CTImageStorage, dcmread(path).SOPInstanceUID) for path in self.files)

    def stored(self, uid: str) -> Path:
        (series,) = self.worklist.arrivals.study(STUDY)
        (path,) = (i.stored.path for i in series.instances if i.header.sop_instance_uid == uid)
        return self.settings.data_dir / path

    def owe(self, objects: list[Named]) -> None:
        """Owe CT7 a report, as after it has asked and left."""
        commitments = self.worklist.commitments
        duty = commitments.ask(
            Actor("CT7", "192.0.2.7"), asked_for(objects), "receiver", HELD_S, self.now
        )
        commitments.release(duty, "receiver", self.now)

    def report(self, max_attempts: int = 3) -> int:
        """Send what is due, with a wait of 10 s after each failure."""

        def again(attempts: int, now: datetime) -> datetime | None:
            return now + timedelta(seconds=10) if attempts + 1 < max_attempts else None

        return report_what_is_due(self.settings, self.worklist.commitments, self.clock, again)

    def after(self, seconds: float = HELD_S + 1) -> None:
        self.now += timedelta(seconds=seconds)


@contextmanager
def committing(folder: Path, *callers: Caller, timeout_s: float = 3.0) -> Iterator[Node]:
    settings = Settings(
        data_dir=folder / "data",
        receive=Receive(host="127.0.0.1", port=0, min_free_mb=0, callers=callers),
        deliver=Deliver(timeout_s=timeout_s),
    )
    settings.data_dir.mkdir()
    new_database(settings.url)
    with closing(Worklist(settings.url)) as worklist:
        node = Node(settings, worklist, [])
        promises = (worklist.commitments, worklist.confirmations)
        handles = (worklist.arrivals, worklist.announcements)
        with Trail(worklist.audit, node.clock) as trail:
            scp = CommitmentScp(settings, *promises, node.clock, trail)
            with Receiver(settings, *handles, node.clock, commitment=scp) as receiver:
                node.port = receiver.port
                yield node


def ct7(port: int = 0) -> Caller:
    return Caller(ae_title="CT7", may=("store", "commit"), host="127.0.0.1", port=port)


@pytest.fixture
def node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Node]:
    with committing(tmp_path, ct7()) as node:
        yield node
    assert not any(record.exc_info for record in caplog.records)


def test_what_was_received_is_committed_over_the_same_association(node: Node) -> None:
    objects = node.receive()
    assert node.worklist.commitments.kept_until(STUDY) is None
    with asking(node.port) as ct:
        assert ct.ask(T1, objects).Status == Status.SUCCESS
        report = ct.one_report()
    assert (report.type_id, report.transaction, report.kept) == (1, T1, objects)
    assert report.lost == {}
    assert node.worklist.commitments.kept_until(STUDY) == node.now + timedelta(days=30)
    node.after()
    assert node.report() == 0


def test_a_later_commitment_lengthens_the_term_and_none_shortens_it(node: Node) -> None:
    objects = node.receive()
    with asking(node.port) as ct:
        ct.ask(T1, objects)
        ct.one_report()
    last = node.now + timedelta(days=30)
    node.now -= timedelta(days=1)
    with asking(node.port) as ct:
        ct.ask(T2, objects)
        ct.one_report()
    assert node.worklist.commitments.kept_until(STUDY) == last


def test_a_caller_that_leaves_at_once_hears_over_an_association_of_the_node(
    tmp_path: Path,
) -> None:
    with listener() as (port, reports), committing(tmp_path, ct7(port)) as node:
        objects = node.receive()
        with asking(node.port) as ct:
            ct.ask(T1, objects)
            ct.assoc.acse.negotiate_release()
        wait_until(node.report)
        (report,) = reports
        assert (report.type_id, report.transaction, report.kept) == (1, T1, objects)
        assert node.report() == 0


def test_what_is_not_here_whole_is_not_committed_and_why(node: Node) -> None:
    objects = node.receive(6)
    fine, gone, changed, other, twice, _ = (uid for _, uid in objects)
    node.stored(gone).unlink()
    changed_file = node.stored(changed)
    changed_file.write_bytes(changed_file.read_bytes()[:-1] + b"\1")
    (again,) = (path for path in node.files if dcmread(path).SOPInstanceUID == twice)
    ds = dcmread(again)
    ds.SeriesDescription = "other"
    ds.save_as(again)
    spool = Spool(node.settings.data_dir, 0)
    ingest(again, node.worklist.arrivals, spool, caller="CT7", now=node.now)
    asked = [(CTImageStorage, uid) for uid in (fine, gone, changed, twice, "1.2.3")]
    asked += [(EnhancedCTImageStorage, other), (MRImageStorage, "1.2.4")]
    with asking(node.port) as ct:
        ct.ask(T1, asked)
        report = ct.one_report()
    assert report.type_id == 2
    assert report.kept == [(CTImageStorage, fine)]
    assert report.lost == {
        gone: FailureReason.NO_SUCH_OBJECT_INSTANCE,
        "1.2.3": FailureReason.NO_SUCH_OBJECT_INSTANCE,
        changed: FailureReason.PROCESSING_FAILURE,
        twice: FailureReason.PROCESSING_FAILURE,
        other: FailureReason.CLASS_INSTANCE_CONFLICT,
        "1.2.4": FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED,
    }


def test_nobody_may_ask_unless_an_admin_says_so(tmp_path: Path) -> None:
    with committing(tmp_path, Caller(ae_title="CT7")) as node:
        objects = node.receive()
        with asking(node.port) as ct:
            answer = ct.ask(T1, objects)
            assert answer.Status == Status.NOT_AUTHORISED
            assert "commit" in answer.ErrorComment
        assert node.worklist.commitments.kept_until(STUDY) is None
        node.after()
        assert node.worklist.commitments.claim("w", 60, node.now) is None


def test_a_request_that_makes_no_sense_is_refused_and_the_association_goes_on(
    node: Node,
) -> None:
    objects = node.receive()
    with asking(node.port) as ct:
        assert ct.ask(T1, objects, action=2).Status == Status.NO_SUCH_ACTION
        assert ct.ask(T1, objects, instance="1.2.3").Status == Status.NO_SUCH_SOP_INSTANCE
        assert ct.ask(T1, []).Status == Status.INVALID_ARGUMENT_VALUE
        nameless = Dataset()
        nameless.PatientID = "P"
        assert ct.send(nameless).Status == Status.INVALID_ARGUMENT_VALUE
        assert ct.ask(T1, objects).Status == Status.SUCCESS
        assert ct.one_report().kept == objects


def test_a_transaction_uid_in_use_commits_nothing_new(node: Node) -> None:
    first, second, third = node.receive()
    with asking(node.port) as ct:
        ct.ask(T1, [first, second])
        ct.one_report()
    with asking(node.port) as ct:
        assert ct.ask(T1, [third]).Status == Status.SUCCESS
        report = ct.one_report()
    assert (report.type_id, report.kept) == (2, [])
    assert report.lost == {third[1]: FailureReason.DUPLICATE_TRANSACTION_UID}


def test_the_same_request_again_is_reported_again(node: Node) -> None:
    objects = node.receive()
    for _ in range(2):
        with asking(node.port) as ct:
            ct.ask(T1, objects)
            assert ct.one_report().kept == objects


def test_two_requests_on_one_association_are_both_reported(node: Node) -> None:
    first, second, third = node.receive()
    with asking(node.port) as ct:
        ct.ask(T1, [first])
        ct.ask(T2, [second, third])
        wait_until(lambda: len(ct.reports) == 2)
        assert {r.transaction: r.kept for r in ct.reports} == {T1: [first], T2: [second, third]}
    node.after()
    assert node.report() == 0


def test_a_report_that_the_caller_refuses_there_goes_out_again(tmp_path: Path) -> None:
    with listener() as (port, reports), committing(tmp_path, ct7(port)) as node:
        objects = node.receive()
        with asking(node.port, answer=0x0110) as ct:
            ct.ask(T1, objects)
            ct.one_report()
        wait_until(node.report)
        assert [report.transaction for report in reports] == [T1]


def test_a_report_outlives_the_node_that_owed_it(tmp_path: Path) -> None:
    """As after a power cut: the receiver that held the report is gone without a word."""
    with listener() as (port, reports), committing(tmp_path, ct7(port)) as node:
        objects = node.receive()
        commitments = node.worklist.commitments
        asked = commitments.ask(
            Actor("CT7", "192.0.2.7"), asked_for(objects), "killed", HELD_S, node.now
        )
        assert not asked.duplicate
        assert node.report() == 0, "its receiver may send it yet"
        node.after()
        with closing(Worklist(node.settings.url)) as node.worklist:
            assert node.report() == 1
        assert [report.kept for report in reports] == [objects]


@pytest.mark.parametrize("trouble", ["down", "mute", "refuses"])
def test_a_caller_that_fails_is_tried_again_and_given_up_in_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    with (
        mute_peer() as mute,
        listener(answers=lambda: 0x0110) as (port, reports),
        committing(
            tmp_path,
            ct7({"down": free_port(), "mute": mute.port, "refuses": port}[trouble]),
            timeout_s=1.0,
        ) as node,
    ):
        node.owe(node.receive())
        for tried in range(1, 4):
            assert node.report() == 0
            assert len(reports) == (tried if trouble == "refuses" else 0)
            assert node.report() == 0, "before its time it is not tried again"
            assert len(reports) == (tried if trouble == "refuses" else 0)
            node.after(10)
        assert node.report() == 0
        assert len(reports) in (0, 3)
        (dead,) = (r for r in caplog.records if r.levelname == "ERROR")
        assert dead.event["action"] == "report_dead"


def test_a_caller_without_an_address_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with committing(tmp_path, Caller(ae_title="CT7", may=("commit",))) as node:
        node.owe(node.receive())
        assert node.report() == 0
        assert "'CT7' has no host and port in receive.callers" in caplog.text


def test_a_report_of_a_transaction_that_nobody_began_is_refused(node: Node) -> None:
    kept = [(CTImageStorage, "1.2.3")]
    for role in (True, False):
        answer = report_to_node(node.port, told(T1, kept), title="CT7", role=role)
        assert answer.Status == Status.INVALID_ARGUMENT_VALUE
    answer = report_to_node(node.port, told(T1, kept), title="CT7", kind=3)
    assert answer.Status == Status.NO_SUCH_EVENT_TYPE


@pytest.mark.peer
def test_orthanc_hears_that_what_it_sent_is_kept(tmp_path: Path) -> None:
    """Orthanc asks, releases, and is told over an association that the node requests."""
    node_port = free_port()
    modality = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": node_port}
    modality |= {"AllowStorageCommitment": True}
    with orthanc(tmp_path / "pacs", DicomModalities={"node": modality}) as pacs:
        caller = Caller(ae_title="ORTHANC", may=("commit",), host="127.0.0.1", port=pacs.port)
        with committing(tmp_path, caller) as node:
            pacs.send("/modalities/node", {**modality, "Port": node.port}, "PUT")
            objects = node.receive()
            asked = {"DicomInstances": [list(one) for one in [*objects, (CTImageStorage, "1.2.3")]]}
            begun = pacs.send("/modalities/node/storage-commitment", asked)
            wait_until(node.report)
            report = pacs.json(begun["Path"])
            assert report["Status"] == "Failure"
            kept = sorted((o["SOPClassUID"], o["SOPInstanceUID"]) for o in report["Success"])
            assert kept == objects
            (lost,) = report["Failures"]
            assert (lost["SOPInstanceUID"], lost["FailureReason"]) == ("1.2.3", 0x0112)


def commitments_in_the_trail(
    node: Node, what: Deed = Deed.COMMITMENT
) -> list[tuple[str, str, str | None, str | None]]:
    assert node.worklist.audit.faults()[0] == []
    return [
        (row.who, row.address, row.study_instance_uid, row.about)
        for row in node.worklist.audit.entries()
        if row.what is what
    ]


def test_who_asked_and_what_it_was_told_are_in_the_audit_trail(node: Node) -> None:
    objects = [*node.receive(), (CTImageStorage, "1.2.3.4")]
    with asking(node.port) as ct:
        ct.ask(T1, objects)
        ct.one_report()
    wait_until(lambda: len(commitments_in_the_trail(node)) == 4)
    nowhere = f"transaction {T1}, of no study that is here"
    assert sorted(commitments_in_the_trail(node), key=str) == [
        ("CT7", "127.0.0.1", STUDY, f"asks to keep 3, transaction {T1}"),
        ("CT7", "127.0.0.1", STUDY, f"is told that 3 are kept and 0 are not, transaction {T1}"),
        ("CT7", "127.0.0.1", None, f"asks to keep 1, {nowhere}"),
        ("CT7", "127.0.0.1", None, f"is told that 0 are kept and 1 are not, {nowhere}"),
    ]


def test_a_report_over_another_association_is_in_the_audit_trail_once_it_was_taken(
    tmp_path: Path,
) -> None:
    with listener() as (port, _), committing(tmp_path, ct7(port)) as node:
        node.owe(node.receive())
        assert node.report() == 1
        told = f"is told that 3 are kept and 0 are not, transaction {T1}"
        assert commitments_in_the_trail(node)[1:] == [("CT7", "127.0.0.1", STUDY, told)]


def refusals_in_the_trail(node: Node, count: int) -> list[str | None]:
    wait_until(lambda: len(commitments_in_the_trail(node, Deed.REFUSED)) >= count)
    rows = commitments_in_the_trail(node, Deed.REFUSED)
    assert {row[:3] for row in rows} == {("CT7", "127.0.0.1", None)}
    return [about for *_, about in rows]


def test_what_was_refused_is_in_the_audit_trail_without_what_the_peer_wrote(node: Node) -> None:
    objects = node.receive()
    with asking(node.port) as ct:
        ct.ask(T1, objects, action=2)
        ct.ask(T1, objects, instance="1.2.3")
        nameless = Dataset()
        nameless.add_new("ReferencedSOPSequence", "SQ", [Dataset()])
        nameless.ReferencedSOPSequence[0].add_new("ReferencedSOPClassUID", "LO", "Doe^Jane")
        ct.send(nameless)
    report_to_node(node.port, told(T1, objects), title="CT7")
    assert refusals_in_the_trail(node, 4) == [
        "asks to keep objects, refused: NO_SUCH_ACTION",
        "asks to keep objects, refused: NO_SUCH_SOP_INSTANCE",
        "asks to keep objects, refused: INVALID_ARGUMENT_VALUE",
        "tells what is kept, refused: INVALID_ARGUMENT_VALUE",
    ]
    assert commitments_in_the_trail(node) == []


def test_a_caller_that_may_not_ask_is_in_the_audit_trail(tmp_path: Path) -> None:
    with committing(tmp_path, Caller(ae_title="CT7")) as node, asking(node.port) as ct:
        ct.ask(T1, node.receive())
        refused = refusals_in_the_trail(node, 1)
    assert refused == ["asks to keep objects, refused: NOT_AUTHORISED"]
