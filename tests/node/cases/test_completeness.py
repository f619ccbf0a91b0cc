"""When a series counts as complete, by evidence and by the rhythm of its sender."""

import pytest

from node.cases.worker import work_once
from node.states import State
from node.worklist import Row
from tests.support.builder import HEAD, encoded
from tests.support.watched import WatchedNode
from tests.support.working import Clock, receive_files, work

FILES = [encoded(ds) for ds in HEAD.build()]
ANNOUNCED = [encoded(ds) for ds in HEAD.having(ImagesInAcquisition=30).build()]


def results(node: WatchedNode) -> list[Row]:
    """Every case of the one study that made a report."""
    (row,) = node.worklist.views.worklist(node.clock())
    history = node.worklist.views.history(row.study_instance_uid)
    return [case for case in history if case.reported_at]


def one_by_one(
    node: WatchedNode, clock: Clock, files: list[bytes], pauses: dict[int, float]
) -> None:
    """Send each image over an association of its own, with a pause before some of them."""
    for number, file in enumerate(files):
        for _ in range(max(1, round(pauses.get(number, 0.3) * 2))):
            clock.wait(0.5)
            while work_once(node, "worker"):
                pass
        receive_files([file], node)


SIX = 6.0
PAUSES = {
    "before every second image": dict.fromkeys(range(1, 17, 2), SIX),
    "late, once the head is covered": dict.fromkeys(range(22, 30), SIX),
    "before each image": dict.fromkeys(range(30), SIX),
    "ever longer": {n: 0.5 * n for n in range(30)},
}


@pytest.mark.parametrize("pauses", PAUSES.values(), ids=PAUSES)
def test_an_association_for_each_image_makes_one_result_and_at_most_one_more(
    node: WatchedNode, clock: Clock, pauses: dict[int, float]
) -> None:
    one_by_one(node, clock, FILES, pauses)
    work(node, clock)
    found = results(node)
    assert 1 <= len(found) <= 2
    plan = node.folder(node.worklist.cases.get(found[-1].case_id)).require_plan()
    assert len(plan.slices) == 30


def test_a_scan_over_one_association_is_not_kept_waiting_by_its_own_pauses(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(FILES[:15], node, released=False)
    clock.wait(20)
    receive_files(FILES[15:], node)
    clock.wait(3)
    assert work_once(node, "worker")
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.state is State.ASSEMBLED


def test_all_announced_images_close_a_series_that_was_reported(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(ANNOUNCED[:25], node)
    work(node, clock)
    assert [row.reason_code for row in results(node)] == [None]
    receive_files(ANNOUNCED[25:], node)
    clock.wait(3)
    assert work_once(node, "worker")
    (row,) = node.worklist.views.worklist(clock.now)
    newest = node.worklist.views.history(row.study_instance_uid)[-1]
    assert (newest.state, newest.closed_by) == (
        State.ASSEMBLED,
        "complete: all 30 images of ImagesInAcquisition came",
    )


def test_a_better_series_whose_rhythm_is_waited_for_is_read_alone(
    node: WatchedNode, clock: Clock
) -> None:
    """The thin series is complete first; the better one came by slower associations."""
    thin = HEAD(name="thin", gaps_mm=(2.0,) * 72, thickness_mm=2.0)
    for part in (FILES[:10], FILES[10:20], FILES[20:]):
        receive_files(part, node)
        clock.wait(2.5)
    receive_files([encoded(ds) for ds in thin.build()], node)
    work(node, clock)
    (found,) = results(node)
    plan = node.folder(node.worklist.cases.get(found.case_id)).require_plan()
    assert len(plan.slices) == 30
