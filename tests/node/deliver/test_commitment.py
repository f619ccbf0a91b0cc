"""Destinations that must commit themselves to keep a result before it counts as delivered."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.arrive.commitment_scp import CommitmentScp
from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.arrive.storage_scp import Receiver
from node.deliver import committing
from node.deliver.committing import ask_what_is_due
from node.deliver.sending import drain
from node.dicom.net.association import Status
from node.outcomes import Planned, Reported, Triaged
from node.records import Parcel, ReportObject
from node.settings import Deliver, Destination, Receive, Settings
from node.states import Priority, State
from node.worklist import Actor, Deed, DeliveryLine, Worklist
from tests.support.committing import Named, committing_archive, report_to_node, told
from tests.support.databases import new_database
from tests.support.peers import ct_series, free_port, mute_peer, orthanc, wait_until
from training.datasets.series import Identity

ASK_AGAIN_S, SEND_AGAIN_S = 3600, 86400
STUDY = Identity.of("report").study_instance_uid


@dataclass
class Node:
    """A node that owes a result, with its SCP, and a clock that the test moves."""

    settings: Settings
    worklist: Worklist
    now: datetime = datetime(2026, 11, 20, 8, tzinfo=UTC)
    port: int = 0

    def clock(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def owe(self, count: int = 2) -> list[Named]:
        """Make a reported case that owes objects; return what they are named by."""
        folder = self.settings.data_dir
        (slice_,) = ct_series(folder / "in", 1, seed="report")
        spool = Spool(folder, 0)
        ingest(slice_, self.worklist.arrivals, spool, caller="", now=self.now)
        owed = {}
        for path in ct_series(folder / "cases" / "report", count, seed="report"):
            ds = dcmread(path, stop_before_pixels=True)
            named = (str(ds.SOPClassUID), str(ds.SOPInstanceUID))
            relative = path.relative_to(folder).as_posix()
            owed[named] = Parcel.of(ReportObject("sr", relative, *named))
        self.wait(120)
        parcels = tuple(("peer", parcel) for parcel in owed.values())
        for state, outcome in (
            (State.RECEIVING, Planned()),
            (State.ASSEMBLED, Triaged(Priority.SUSPECTED, probability=0.5)),
            (State.TRIAGED, Reported(parcels)),
        ):
            case = self.worklist.cases.claim({state}, "test", 60, self.now)
            assert case is not None
            self.worklist.cases.finish(case, "test", outcome, self.now)
        return sorted(owed)

    def send(self) -> int:
        return drain(self.settings, self.worklist.outbox, self.clock, "deliver")

    def ask(self) -> int:
        return ask_what_is_due(self.settings, self.worklist.confirmations, self.clock)

    @property
    def lines(self) -> list[DeliveryLine]:
        return [line for row in self.worklist.views.worklist(self.now) for line in row.deliveries]

    @property
    def status(self) -> set[tuple[str, int | None, str | None]]:
        return {(line.status, line.last_status, line.last_message) for line in self.lines}

    @property
    def is_delivered(self) -> bool:
        return self.worklist.views.counts()[State.DELIVERED] == 1

    def events(self) -> list[str]:
        return [event.what for event in self.worklist.views.events(STUDY)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listen for a report for as long as a peer of this machine may take, and no longer."""
    monkeypatch.setattr(committing, "LISTEN_S", 0.5)


AWAITED = {("OWED", 0, "stored, commitment awaited")}
COMMITTED = {("SENT", 0, None)}


@contextmanager
def owing_to(
    folder: Path, destination: Destination, *callers: str, **deliver: Any
) -> Iterator[Node]:
    chosen = {"timeout_s": 3.0, "destinations": (destination,), **deliver}
    receive = Receive(host="127.0.0.1", port=0, min_free_mb=0, allowed_callers=callers or ("PEER",))
    settings = Settings(data_dir=folder / "node", deliver=Deliver(**chosen), receive=receive)
    new_database(settings.url)
    with closing(Worklist(settings.url)) as worklist:
        node = Node(settings, worklist)
        promises = (worklist.commitments, worklist.confirmations)
        scp = CommitmentScp(settings, *promises, node.clock)
        handles = (worklist.arrivals, worklist.announcements)
        with Receiver(settings, *handles, node.clock, commitment=scp) as receiver:
            node.port = receiver.port
            yield node


def keeps_all(transaction: str, objects: list[Named]) -> Any:
    return told(transaction, objects)


def uids(objects: Sequence[Named]) -> list[str]:
    return sorted(uid for _, uid in objects)


