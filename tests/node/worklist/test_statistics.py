"""How the node does: counted in SQL, and as the worklist shows it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from node.outcomes import Failed, NotAnalysed, Outcome, Planned, Reported, Skipped
from node.records import Parcel, ReportObject, Scan
from node.states import Priority, Reason, State
from node.worklist import Actor, Counted, DeliveryStatus, Mistake, Opinion, Worklist
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SUSPECTED, study

LONG_AGO = NOW - timedelta(days=300)
UNCERTAIN = replace(NEGATIVE, uncertain=True, uncertainty=0.2)
CONTRAST = NotAnalysed(Reason.CONTRAST, "with contrast")
FAILED = Failed(Reason.INTERNAL, "it crashed")
SKIPPED = Skipped(Reason.LOCALISER, "a scout")
ALONE: list[tuple[Outcome, ...]] = [
    *((), (ASSEMBLED,), (ASSEMBLED, SUSPECTED), (ASSEMBLED, NEGATIVE), (ASSEMBLED, UNCERTAIN)),
    *((CONTRAST,), (FAILED,), (SKIPPED,), (ASSEMBLED, FAILED), (ASSEMBLED, NEGATIVE, FAILED)),
    (ASSEMBLED, SUSPECTED, FAILED),
]
ENDED = [
    *((CONTRAST, Reported()), (FAILED,), (SKIPPED,), (ASSEMBLED, NEGATIVE, FAILED)),
    *((ASSEMBLED, read, Reported()) for read in (SUSPECTED, NEGATIVE, UNCERTAIN)),
]
"""What becomes of a series that no worker takes up again."""


def counted(worklist: Worklist) -> dict[str, Counted]:
    return {one.study_instance_uid: one for one in worklist.statistics.studies(LONG_AGO)}


def assert_counts_what_the_worklist_shows(worklist: Worklist) -> None:
    found, rows = counted(worklist), worklist.views.worklist(NOW)
    assert {uid: (one.priority, one.door_to_flag_s) for uid, one in found.items()} == {
        row.study_instance_uid: (row.priority, row.door_to_flag_s) for row in rows
    }
    unread = {row.study_instance_uid: row.reason_code for row in rows}
    for uid, one in found.items():
        if one.priority is Priority.NOT_ANALYSED:
            assert one.reason_code == (unread[uid] or "")


def test_a_study_counts_as_the_worklist_shows_it(worklist: Worklist) -> None:
    for number, outcomes in enumerate(ALONE, start=1):
        study(worklist, number, *outcomes)
    assert_counts_what_the_worklist_shows(worklist)
    assert len(counted(worklist)) == len(ALONE)


@pytest.mark.parametrize("scans", [("a", "a"), ("a", "b")], ids=["one scan", "two scans"])
def test_a_study_of_two_series_counts_as_the_worklist_shows_it(
    worklist: Worklist, scans: tuple[str, str]
) -> None:
    number = 0
    for first in ENDED:
        for second in ALONE:
            number += 1
            for series, outcomes in enumerate((first, second), start=1):
                named = tuple(
                    replace(one, scan=Scan(scans[series - 1]))
                    if isinstance(one, Planned | NotAnalysed | Skipped)
                    else one
                    for one in outcomes
                )
                study(worklist, number, *named, series=series)
    assert_counts_what_the_worklist_shows(worklist)


def test_a_superseded_suspicion_counts_until_the_late_slices_are_read(worklist: Worklist) -> None:
    number = 0
    for first in ((ASSEMBLED, SUSPECTED), (ASSEMBLED, NEGATIVE), (CONTRAST,)):
        for second in ALONE:
            number += 1
            study(worklist, number, *first)
            later(worklist, number, *second)
    assert_counts_what_the_worklist_shows(worklist)


def later(worklist: Worklist, number: int, *outcomes: Outcome) -> None:
    """File one more slice of a study's series, and take the new case through outcomes."""
    study(worklist, number, *outcomes, then=NOW - timedelta(minutes=5), image=2)


def test_priors_and_what_came_before_are_left_out(worklist: Worklist) -> None:
    study(worklist, 1, replace(ASSEMBLED, prior=True), SUSPECTED)
    study(worklist, 2, ASSEMBLED, SUSPECTED, then=LONG_AGO - timedelta(days=1))
    study(worklist, 3, ASSEMBLED, SUSPECTED)
    assert list(counted(worklist)) == ["1.7.3"]


def test_a_study_has_its_sender_and_the_scanners_maker(worklist: Worklist) -> None:
    study(worklist, 1, manufacturer="SIEMENS")
    one = counted(worklist)["1.7.1"]
    assert (one.caller, one.manufacturer) == ("CT1", "SIEMENS")


def test_the_last_word_that_stands_counts(worklist: Worklist) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    study(worklist, 2, ASSEMBLED, NEGATIVE)
    give, undo = worklist.feedback.give, worklist.feedback.undo
    give("1.7.1", "A", Opinion(True), NOW)
    give("1.7.2", "A", Opinion(False, Mistake.MISSED), NOW)
    give("1.7.1", "B", Opinion(False, Mistake.FALSE_ALARM), NOW)
    give("1.7.1", "A", Opinion(), NOW)
    found = counted(worklist)
    assert [(one.agrees, one.missed) for one in found.values()] == [(False, False), (None, True)]
    undo("1.7.1", "B", NOW)
    undo("1.7.2", "A", NOW)
    found = counted(worklist)
    assert [(one.agrees, one.missed) for one in found.values()] == [(True, False), (None, False)]


