"""What is wrong with a canary's answer, in every way that an answer can be wrong."""

from dataclasses import replace
from datetime import timedelta

import pytest

from node.canary.judging import Judged, changed, judge
from node.settings import Canary as Limits
from node.states import Priority, State
from node.worklist import Canary, DeliveryLine, DeliveryStatus, Finding, Row
from tests.support.rows import NOW, row

LIMITS = Limits(every_min=10, limit_s=60)
SENT = Canary("1.7.1", NOW, "f" * 64, None, None, None, None)
BEFORE = Finding(Priority.SUSPECTED, 0.95, 20.0, "bundle@1")
EARLY, LATE = NOW + timedelta(seconds=30), NOW + timedelta(seconds=61)


def answer(priority: Priority = Priority.SUSPECTED, **values: object) -> Row:
    made = row(1, priority, State.DELIVERED, probability=0.95, waited=timedelta())
    held = {"volume_ml": 20.0, "bundle": "bundle@1", "flagged_at": NOW + timedelta(seconds=5)}
    return replace(made, **{**held, **values})  # type: ignore[arg-type]


def test_an_answer_as_before_is_sound() -> None:
    assert judge(SENT, answer(), BEFORE, LIMITS, EARLY) == Judged(found=BEFORE)


def test_the_first_answer_is_compared_with_nothing() -> None:
    assert judge(SENT, answer(), None, LIMITS, EARLY).trouble is None


@pytest.mark.parametrize("row_now", [None, answer(Priority.PENDING, state=State.ASSEMBLED)])
def test_silence_is_waited_for_and_then_told_with_its_place(row_now: Row | None) -> None:
    assert judge(SENT, row_now, BEFORE, LIMITS, EARLY).waits
    said = judge(SENT, row_now, BEFORE, LIMITS, LATE).trouble
    assert said is not None and "within 60 s" in said
    assert ("nothing of it came" if row_now is None else "ASSEMBLED") in said


def test_a_result_that_is_not_delivered_is_waited_for_and_then_told_with_its_last_words() -> None:
    line = DeliveryLine("TEST", "sr", "", DeliveryStatus.OWED, 3, None, None, "no connection")
    owed = answer(state=State.REPORTED, deliveries=(line,))
    assert judge(SENT, owed, BEFORE, LIMITS, EARLY).waits
    judged = judge(SENT, owed, BEFORE, LIMITS, LATE)
    assert judged.trouble == "the phantom's result did not reach TEST (no connection)"
    assert judged.found == BEFORE


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"priority": Priority.NOT_SUSPECTED}, "NOT_SUSPECTED, was SUSPECTED"),
        ({"probability": 0.89}, "probability 0.890, was 0.950"),
        ({"volume_ml": 17.9}, "volume 17.9 mL, was 20.0 mL"),
        ({"volume_ml": 22.1}, "volume 22.1 mL, was 20.0 mL"),
        ({"volume_ml": None}, "volume 0.0 mL, was 20.0 mL"),
    ],
)
def test_a_changed_finding_is_told_at_once(values: dict[str, object], said: str) -> None:
    trouble = judge(SENT, answer(**values), BEFORE, LIMITS, EARLY).trouble  # type: ignore[arg-type]
    assert trouble is not None and said in trouble


def test_a_finding_within_the_tolerance_is_the_same() -> None:
    near = Finding(Priority.SUSPECTED, 0.91, 21.9, "bundle@1")
    assert changed(near, BEFORE, LIMITS) == ""


@pytest.mark.parametrize("state", [State.FAILED, State.SKIPPED])
def test_a_phantom_that_was_not_read_is_told_with_its_reason(state: State) -> None:
    ended = answer(Priority.NOT_ANALYSED, state=state, probability=None, reason="disk")
    trouble = judge(SENT, ended, BEFORE, LIMITS, EARLY).trouble
    assert trouble == f"the phantom is {state}: disk"


def test_a_phantom_that_was_not_analysed_is_no_sound_one() -> None:
    unread = answer(Priority.NOT_ANALYSED, reason="noise")
    assert judge(SENT, unread, BEFORE, LIMITS, EARLY).trouble is not None


def test_a_flag_that_took_too_long_is_told() -> None:
    slow = answer(flagged_at=NOW + timedelta(seconds=100))
    trouble = judge(SENT, slow, BEFORE, LIMITS, EARLY).trouble
    assert trouble is not None and "the flag took" in trouble
