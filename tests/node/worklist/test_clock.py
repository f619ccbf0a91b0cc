"""The clock of the machine is set back, or forward: nothing is held for it, and nothing is lost."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from node.settings import Settings
from node.states import Priority, State
from node.worklist import Worklist
from tests.support.listed import ASSEMBLED, NOW, SR, SUSPECTED, report, study
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work, working_node

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(tmp_path: Path, clock: Clock):
    with working_node(Settings(data_dir=tmp_path / "data"), clock, Predictor()) as found:
        yield found


def beat(worklist: Worklist, now: datetime) -> timedelta:
    """What a running process does each ten seconds."""
    return worklist.processes.reckon(now)


def test_a_study_received_before_the_clock_is_set_back_is_read_at_once(
    node: WatchedNode, clock: Clock
) -> None:
    beat(node.worklist, clock.now)
    receive(node, released=False)
    clock.now -= HOUR
    assert beat(node.worklist, clock.now) == HOUR
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state) == (Priority.SUSPECTED, State.DELIVERED)


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_lease_runs_as_long_as_it_would_have_and_its_case_goes_on(
    node: WatchedNode, clock: Clock, step: timedelta
) -> None:
    receive(node)
    clock.wait(10)
    beat(node.worklist, clock.now)
    held = node.worklist.cases.claim([State.RECEIVING], "holder", 60, clock.now)
    assert held is not None
    clock.now += step
    beat(node.worklist, clock.now)
    clock.wait(61)
    again = node.worklist.cases.claim([State.RECEIVING], "another", 60, clock.now)
    assert again is not None and again.id == held.id
    work(node, clock)


def test_what_is_owed_leaves_though_the_clock_was_set_back(worklist: Worklist) -> None:
    beat(worklist, NOW)
    study(worklist, 1, ASSEMBLED, SUSPECTED, report(SR))
    (owed,) = worklist.outbox.claim("w", 60, NOW)
    worklist.outbox.failed(owed, "w", 0xA700, "busy", NOW + timedelta(seconds=10), NOW)
    assert worklist.outbox.claim("w", 60, NOW - HOUR + timedelta(seconds=10)) == []
    beat(worklist, NOW - HOUR)
    assert worklist.outbox.claim("w", 60, NOW - HOUR + timedelta(seconds=9)) == []
    assert worklist.outbox.claim("w", 60, NOW - HOUR + timedelta(seconds=10))


def test_a_step_is_reckoned_once_whoever_tells_it_first(worklist: Worklist) -> None:
    assert [
        beat(worklist, now) for now in (NOW, NOW - HOUR, NOW - HOUR, NOW - HOUR, NOW, NOW - HOUR)
    ] == [timedelta(0), HOUR, timedelta(0), timedelta(0), timedelta(0), HOUR]


def test_a_clock_that_is_put_right_by_seconds_changes_nothing(worklist: Worklist) -> None:
    beat(worklist, NOW)
    assert beat(worklist, NOW - timedelta(seconds=20)) == timedelta(0)


def test_times_that_belong_together_stay_so(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    work(node, clock)
    beat(node.worklist, clock.now)
    (before,) = node.worklist.views.worklist(clock.now)
    clock.now -= HOUR
    beat(node.worklist, clock.now)
    (after,) = node.worklist.views.worklist(clock.now)
    assert after.door_to_flag_s == before.door_to_flag_s
    assert after.first_received_at == before.first_received_at - HOUR


def test_slices_that_come_after_the_step_are_late_slices_as_ever(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, only=slice(0, 27))
    work(node, clock)
    beat(node.worklist, clock.now)
    clock.now -= HOUR
    beat(node.worklist, clock.now)
    receive(node, only=slice(27, None))
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    case = node.worklist.cases.get(row.case_id)
    assert (case.supersedes, case.state) == (1, State.DELIVERED)
