"""A study of several scans: each is read, none is cleared by another, all stand in the report."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread

from node.states import Priority, State
from tests.support.builder import HEAD, Edit, Scan, encoded, pixels
from tests.support.watched import WatchedNode
from tests.support.working import Clock, receive_files, work

MORNING = {"AcquisitionDate": "20260115", "AcquisitionTime": "083000"}
AFTERNOON = {"AcquisitionDate": "20260115", "AcquisitionTime": "143000"}
NORMAL = HEAD(name="morning").having(**MORNING)
BLEEDS = HEAD(name="afternoon").having(**AFTERNOON)
CLOT = 72 + 1024
"""The stored value of the builder's clot, which the fake detector takes for blood."""

without_clot = pixels(lambda stored: np.where(stored == CLOT, 1024 + 35, stored))


def files(scan: Scan, edit: Edit = lambda images: images) -> list[bytes]:
    return [encoded(ds) for ds in edit(scan.build())]


def texts(node: WatchedNode, case_id: int) -> list[str]:
    report = dcmread(node.folder(node.worklist.cases.get(case_id)).report / "sr.dcm")
    return [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]


Push = Callable[[WatchedNode, Clock], None]
EARLY, LATE = files(NORMAL, without_clot), files(BLEEDS)


def together(node: WatchedNode, clock: Clock) -> None:
    receive_files([*EARLY, *LATE], node)
    work(node, clock)


def in_order(node: WatchedNode, clock: Clock) -> None:
    for scan in (EARLY, LATE):
        receive_files(scan, node)
        work(node, clock)


def the_later_first(node: WatchedNode, clock: Clock) -> None:
    for scan in (LATE, EARLY):
        receive_files(scan, node)
        work(node, clock)


@pytest.mark.parametrize("push", [together, in_order, the_later_first])
def test_a_bleed_in_either_scan_of_a_study_is_told_and_both_stand_in_the_report(
    node: WatchedNode, clock: Clock, push: Push
) -> None:
    push(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED
    assert [(line.acquired, line.priority) for line in row.scans] == [
        ("2026-01-15 14:30", Priority.SUSPECTED),
        ("2026-01-15 08:30", Priority.NOT_SUSPECTED),
    ]
    assert [scan["priority"] for scan in row.to_json()["scans"]] == ["SUSPECTED", "NOT_SUSPECTED"]
    last = max(line.case_id for line in row.scans)
    said = [text for text in texts(node, last) if text.startswith("Scan ")]
    assert [text.split(",")[0] for text in said] == ["Scan 1 of 2", "Scan 2 of 2"]
    assert "14:30" in said[0] and "SUSPECTED" in said[0] and "08:30" in said[1]


def test_reconstructions_of_one_scan_are_read_once(node: WatchedNode, clock: Clock) -> None:
    thin = HEAD(name="thin", gaps_mm=(2.0,) * 74, thickness_mm=2.0).having(
        AcquisitionDate="20260115", AcquisitionTime="083021"
    )
    receive_files([*EARLY, *files(thin, without_clot)], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert len(row.scans) == 1
    states = sorted(case.state for case in node.worklist.cases.of_study(row.study_instance_uid))
    assert states == [State.DELIVERED, State.SKIPPED]


def test_a_scan_that_cannot_be_read_is_not_cleared_by_another(
    node: WatchedNode, clock: Clock
) -> None:
    unread = HEAD(name="afternoon").having(**AFTERNOON, RescaleType="US")
    receive_files([*EARLY, *files(unread)], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.NOT_ANALYSED
    assert [line.priority for line in row.scans] == [
        Priority.NOT_ANALYSED,
        Priority.NOT_SUSPECTED,
    ]


def test_two_blocks_of_a_head_are_two_scans(node: WatchedNode, clock: Clock) -> None:
    base = HEAD(name="base", gaps_mm=(5.0,) * 20, start_mm=-172.0)
    receive_files([*files(base), *files(HEAD(name="cerebrum"))], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert len(row.scans) == 2


def blocks(*ends: tuple[int, int], same_frame: bool = True) -> list[bytes]:
    """A normal head as series of neighbouring slices, lowest first."""
    images = without_clot(HEAD.build())
    for number, (first, last) in enumerate(ends):
        for ds in images[first:last]:
            ds.SeriesInstanceUID = f"{images[0].StudyInstanceUID[:50]}.{number}"
            if not same_frame:
                ds.FrameOfReferenceUID = f"1.2.3.{number}"
    return [encoded(ds) for first, last in ends for ds in images[first:last]]


@pytest.mark.parametrize(
    ("files", "priority"),
    [
        (blocks((0, 12), (12, 30)), Priority.NOT_SUSPECTED),
        (blocks((0, 14), (10, 30)), Priority.NOT_SUSPECTED),
        (blocks((0, 8), (8, 18), (18, 30)), Priority.NOT_SUSPECTED),
        (blocks((0, 12), (14, 30)), Priority.NOT_ANALYSED),
        (blocks((0, 12), (12, 30), same_frame=False), Priority.NOT_ANALYSED),
        (blocks((8, 30)), Priority.NOT_ANALYSED),
        (blocks((0, 20)), Priority.NOT_ANALYSED),
    ],
)
def test_blocks_that_show_a_head_together_are_cleared_together(
    node: WatchedNode, clock: Clock, files: list[bytes], priority: Priority
) -> None:
    receive_files(files, node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is priority, row.reason
