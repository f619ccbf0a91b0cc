"""Storage commitment in the worklist, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.committed import CommitmentAsked, CommitmentReport, Reference
from node.outcomes import Planned, Reported, Triaged
from node.records import Parcel, ReportObject
from node.states import Priority, State
from node.worklist import Actor, DeliveryStatus, Opinion, Settled, Worklist
from tests.support.peers import ct_series
from training.datasets.series import Identity

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = Identity.of("a").study_instance_uid
CT7 = Actor("CT7", "192.0.2.7")
NONE = CommitmentReport("1.2.9", (), {})
ONE, OTHER = Reference(CT, "1.2.3.1"), Reference(CT, "1.2.3.2")


def asked(*references: Reference, transaction: str = "1.2.9") -> CommitmentAsked:
    return CommitmentAsked(transaction, references)


@pytest.fixture
def filed(worklist: Worklist, tmp_path: Path) -> tuple[Reference, ...]:
    paths = ct_series(tmp_path / "in", 2, seed="a")
    spool = Spool(tmp_path / "data", 0)
    for path in paths:
        ingest(path, worklist.arrivals, spool, caller="CT7", now=NOW)
    return tuple(Reference(CT, dcmread(path).SOPInstanceUID) for path in paths)


def owe(worklist: Worklist) -> None:
    """Make a case that owes two objects to a destination, which has stored them."""
    owed = tuple(
        ("pacs", Parcel.of(ReportObject("sr", f"{one.sop_instance_uid}.dcm", *one, "1.2.3")))
        for one in (ONE, OTHER)
    )
    for state, outcome in (
        (State.RECEIVING, Planned()),
        (State.ASSEMBLED, Triaged(Priority.SUSPECTED, probability=0.5)),
        (State.TRIAGED, Reported(owed)),
    ):
        case = worklist.cases.claim({state}, "w", 60, NOW + 2 * MINUTE)
        assert case is not None
        worklist.cases.finish(case, "w", outcome, NOW)
    for delivery in worklist.outbox.claim("d", 60, NOW):
        worklist.outbox.stored(delivery, "d", 0, NOW + 60 * MINUTE, NOW)


def test_a_report_is_one_worker_s_until_its_lease_runs_out(worklist: Worklist) -> None:
    duty = worklist.commitments.ask(CT7, asked(ONE), "receiver", 60, NOW)
    assert worklist.commitments.claim("w", 60, NOW) is None
    (again,) = filter(None, [worklist.commitments.claim("w", 60, NOW + MINUTE)])
    assert (again.id, again.asked, again.attempts) == (duty.id, asked(ONE), 1)
    worklist.commitments.reported(duty, "receiver", CT7, NONE, NOW + MINUTE)
    assert worklist.commitments.claim("x", 60, NOW + 3 * MINUTE) is not None, "not the holder's"


def test_the_same_request_is_owed_once_and_another_one_is_a_duplicate(worklist: Worklist) -> None:
    ask = worklist.commitments.ask
    first = ask(CT7, asked(ONE), "r", 60, NOW)
    worklist.commitments.reported(first, "r", CT7, NONE, NOW)
    same = ask(CT7, asked(ONE), "r", 60, NOW)
    assert (same.id, same.duplicate) == (first.id, False)
    other = ask(CT7, asked(OTHER), "r", 60, NOW)
    assert other.duplicate and other.id != first.id
    assert ask(CT7, asked(ONE, OTHER), "r", 60, NOW).id == other.id
    assert not ask(Actor("CT8", "192.0.2.8"), asked(OTHER), "r", 60, NOW).duplicate


def test_a_transaction_is_forgotten_a_month_after_its_report(worklist: Worklist) -> None:
    ask = worklist.commitments.ask
    worklist.commitments.reported(ask(CT7, asked(ONE), "r", 60, NOW), "r", CT7, NONE, NOW)
    later = NOW + timedelta(days=31)
    assert not ask(CT7, asked(OTHER), "r", 60, later).duplicate


def test_an_object_is_kept_until_the_latest_promise(
    worklist: Worklist, filed: tuple[Reference, ...]
) -> None:
    kept = worklist.commitments.keep([*filed, ONE], NOW + timedelta(days=30))
    assert set(kept) == {one.sop_instance_uid for one in filed}
    assert {one.sop_class_uid for one in kept.values()} == {CT}
    worklist.commitments.keep(filed, NOW + timedelta(days=10))
    assert worklist.commitments.kept_until(STUDY) == NOW + timedelta(days=30)
    assert worklist.commitments.kept_until("1.2.3") is None


@pytest.mark.usefixtures("filed")
def test_what_is_stored_is_asked_about_by_one_worker_and_not_sent(worklist: Worklist) -> None:
    owe(worklist)
    assert worklist.outbox.claim("d", 60, NOW + MINUTE) == []
    stored = worklist.confirmations.claim("w", 60, NOW)
    assert [one.reference for one in stored] == [ONE, OTHER]
    assert worklist.confirmations.claim("x", 60, NOW) == []
    worklist.confirmations.asked(stored, "w", NOW + 10 * MINUTE, NOW, "peer: no")
    assert worklist.confirmations.claim("x", 60, NOW + 9 * MINUTE) == []
    assert len(worklist.confirmations.claim("x", 60, NOW + 10 * MINUTE)) == 2
    said = {one.message for one in worklist.deliveries.unsent()}
    assert said == {"stored, commitment awaited: peer: no"}


@pytest.mark.usefixtures("filed")
def test_a_report_settles_what_it_names(worklist: Worklist) -> None:
    owe(worklist)
    stored = worklist.confirmations.claim("w", 60, NOW)
    worklist.confirmations.asking("1.2.9", stored, NOW)
    settle, later = worklist.confirmations.settle, NOW + MINUTE
    assert settle(CommitmentReport("1.2.8", [ONE], {}), later, 5, NOW) is None
    report = CommitmentReport("1.2.9", [ONE], {OTHER: 0x0110})
    assert settle(report, later, 5, NOW) == Settled(1, 1)
    assert settle(report, later, 5, NOW) == Settled(0, 0)
    assert [one.kind for one in worklist.deliveries.unsent()] == ["sr"]
    (again,) = worklist.outbox.claim("d", 60, later)
    assert again.parcel.dedup_key == OTHER.sop_instance_uid
    worklist.outbox.stored(again, "d", 0, None, later)
    (dead,) = worklist.deliveries.unsent()
    assert dead.status is DeliveryStatus.DEAD
    assert settle(CommitmentReport("1.2.9", [OTHER], {}), later, 5, NOW) == Settled(1, 0)
    assert worklist.views.counts()[State.DELIVERED] == 1


@pytest.mark.usefixtures("filed")
def test_door_to_pacs_is_when_the_object_was_stored(worklist: Worklist) -> None:
    owe(worklist)
    (row,) = worklist.views.worklist(NOW)
    assert {line.sent_at for line in row.deliveries} == {NOW}
    assert row.door_to_pacs_s is not None and row.delivered_at is None


@pytest.mark.usefixtures("filed")
def test_a_result_that_was_stored_and_given_up_is_superseded_by_the_next(
    worklist: Worklist, tmp_path: Path
) -> None:
    """It may be there, committed or not, so the next report must name it."""
    owe(worklist)
    numbers = [one.number for one in worklist.deliveries.unsent()]
    assert worklist.deliveries.cancel(numbers, Actor("admin", "terminal"), NOW) == numbers
    (*_, late) = ct_series(tmp_path / "late", 3, seed="a")
    spool = Spool(tmp_path / "data", 0)
    ingest(late, worklist.arrivals, spool, caller="CT7", now=NOW + 5 * MINUTE)
    case = worklist.cases.claim({State.RECEIVING}, "w", 60, NOW + 9 * MINUTE)
    assert case is not None and case.supersedes is not None
    older = worklist.outbox.predecessor(case.id, "sr")
    assert older is not None and older.series_instance_uid == "1.2.3"


@pytest.mark.usefixtures("filed")
def test_what_a_destination_was_asked_goes_with_the_results_and_no_sooner(
    worklist: Worklist, url: str
) -> None:
    owe(worklist)
    stored = worklist.confirmations.claim("w", 60, NOW)
    worklist.confirmations.asking("1.2.9", stored, NOW)
    worklist.feedback.give(STUDY, "reader", Opinion(), NOW)
    assert not purged(worklist, results=True), "it awaits its commitment"
    report = CommitmentReport("1.2.9", [ONE, OTHER], {})
    assert worklist.confirmations.settle(report, NOW, 5, NOW) == Settled(2, 0)
    assert purged(worklist, results=False) and asked_rows(url) == 2
    assert purged(worklist, results=True) and asked_rows(url) == 0
    assert worklist.confirmations.settle(report, NOW, 5, NOW) is None
    assert worklist.inspection.faults() == []


@pytest.mark.usefixtures("filed")
def test_what_a_destination_was_asked_about_a_canary_goes_with_it(
    worklist: Worklist, url: str
) -> None:
    worklist.canaries.send(STUDY, "f" * 64, NOW)
    owe(worklist)
    worklist.confirmations.asking("1.2.9", worklist.confirmations.claim("w", 60, NOW), NOW)
    worklist.canaries.purge(STUDY, NOW)
    assert asked_rows(url) == 0 and worklist.inspection.faults() == []


def purged(worklist: Worklist, *, results: bool) -> bool:
    rule = {"results": results, "unacknowledged": timedelta(0)}
    by = Actor("admin", "terminal")
    return worklist.retention.decide(STUDY, by, "a test", NOW + MINUTE, **rule) is not None


def asked_rows(url: str) -> int:
    engine = sa.create_engine(url)
    with engine.connect() as db:
        count = db.execute(sa.text("SELECT count(*) FROM confirmation")).scalar_one()
    engine.dispose()
    return int(count)


@pytest.mark.usefixtures("filed")
def test_a_clock_that_is_set_back_shortens_no_promise_and_holds_no_request(
    worklist: Worklist, filed: tuple[Reference, ...]
) -> None:
    worklist.processes.reckon(NOW)
    until = NOW + timedelta(days=30)
    worklist.commitments.keep(filed, until)
    owe(worklist)
    duty = worklist.commitments.ask(CT7, asked(ONE), "r", 60, NOW)
    worklist.commitments.release(duty, "r", NOW)
    earlier = NOW - 60 * MINUTE
    worklist.processes.reckon(earlier)
    assert worklist.commitments.kept_until(STUDY) == until
    assert len(worklist.confirmations.claim("w", 60, earlier)) == 2
    assert worklist.commitments.claim("w", 60, earlier) is not None


def test_reports_that_were_given_up_are_told_by_caller_the_newest_first(worklist: Worklist) -> None:
    for caller, transaction, minute in (("CT7", "1.1", 0), ("CT7", "1.2", 1), ("MR", "1.3", 2)):
        duty = worklist.commitments.ask(
            Actor(caller, "192.0.2.7"), asked(ONE, transaction=transaction), "r", 60, NOW
        )
        again = None if caller == "CT7" else NOW + MINUTE
        worklist.commitments.failed(duty, "r", f"no {transaction}", again, NOW + minute * MINUTE)
    (dead,) = worklist.commitments.dead()
    assert str(dead) == "2 reports of storage commitment to CT7 given up: no 1.2"
    assert dead.last_at == NOW + MINUTE