def test_the_queue_says_how_long_the_oldest_waits(worklist: Worklist) -> None:
    study(worklist, 1, ASSEMBLED, then=NOW - timedelta(hours=1))
    study(worklist, 2, ASSEMBLED)
    study(worklist, 3, FAILED)
    queue = {line.state: line for line in worklist.statistics.queue()}
    assert list(queue) == list(State)
    assert (queue[State.ASSEMBLED].cases, queue[State.ASSEMBLED].oldest_at) == (
        2,
        NOW - timedelta(hours=1),
    )
    assert (queue[State.FAILED].cases, queue[State.FAILED].oldest_at) == (1, None)
    assert queue[State.TRIAGED].cases == 0


def owing(worklist: Worklist, number: int, *names: str, kind: str = "sr") -> None:
    """A read study that owes one object to each destination."""
    study(worklist, number, ASSEMBLED, SUSPECTED, reported(number, kind, *names))


def reported(number: int, kind: str, *names: str) -> Reported:
    item = Parcel.of(ReportObject(kind, "x.dcm", "1.2", f"2.25.{number}"))
    return Reported(tuple((name, item) for name in names or ("PACS",)))


def test_destinations_are_counted_with_their_last_answer(worklist: Worklist) -> None:
    owing(worklist, 1, "PACS")
    owing(worklist, 2, "PACS", "RIS")
    outbox = worklist.outbox
    (first,) = outbox.claim("w", 60, NOW, 1, urgent_to="PACS")
    outbox.delivered(first, "w", 0, NOW)
    (ris,) = outbox.claim("w", 60, NOW, urgent_to="RIS")
    outbox.failed(ris, "w", 0xA700, "full", None, NOW)
    found = worklist.statistics.destinations(NOW - timedelta(hours=1))
    pacs, ris_line = found["PACS"], found["RIS"]
    assert (pacs.owed, pacs.dead, pacs.sent) == (1, 0, 1)
    assert (pacs.answered_at, pacs.answer, pacs.status) == (NOW, DeliveryStatus.SENT, 0)
    assert (ris_line.owed, ris_line.dead, ris_line.sent) == (0, 1, 0)
    assert (ris_line.answer, ris_line.status) == (DeliveryStatus.DEAD, 0xA700)
    assert worklist.statistics.destinations(NOW + timedelta(seconds=1))["PACS"].sent == 0


def killed(worklist: Worklist, number: int = 1, *, tries: int = 3) -> int:
    """Give up what a study owes after some tries; return the number of the delivery."""
    for left in reversed(range(tries)):
        (owed,) = worklist.outbox.claim("w", 60, NOW, urgent_to="PACS")
        retry_at = NOW if left else None
        worklist.outbox.failed(owed, "w", None, "no such host", retry_at, NOW)
    (dead,) = worklist.deliveries.unsent(status=DeliveryStatus.DEAD)
    assert dead.attempts == tries and dead.case_id == number
    return dead.number


def test_a_dead_delivery_is_tried_again_and_an_event_says_by_whom(worklist: Worklist) -> None:
    owing(worklist, 1, "PACS")
    number = killed(worklist)
    assert worklist.deliveries.retry([number, 99], Actor("A. Admin", "terminal"), NOW) == [number]
    (owed,) = worklist.outbox.claim("w", 60, NOW)
    assert owed.attempts == 1  # all tries again, and it stays noted that the peer may have it
    last = worklist.views.events("1.7.1")[-1]
    assert (last.what, last.detail["by"], last.detail["destination"]) == (
        *("delivery retried", "A. Admin"),
        "PACS",
    )


def test_what_was_sent_is_neither_retried_nor_cancelled(worklist: Worklist) -> None:
    owing(worklist, 1, "PACS")
    (owed,) = worklist.outbox.claim("w", 60, NOW)
    worklist.outbox.delivered(owed, "w", 0, NOW)
    assert worklist.deliveries.retry([owed.id], Actor("A", "terminal"), NOW) == []
    assert worklist.deliveries.cancel([owed.id], Actor("A", "terminal"), NOW) == []
    assert worklist.cases.get(1).state is State.DELIVERED


def test_a_result_that_reached_nobody_is_not_delivered_when_it_is_cancelled(
    worklist: Worklist,
) -> None:
    owing(worklist, 1, "PACS")
    number = killed(worklist)
    assert worklist.deliveries.cancel([number], Actor("A. Admin", "terminal"), NOW) == [number]
    assert worklist.deliveries.unsent() == []
    assert worklist.cases.get(1).state is State.REPORTED
    assert worklist.views.events("1.7.1")[-1].what == "delivery cancelled"


def test_a_result_that_one_destination_has_is_delivered_when_the_rest_is_cancelled(
    worklist: Worklist,
) -> None:
    owing(worklist, 1, "PACS", "RIS")
    (pacs,) = worklist.outbox.claim("w", 60, NOW, urgent_to="PACS")
    worklist.outbox.delivered(pacs, "w", 0, NOW)
    (rest,) = worklist.deliveries.unsent("RIS")
    worklist.deliveries.cancel([rest.number], Actor("A", "terminal"), NOW)
    assert worklist.cases.get(1).state is State.DELIVERED


def test_a_dead_message_is_not_sent_after_a_later_one(worklist: Worklist) -> None:
    """As when a flag was given up and its retraction arrived."""
    owing(worklist, 1, "PACS", kind="message")
    number = killed(worklist)
    later(worklist, 1, ASSEMBLED, NEGATIVE, reported(2, "message"))
    assert worklist.deliveries.retry([number], Actor("A", "terminal"), NOW) == []
    (dead,) = worklist.deliveries.unsent(status=DeliveryStatus.DEAD)
    assert dead.number == number
