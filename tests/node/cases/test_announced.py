"""What is announced from outside the images decides when a series is complete, and what is said."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread

from node.announced import IAN, MPPS, Announcement, PerformedStep, StepStatus
from node.arrive.storage_scp import Receiver
from node.cases.completeness import announced, closing
from node.cases.eligibility import judge
from node.outcomes import Planned
from node.records import Series
from node.settings import Assemble, Receive, Settings
from node.states import Priority, Reason, State
from node.worklist import LeaseLost, Row, Worklist
from tests.support.announcing import Teller, begun, performed, references
from tests.support.builder import HEAD, T0, encoded, series, uid
from tests.support.databases import new_database
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, work

FILES = [encoded(ds) for ds in HEAD.build()]
UIDS = [ds.SOPInstanceUID for ds in HEAD.build()]
STUDY, SERIES = uid("study"), uid("study", "head")
ALL = {SERIES: frozenset(UIDS)}
MORE = {SERIES: frozenset((*UIDS, "1.9.31", "1.9.32"))}
BEGUN = PerformedStep(StepStatus.IN_PROGRESS, "CT", frozenset({STUDY}), {})


@pytest.fixture
def node(tmp_path: Path, clock: Clock, predictor: Predictor) -> Iterator[WatchedNode]:
    receive = Receive(host="127.0.0.1", port=0, min_free_mb=0)
    settings = Settings(data_dir=tmp_path / "data", receive=receive)
    settings.data_dir.mkdir()
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        yield WatchedNode.on(worklist, settings, lambda: predictor, clock)


def row(node: WatchedNode, clock: Clock) -> Row:
    (one,) = node.worklist.views.worklist(clock.now)
    return one


def step(node: WatchedNode, clock: Clock) -> None:
    """Let ten seconds pass, and the worker work."""
    for _ in range(10):
        clock.wait(1)
        work_now(node)


def work_now(node: WatchedNode) -> None:
    from node.cases.worker import work_once

    while work_once(node, "worker"):
        pass


TOLD = {
    MPPS: lambda node, clock: end_step(node, clock, ALL),
    IAN: lambda node, clock: node.worklist.announcements.listed(STUDY, ALL, IAN, clock.now),
}


def end_step(node: WatchedNode, clock: Clock, images: dict[str, frozenset[str]]) -> None:
    node.worklist.announcements.create_step("1.2.3", BEGUN, clock.now)
    node.worklist.announcements.set_step("1.2.3", StepStatus.COMPLETED, images, clock.now)


@pytest.mark.parametrize("by", TOLD)
@pytest.mark.parametrize("first", [True, False])
def test_all_announced_images_close_an_open_association_early(
    node: WatchedNode, clock: Clock, by: str, first: bool
) -> None:
    if first:
        TOLD[by](node, clock)
    receive_files(FILES, node, released=False)
    step(node, clock)
    if not first:
        assert row(node, clock).state is State.RECEIVING
        TOLD[by](node, clock)
        work_now(node)
    found = row(node, clock)
    assert found.priority is Priority.SUSPECTED and found.closed_at is not None
    assert found.closed_by == f"complete: all 30 images announced by {by} came"
    grace = 2 if first else 10
    assert found.closed_at - found.received_at == timedelta(seconds=grace)


@pytest.mark.parametrize("first", [True, False])
def test_fewer_than_announced_keep_a_released_series_open_and_are_said(
    node: WatchedNode, clock: Clock, predictor: Predictor, first: bool
) -> None:
    predictor.state_findings = negative(predictor)  # type: ignore[method-assign]
    if first:
        end_step(node, clock, MORE)
    receive_files(FILES, node)
    if not first:
        clock.wait(1)
        end_step(node, clock, MORE)
    step(node, clock)
    assert row(node, clock).state is State.RECEIVING
    work(node, clock)
    found = row(node, clock)
    assert (found.priority, found.reason_code) == (Priority.NOT_ANALYSED, Reason.INCOMPLETE)
    assert found.reason == (
        "read in part: nothing suspicious in what was seen; "
        "30 of 32 announced images came (MPPS); send the series again, complete"
    )
    assert found.closed_by == "closed after 60 s without another image"
    report = dcmread(node.folder(node.worklist.cases.get(found.case_id)).report / "sr.dcm")
    assert found.reason in [str(e.value) for e in report.iterall() if e.keyword == "TextValue"]


def negative(predictor: Predictor):  # type: ignore[no-untyped-def]
    """Return a reading in which nothing is suspicious."""
    read = type(predictor).state_findings

    def state(volume, *rest):  # type: ignore[no-untyped-def]
        return replace(read(predictor, volume, *rest), suspected=False, probability=0.1)

    return state


def test_a_bleed_in_fewer_images_than_announced_is_flagged_with_who_announced_them(
    node: WatchedNode, clock: Clock
) -> None:
    node.worklist.announcements.listed(STUDY, MORE, IAN, clock.now)
    receive_files(FILES, node)
    work(node, clock)
    found = row(node, clock)
    assert found.priority is Priority.SUSPECTED
    assert any("30 of 32 announced images came (IAN)" in text for text in found.limitations)


def test_a_step_in_progress_keeps_a_released_series_open_until_the_idle_timer(
    node: WatchedNode, clock: Clock
) -> None:
    node.worklist.announcements.create_step("1.2.3", BEGUN, clock.now)
    receive_files(FILES, node)
    step(node, clock)
    assert row(node, clock).state is State.RECEIVING
    work(node, clock)
    found = row(node, clock)
    assert found.closed_by == "closed after 60 s without another image"
    assert not any("came" in text for text in found.limitations)


def test_a_step_that_ends_without_a_list_lets_the_release_close(
    node: WatchedNode, clock: Clock
) -> None:
    node.worklist.announcements.create_step("1.2.3", BEGUN, clock.now)
    receive_files(FILES, node)
    step(node, clock)
    node.worklist.announcements.set_step("1.2.3", StepStatus.DISCONTINUED, None, clock.now)
    work_now(node)
    assert "released" in str(row(node, clock).closed_by)


def test_an_announcement_after_the_result_changes_nothing_and_a_late_image_supersedes_it(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(FILES[:29], node)
    work(node, clock)
    before = row(node, clock)
    assert before.priority is Priority.SUSPECTED
    end_step(node, clock, ALL)
    step(node, clock)
    assert row(node, clock) == before
    receive_files(FILES[29:], node, released=False)
    step(node, clock)
    after = row(node, clock)
    assert after.supersedes == before.case_id
    assert after.closed_by == "complete: all 30 images announced by MPPS came"


def test_a_plan_made_before_an_announcement_is_void(node: WatchedNode, clock: Clock) -> None:
    receive_files(FILES, node)
    clock.wait(5)
    case = node.worklist.cases.claim([State.RECEIVING], "w1", 60, clock.now)
    assert case is not None
    end_step(node, clock, MORE)
    with pytest.raises(LeaseLost):
        node.worklist.cases.finish(case, "w1", Planned((), False), clock.now)


def test_an_announcement_of_another_study_has_no_effect(node: WatchedNode, clock: Clock) -> None:
    node.worklist.announcements.listed("1.7.99", MORE, IAN, clock.now)
    receive_files(FILES, node)
    assert node.worklist.announcements.listed("1.7.99", MORE, IAN, clock.now) == (SERIES,)
    step(node, clock)
    found = row(node, clock)
    assert "released" in str(found.closed_by) and found.state is not State.RECEIVING


def test_a_scanner_tells_by_mpps_and_the_result_says_what_is_missing(
    node: WatchedNode, clock: Clock
) -> None:
    """From the network to the result."""
    worklist = node.worklist
    with (
        Receiver(node.settings, worklist.arrivals, worklist.announcements, clock) as receiver,
        Teller(receiver.port) as ct,
    ):
        assert ct.create(begun(STUDY)).Status == 0
        receive_files(FILES[:28], node)
        listed = references([*UIDS, "1.9.31", "1.9.32"])
        assert ct.set(performed({SERIES: listed})).Status == 0
    work(node, clock)
    found = row(node, clock)
    assert any("28 of 32 announced images came (MPPS)" in text for text in found.limitations)


# Without a database


def told(received: Series, *announcements: Announcement, in_progress: bool = False) -> Series:
    return replace(received, announcements=announcements, in_progress=in_progress)


def test_the_highest_number_counts() -> None:
    received = series(HEAD.having(ImagesInAcquisition=31))
    assert (announced(received).images, announced(received).told_by) == (31, "ImagesInAcquisition")
    more = told(received, Announcement(32, MPPS, T0), Announcement(33, "C-FIND of pacs", T0))
    assert (announced(more).images, announced(more).told_by) == (33, "C-FIND of pacs")
    assert announced(told(received, Announcement(3, IAN, T0))).images == 31


RECEIVED = replace(series(HEAD), released_at=None)
RELEASED = series(HEAD)
LATER = T0 + timedelta(seconds=7)
CLOSINGS = {
    "a list": (told(RECEIVED, Announcement(30, MPPS, T0)), 2),
    "a list that comes later": (told(RECEIVED, Announcement(30, IAN, LATER)), 7),
    "a list of fewer images": (told(RECEIVED, Announcement(29, IAN, T0)), 60),
    "a list of more images": (told(RECEIVED, Announcement(31, MPPS, T0)), 60),
    "a list, and more by another": (
        told(RELEASED, Announcement(30, MPPS, T0), Announcement(31, "C-FIND of pacs", T0)),
        60,
    ),
    "an archive that has as many": (told(RECEIVED, Announcement(30, "C-FIND of pacs", T0)), 60),
    "a release, and an archive that has as many": (
        told(RELEASED, Announcement(30, "C-FIND of pacs", T0)),
        2,
    ),
    "a release while a step goes on": (told(RELEASED, in_progress=True), 60),
    "a notification while a step goes on": (
        told(RELEASED, Announcement(30, IAN, T0), in_progress=True),
        60,
    ),
    "the list of one step while another goes on": (
        told(RECEIVED, Announcement(30, MPPS, T0), in_progress=True),
        2,
    ),
}


@pytest.mark.parametrize(("received", "after_s"), CLOSINGS.values(), ids=CLOSINGS)
def test_a_series_closes_on_evidence_alone(received: Series, after_s: float) -> None:
    settings = Assemble()
    ends = closing(judge(received, settings), settings)
    assert (ends.at - T0).total_seconds() == after_s