def test_a_result_counts_once_its_destination_has_committed_itself(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        assert node.send() == 2
        assert node.status == AWAITED and not node.is_delivered
        pacs.replies = keeps_all
        assert node.ask() == 2
        assert [one for _, one in pacs.asked] == [objects]
        assert node.status == COMMITTED and node.is_delivered
        assert node.events().count("committed") == 2
        node.wait(2 * SEND_AGAIN_S)
        assert (node.send(), node.ask()) == (0, 0)
        assert sorted(pacs.stored) == uids(objects)


def test_a_report_may_come_over_an_association_of_the_destination(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        node.send()
        node.ask()
        assert node.status == AWAITED and not node.is_delivered
        ((transaction, _),) = pacs.asked
        assert report_to_node(node.port, told(transaction, objects)).Status == Status.SUCCESS
        assert node.status == COMMITTED and node.is_delivered


def test_a_destination_that_is_not_set_so_is_not_asked(tmp_path: Path) -> None:
    with committing_archive() as pacs:
        plain = pacs.destination.model_copy(update={"commitment": False})
        with owing_to(tmp_path, plain) as node:
            node.owe()
            node.send()
            assert node.status == COMMITTED and node.is_delivered
            assert node.ask() == 0 and pacs.asked == []


def test_a_silent_destination_is_asked_again_and_gets_the_same_objects_again(
    tmp_path: Path,
) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        node.send()
        assert node.ask() == 2
        assert node.ask() == 0, "before its time it is not asked again"
        node.wait(ASK_AGAIN_S)
        assert (node.send(), node.ask()) == (0, 2)
        (first, _), (second, _) = pacs.asked
        assert first != second
        node.wait(SEND_AGAIN_S - ASK_AGAIN_S)
        assert (node.send(), node.ask()) == (2, 2)
        assert sorted(pacs.stored) == sorted(2 * uids(objects))
        assert node.status == AWAITED and not node.is_delivered


@pytest.mark.parametrize("answered", [0, 2])
def test_a_report_confirms_whichever_request_it_answers(tmp_path: Path, answered: int) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        node.send()
        for _ in range(3):
            node.ask()
            node.wait(ASK_AGAIN_S)
        report_to_node(node.port, told(pacs.asked[answered][0], objects))
        assert node.status == COMMITTED and node.is_delivered


def test_an_old_report_of_failure_does_not_fail_what_was_asked_for_since(
    tmp_path: Path,
) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        node.send()
        node.ask()
        node.wait(ASK_AGAIN_S)
        node.ask()
        report_to_node(node.port, told(pacs.asked[0][0], [], objects))
        assert node.status == AWAITED


def test_what_fails_goes_out_again_alone_and_its_reason_is_kept(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        kept, lost = node.owe()
        pacs.replies = lambda transaction, _: told(transaction, [kept], [lost], 0x0112)
        node.send()
        node.ask()
        said = "stored, but not committed: 0112, no such object instance"
        assert node.status == COMMITTED | {("OWED", 0x0112, said)}
        assert not node.is_delivered
        assert node.send() == 0
        node.wait(900)
        assert node.send() == 1
        assert pacs.stored[2:] == [lost[1]]
        pacs.replies = keeps_all
        assert node.ask() == 1
        assert node.status == COMMITTED and node.is_delivered


def test_a_report_that_comes_twice_changes_nothing(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        node.send()
        node.ask()
        ((transaction, _),) = pacs.asked
        for ds in (told(transaction, objects), told(transaction, objects)):
            assert report_to_node(node.port, ds).Status == Status.SUCCESS
        late = told(transaction, [], objects)
        assert report_to_node(node.port, late).Status == Status.SUCCESS
        assert node.status == COMMITTED
        assert node.events().count("committed") == 2


def test_an_unknown_transaction_confirms_nothing(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        objects = node.owe()
        node.send()
        node.ask()
        answer = report_to_node(node.port, told("1.2.3", objects))
        assert answer.Status == Status.INVALID_ARGUMENT_VALUE
        assert node.status == AWAITED


def test_a_report_confirms_what_it_names_and_no_more(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        named, other = node.owe()
        node.send()
        node.ask()
        report_to_node(node.port, told(pacs.asked[0][0], [named, (other[0], "1.2.3")]))
        assert node.status == COMMITTED | AWAITED and not node.is_delivered


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("refuses", "peer: N-ACTION 0x0110 archive is full"),
        ("does not know it", "peer: accepts none of the SOP classes"),
        ("down", "peer: no connection to"),
        ("mute", "peer: connected, but the peer aborted or did not answer"),
    ],
)
def test_a_destination_that_cannot_be_asked_is_quoted_and_asked_again(
    tmp_path: Path, trouble: str, words: str
) -> None:
    with (
        mute_peer() as mute,
        committing_archive(commits=trouble != "does not know it") as pacs,
        owing_to(tmp_path, pacs.destination, timeout_s=1.0) as node,
    ):
        node.owe()
        node.send()
        pacs.status, pacs.comment = 0x0110, "archive is full"
        ports = {"down": free_port(), "mute": mute.port}
        faulty = pacs.destination.model_copy(
            update={"port": ports.get(trouble, pacs.destination.port)}
        )
        well = node.settings
        node.settings = well.model_copy(
            update={"deliver": well.deliver.model_copy(update={"destinations": (faulty,)})}
        )
        assert node.ask() == 0
        ((status, _, said),) = node.status
        assert status == "OWED" and str(said).startswith(f"stored, commitment awaited: {words}")
        assert node.ask() == 0, "before its time it is not asked again"
        if trouble == "does not know it":
            return
        node.settings, pacs.status, pacs.replies = well, 0x0000, keeps_all
        node.wait(900)
        assert node.ask() == 2
        assert node.status == COMMITTED


def test_after_the_last_try_a_person_must_look_and_a_late_report_still_counts(
    tmp_path: Path,
) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination, max_attempts=1) as node:
        objects = node.owe()
        node.send()
        node.ask()
        assert node.status == AWAITED
        node.wait(SEND_AGAIN_S)
        node.send()
        assert node.status == {("DEAD", 0, "stored, commitment awaited")}
        assert {one.status.value for one in node.worklist.deliveries.unsent()} == {"DEAD"}
        node.wait(SEND_AGAIN_S)
        assert (node.send(), node.ask()) == (0, 0)
        report_to_node(node.port, told(pacs.asked[0][0], objects))
        assert node.status == COMMITTED and node.is_delivered


def test_a_node_killed_while_it_asks_asks_again(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        node.owe()
        node.send()
        killed = node.worklist.confirmations.claim("killed", 60, node.now)
        node.worklist.confirmations.asking("1.2.3", killed, node.now)
        assert node.ask() == 0
        node.wait(61)
        pacs.replies = keeps_all
        assert node.ask() == 2
        assert node.status == COMMITTED


def test_a_person_may_send_again_or_give_up_what_is_awaited(tmp_path: Path) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        node.owe()
        node.send()
        again, no_more = (one.number for one in node.worklist.deliveries.unsent())
        deliveries = node.worklist.deliveries
        deliveries.retry([again], Actor("admin", ""), node.now)
        deliveries.cancel([no_more], Actor("admin", ""), node.now)
        assert node.send() == 1
        pacs.replies = keeps_all
        assert node.ask() == 1
        assert {line.status for line in node.lines} == {"SENT", "CANCELLED"}


@pytest.mark.peer
def test_orthanc_commits_itself_to_what_it_stored(tmp_path: Path) -> None:
    """Orthanc reports over an association of its own, with roles reversed."""
    with orthanc(tmp_path / "pacs") as pacs:
        destination = pacs.destination.model_copy(update={"commitment": True})
        with owing_to(tmp_path, destination, "ORTHANC") as node:
            modality = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": node.port}
            pacs.send("/modalities/node", {**modality, "AllowStorageCommitment": True}, "PUT")
            objects = node.owe()
            assert node.send() == 2
            assert node.status == AWAITED
            assert node.ask() == 2
            wait_until(lambda: node.is_delivered)
            assert node.status == COMMITTED
            assert sorted(pacs.instances(STUDY)) == uids(objects)


@pytest.mark.peer
def test_orthanc_says_what_it_has_lost_and_gets_it_again(tmp_path: Path) -> None:
    with orthanc(tmp_path / "pacs") as pacs:
        destination = pacs.destination.model_copy(update={"commitment": True})
        with owing_to(tmp_path, destination, "ORTHANC") as node:
            modality = {"AET": "ICHNODE", "Host": "127.0.0.1", "Port": node.port}
            pacs.send("/modalities/node", {**modality, "AllowStorageCommitment": True}, "PUT")
            kept, lost = node.owe()
            node.send()
            pacs.delete(f"/instances/{pacs.instances(STUDY)[lost[1]]}")
            node.ask()
            wait_until(lambda: "not committed" in node.events())
            assert {line.last_status for line in node.lines} == {0, 0x0112}
            node.wait(900)
            assert node.send() == 1
            assert sorted(pacs.instances(STUDY)) == uids([kept, lost])
            node.ask()
            wait_until(lambda: node.is_delivered)


def test_what_was_asked_of_a_destination_and_what_it_told_are_in_the_audit_trail(
    tmp_path: Path,
) -> None:
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        node.owe()
        node.send()
        pacs.replies = keeps_all
        node.ask()
        ((transaction, _),) = pacs.asked
        rows = [row for row in node.worklist.audit.entries() if row.what is Deed.COMMITMENT]
        assert {(row.who, row.address, row.study_instance_uid) for row in rows} == {
            ("peer", "dicom", STUDY)
        }
        assert {row.about for row in rows} == {
            f"is asked to keep 2, transaction {transaction}",
            f"tells that 2 are kept and 0 are not, transaction {transaction}",
        }
        assert node.worklist.audit.faults()[0] == []


def test_a_destination_that_could_not_be_asked_is_not_in_the_audit_trail(tmp_path: Path) -> None:
    away = Destination(
        name="peer", ae_title="PEER", host="127.0.0.1", port=free_port(), commitment=True
    )
    with committing_archive() as pacs, owing_to(tmp_path, pacs.destination) as node:
        node.owe()
        node.send()
        settings = node.settings.model_copy(
            update={"deliver": node.settings.deliver.model_copy(update={"destinations": (away,)})}
        )
        assert ask_what_is_due(settings, node.worklist.confirmations, node.clock) == 0
        assert Deed.COMMITMENT not in {row.what for row in node.worklist.audit.entries()}
