"""The order in which cases are claimed, on the real database and by times that the test sets."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.outcomes import NotAnalysed, Outcome, Planned, Reported, Triaged, Waiting
from node.records import Frame, Header, StoredObject
from node.states import Priority, Reason, State
from node.worklist import Worklist
from tests.support.databases import new_database
from tests.support.postgresql import cluster

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
ALL = (State.RECEIVING, State.ASSEMBLED, State.TRIAGED, State.NOT_ANALYSED)
BLEED = Triaged(Priority.SUSPECTED, probability=0.9)
NEGATIVE = Triaged(Priority.NOT_SUSPECTED, probability=0.04)
UNCERTAIN = Triaged(Priority.NOT_SUSPECTED, probability=0.4, uncertainty=0.3, uncertain=True)
UNREADABLE = NotAnalysed(Reason.UNREADABLE, "no brain found")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = f"sqlite:///{tmp_path / 'ichnode.sqlite'}"
    new_database(url)
    with closing(Worklist(url)) as opened:
        yield opened


def receive(worklist: Worklist, study: int, now: datetime = T0) -> None:
    """Receive the one image of a study; studies that come in order have cases of their number."""
    header = Header(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"1.9.{study}",
        study_instance_uid=f"1.7.{study}",
        series_instance_uid=f"1.8.{study}",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        frames=(Frame(None, None),),
        patient_id=f"P{study}",
    )
    stored = StoredObject(f"objects/{study}.dcm", f"{study:064}", 1000)
    worklist.arrivals.add(header, stored, caller="CT1", now=now)


def take(worklist: Worklist, now: datetime, *outcomes: Outcome) -> int:
    """Claim what is most urgent, end its stage as told, and return the case's number."""
    for outcome in outcomes:
        case = worklist.cases.claim(ALL, "w", 60, now)
        assert case is not None
        worklist.cases.finish(case, "w", outcome, now)
    return case.id


def move(worklist: Worklist, case_id: int, now: datetime, *outcomes: Outcome) -> None:
    """Bring one case forward while all others are held by another worker."""
    held = []
    for outcome in outcomes:
        while (case := worklist.cases.claim(ALL, "w", 60, now)) and case.id != case_id:
            held.append(case)
        assert case is not None
        worklist.cases.finish(case, "w", outcome, now)
    for case in held:
        worklist.cases.finish(case, "w", Waiting("", now), now)


def order(worklist: Worklist, now: datetime) -> list[int]:
    """Return the cases in the order in which workers would take them up."""
    claimed = []
    while case := worklist.cases.claim(ALL, "w", 60, now):
        claimed.append(case.id)
    return claimed


def prepare(worklist: Worklist, *ends: tuple[Outcome, ...]) -> None:
    """Receive a study for each list of outcomes, a second apart, and let its stages end so."""
    for number in range(1, len(ends) + 1):
        receive(worklist, number, at(number))
    for number, outcomes in enumerate(ends, start=1):
        if outcomes:
            move(worklist, number, at(20), *outcomes)


def test_a_suspected_report_goes_first_then_what_a_person_must_look_at(
    worklist: Worklist,
) -> None:
    plan = Planned()
    prepare(
        worklist,
        (plan, NEGATIVE),
        (plan,),
        (),
        (plan, UNCERTAIN),
        (UNREADABLE,),
        (plan, BLEED),
    )
    assert order(worklist, at(21)) == [6, 4, 5, 3, 2, 1]


@pytest.mark.peer
def test_the_order_is_the_same_on_postgresql() -> None:
    with cluster() as url:
        new_database(url)
        with closing(Worklist(url)) as worklist:
            prepare(worklist, (Planned(), NEGATIVE), (Planned(),), (), (Planned(), BLEED))
            assert order(worklist, at(21)) == [4, 3, 2, 1]


def test_unread_studies_go_in_the_order_of_the_worklist_however_they_became_ready(
    worklist: Worklist,
) -> None:
    for number in (1, 2, 3):
        receive(worklist, number, at(number))
    for now, number in enumerate((3, 1, 2), start=10):
        move(worklist, number, at(now), Planned())
    shown = [row.case_id for row in worklist.views.worklist(at(20))]
    assert order(worklist, at(20)) == shown == [1, 2, 3]


def test_a_prior_waits_also_with_a_suspicion(worklist: Worklist) -> None:
    receive(worklist, 1)
    receive(worklist, 2)
    move(worklist, 1, at(5), Planned(prior=True), BLEED)
    assert order(worklist, at(6)) == [2, 1]


def test_the_replay_of_an_old_study_waits_for_tonights(worklist: Worklist) -> None:
    receive(worklist, 1)
    take(worklist, at(5), Planned(), NEGATIVE, Reported())
    day = 24 * 3600
    receive(worklist, 2, at(day))
    worklist.cases.replay(1, State.RECEIVING, at(day))
    assert order(worklist, at(day + 5)) == [2, 1]


def test_studies_that_keep_coming_in_do_not_keep_a_read_one_waiting(worklist: Worklist) -> None:
    receive(worklist, 1)
    move(worklist, 1, at(1), Planned())
    receive(worklist, 2, at(2))
    assert worklist.cases.claim(ALL, "w", 1, at(5)).id == 2  # type: ignore[union-attr]
    assert order(worklist, at(12)) == [1, 2]


def test_a_negatives_report_waits_for_unread_studies_but_not_for_ever(
    worklist: Worklist,
) -> None:
    receive(worklist, 1)
    take(worklist, at(5), Planned(), NEGATIVE)
    receive(worklist, 2, at(10))
    move(worklist, 2, at(15), Planned())
    first = worklist.cases.claim(ALL, "w", 60, at(20))
    assert first is not None and first.id == 2
    assert order(worklist, at(400)) == [1, 2]


def test_when_a_reading_began_stands_in_the_events(worklist: Worklist) -> None:
    receive(worklist, 1)
    take(worklist, at(5), Planned())
    take(worklist, at(9), BLEED)
    told = [(e.what, e.at, e.case_id) for e in worklist.views.events("1.7.1")]
    assert ("reading begun", at(9), 1) in told
