"""Results are withdrawn in one transaction, in SQLite and PostgreSQL alike."""

import threading
from datetime import timedelta

import pytest

from node.outcomes import Planned, Skipped
from node.records import Scan
from node.states import Priority, Reason, State
from node.worklist import Actor, IllegalMove, Mark, Opinion, Worklist
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SEG, SR, SUSPECTED, report, study

BY = Actor("anna", "terminal")
UID = "1.7.1"
DELIVERED = (ASSEMBLED, SUSPECTED, report(SR, SEG))


def withdraw(worklist: Worklist, minutes: int = 0) -> None:
    now = NOW + timedelta(minutes=minutes)
    worklist.retractions.withdraw(UID, BY, "wrong bundle", now, None)


def test_a_withdrawn_result_is_superseded_by_a_case_that_says_so(worklist: Worklist) -> None:
    study(worklist, 1, *DELIVERED)
    withdraw(worklist)
    old, new = worklist.views.history(UID)
    assert (new.supersedes, new.state, new.priority) == (
        1,
        State.NOT_ANALYSED,
        old.priority.NOT_ANALYSED,
    )
    assert (new.probability, new.scan, new.received_at) == (None, old.scan, old.received_at)
    assert {line.status for line in old.deliveries} == {"CANCELLED"}
    assert worklist.cases.get(2).withdrawal == new.withdrawn
    assert worklist.views.study(UID).case_id == 2


def test_nothing_happens_twice(worklist: Worklist) -> None:
    study(worklist, 1, *DELIVERED)
    withdraw(worklist)
    before = worklist.views.history(UID), worklist.views.events(UID), worklist.audit.entries(UID)
    withdraw(worklist, minutes=1)
    after = worklist.views.history(UID), worklist.views.events(UID), worklist.audit.entries(UID)
    assert before == after
    assert worklist.audit.faults()[0] == []


def test_every_result_of_a_study_is_withdrawn_and_what_was_passed_over_is_left(
    worklist: Worklist,
) -> None:
    study(worklist, 1, Planned(scan=Scan("1")), SUSPECTED, report(SR))
    study(worklist, 1, Planned(scan=Scan("2")), NEGATIVE, report(), series=2)
    study(worklist, 1, Skipped(Reason.NOT_A_HEAD, "a chest"), series=3)
    study(worklist, 1, series=4)
    withdraw(worklist)
    rows = {row.case_id: row for row in worklist.views.history(UID)}
    assert {row.supersedes for row in rows.values() if row.withdrawn} == {1, 2}
    assert len(rows) == 6
    assert worklist.views.study(UID).priority is Priority.PENDING, "one series is yet to be read"


def test_a_negative_of_one_scan_does_not_clear_a_study_whose_other_scan_is_withdrawn(
    worklist: Worklist,
) -> None:
    study(worklist, 1, Planned(scan=Scan("1")), SUSPECTED)
    withdraw(worklist)
    claim_withdrawal(worklist)
    study(worklist, 1, Planned(scan=Scan("2")), NEGATIVE, series=2)
    row = worklist.views.study(UID)
    assert row.withdrawn and row.priority is Priority.NOT_ANALYSED
    (counted,) = worklist.statistics.studies(NOW - timedelta(days=1))
    assert counted.priority is Priority.NOT_ANALYSED


@pytest.mark.parametrize("outcome", [Skipped(Reason.GEOMETRY, "no positions"), None])
def test_a_suspicion_that_was_withdrawn_does_not_come_back_with_a_late_slice(
    worklist: Worklist, outcome: Skipped | None
) -> None:
    study(worklist, 1, *DELIVERED)
    withdraw(worklist)
    claim_withdrawal(worklist)
    later = NOW + timedelta(minutes=5)
    study(worklist, 1, *([outcome] if outcome else []), then=later, image=2)
    shown = Priority.NOT_ANALYSED if outcome else Priority.PENDING
    assert worklist.views.study(UID).priority is shown
    (counted,) = worklist.statistics.studies(NOW - timedelta(days=1))
    assert counted.priority is shown


def claim_withdrawal(worklist: Worklist) -> None:
    """Let a worker report the withdrawal."""
    case = worklist.cases.claim({State.NOT_ANALYSED}, "w", 60, NOW)
    assert case is not None and case.withdrawal is not None
    worklist.cases.finish(case, "w", report(SR), NOW)


def test_a_late_slice_leaves_a_withdrawal_that_is_still_to_be_reported(worklist: Worklist) -> None:
    study(worklist, 1, *DELIVERED)
    withdraw(worklist)
    study(worklist, 1, then=NOW + timedelta(minutes=5), image=2)
    now = NOW + timedelta(minutes=6)
    first = worklist.cases.claim({State.RECEIVING, State.NOT_ANALYSED}, "w", 60, now)
    assert first is not None and first.id == 2, "it is superseded, and goes first all the same"
    worklist.cases.finish(first, "w", report(SR), now)
    (row,) = (row for row in worklist.views.history(UID) if row.case_id == 2)
    assert [line.status for line in row.deliveries] == ["OWED"]


def test_a_study_of_last_week_is_listed_again_when_it_is_withdrawn(worklist: Worklist) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(), then=NOW - timedelta(days=7))
    since = NOW - timedelta(hours=24)
    assert worklist.listing.recent(since)[0] == []
    _, mark = worklist.listing.changed(Mark())
    withdraw(worklist)
    claim_withdrawal_without_archive(worklist)
    (listed,) = worklist.listing.recent(since)[0]
    assert listed.row.withdrawn and listed.last_received_at == NOW
    assert worklist.listing.changed(mark)[0] == {UID}


def claim_withdrawal_without_archive(worklist: Worklist) -> None:
    case = worklist.cases.claim({State.NOT_ANALYSED}, "w", 60, NOW)
    assert case is not None
    worklist.cases.finish(case, "w", report(), NOW)
    assert worklist.cases.get(2).state is State.DELIVERED, "nobody had anything of it"


def test_what_was_acknowledged_is_to_be_looked_at_again(worklist: Worklist) -> None:
    study(worklist, 1, *DELIVERED)
    worklist.feedback.give(UID, "ben", Opinion(), NOW)
    withdraw(worklist, minutes=1)
    assert worklist.views.study(UID).acknowledged_at is None


def test_a_phantom_of_the_node_is_not_withdrawn(worklist: Worklist) -> None:
    study(worklist, 1, *DELIVERED)
    worklist.canaries.send(UID, "phantom", NOW)
    with pytest.raises(IllegalMove, match="phantom"):
        withdraw(worklist)


def test_two_people_at_once_withdraw_once(worklist: Worklist) -> None:
    study(worklist, 1, *DELIVERED)
    ready, failures = threading.Barrier(4), list[BaseException]()

    def person() -> None:
        ready.wait()
        try:
            withdraw(worklist)
        except BaseException as error:  # noqa: BLE001  told below
            failures.append(error)

    people = [threading.Thread(target=person) for _ in range(4)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert failures == []
    assert [row.case_id for row in worklist.views.history(UID)] == [1, 2]
    assert len(worklist.audit.entries(UID)) == 1
