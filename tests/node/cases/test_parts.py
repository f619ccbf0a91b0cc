"""Scans and reconstructions inside one series: told apart, and each scan read."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.cases.parts import parts
from node.cases.pipeline import STAGES
from node.records import Series
from node.settings import Assemble
from node.states import Priority, Reason, State
from tests.support.builder import HEAD, Edit, Scan, again, encoded, plus, series
from tests.support.watched import WatchedNode
from tests.support.working import Clock, receive_files, work

MORNING = {"AcquisitionDate": "20260115", "AcquisitionTime": "083000"}
AFTERNOON = {"AcquisitionDate": "20260115", "AcquisitionTime": "143000"}
SECOND = HEAD(acquisition=2)
CLOT, BRAIN = 1024 + 72, 1024 + 35
"""Stored values: the builder's clot, which the fake detector takes for blood, and brain."""


def split(scan: Scan, *edits: Edit) -> list[Series]:
    return list(parts(series(scan, *edits), Assemble()))


def lowest(scan: Scan) -> Edit:
    return lambda images: plus(scan)(images)[: len(images) + 8]


def pages(images: list[Dataset]) -> list[Dataset]:
    return plus(HEAD(rows=40))(images)[:32]


@pytest.mark.parametrize(
    ("name", "edits", "sizes"),
    [
        ("one scan", (), [30]),
        ("copies", (again(4), again(5), again(6), again(7)), [34]),
        ("another acquisition", (plus(SECOND),), [30, 30]),
        ("another run of numbers", (plus(HEAD),), [30, 30]),
        ("the afternoon", (plus(HEAD.having(**AFTERNOON)),), [30, 30]),
        ("another kernel", (plus(HEAD(kernel="H60s")),), [30, 30]),
        ("the lowest again", (lowest(SECOND),), [30, 30]),
        ("the lowest again by number", (lowest(HEAD),), [30, 30]),
        ("another matrix", (plus(HEAD(rows=40)),), [30, 30]),
        ("half a slice higher, in the afternoon", (
            plus(HEAD(start_mm=-69.5).having(**AFTERNOON)),
        ), [30, 30]),
        ("thin slices of another kernel", (
            plus(HEAD(gaps_mm=(1.25,) * 116, thickness_mm=1.25, kernel="H60s")),
        ), [30, 117]),
        ("a block that adjoins", (plus(SECOND(start_mm=78.0)),), [60]),
        ("five phases", tuple(plus(SECOND(acquisition=n)) for n in range(2, 6)), [30]),
        ("two pages of another matrix", (pages,), [32]),
    ],
)  # fmt: skip
def test_only_what_shows_a_place_again_is_taken_apart(
    name: str, edits: tuple[Edit, ...], sizes: list[int]
) -> None:
    del name
    found = split(HEAD.having(**MORNING), *edits)
    assert sorted(len(part.instances) for part in found) == sorted(sizes)
    assert [part.part.number for part in found] == list(range(len(sizes)))


def test_a_short_part_borrows_the_places_that_it_lacks() -> None:
    whole, repeat = split(HEAD, lowest(SECOND))
    assert not whole.part.borrowed
    again, lent = repeat.instances[:8], repeat.instances[8:]
    assert {i.header.acquisition_number for i in again} == {2}
    assert {i.header.sop_instance_uid for i in lent} == repeat.part.borrowed
    places = sorted(i.header.frames[0].location_mm or 0 for i in repeat.instances)
    assert np.diff(places) == pytest.approx([5.0] * 29)


def test_a_few_images_of_another_kernel_at_known_places_are_left_out() -> None:
    (one,) = split(HEAD, again(3, ConvolutionKernel="H60s"), again(9, ConvolutionKernel="H60s"))
    assert (len(one.instances), one.part.left_out) == (30, 2)


# --- the whole node ------------------------------------------------------------------------------


def bleeding(ds: Dataset) -> Dataset:
    """An image with a small clot at the left, so that every slice of a head can bleed."""
    stored = np.frombuffer(ds.PixelData, np.int16).reshape(ds.Rows, ds.Columns).copy()
    inside = (stored > 1024) & (stored < 1100)
    rows, columns = np.nonzero(inside)
    stored[rows[: len(rows) // 3], columns[: len(rows) // 3]] = CLOT
    ds.PixelData = stored.tobytes()
    return ds


def calm(ds: Dataset) -> Dataset:
    """An image whose clot is brain."""
    stored = np.frombuffer(ds.PixelData, np.int16)
    ds.PixelData = np.where((stored >= CLOT - 2) & (stored <= CLOT + 3), BRAIN, stored).tobytes()
    return ds


def two_scans(
    early: Callable[[Dataset], Dataset], late: Callable[[Dataset], Dataset]
) -> list[bytes]:
    images = [early(ds) for ds in HEAD.having(**MORNING).build()]
    later = HEAD(first_number=31).having(**AFTERNOON).build()
    for ds in later:
        ds.SeriesInstanceUID = images[0].SeriesInstanceUID
    return [encoded(ds) for ds in (*images, *map(late, later))]


HOURS = ("2026-01-15 08:30", "2026-01-15 14:30")


@pytest.mark.parametrize(("early", "late"), [(calm, bleeding), (bleeding, calm)])
def test_two_scans_in_one_series_are_both_read_and_the_worst_speaks(
    node: WatchedNode,
    clock: Clock,
    early: Callable[[Dataset], Dataset],
    late: Callable[[Dataset], Dataset],
) -> None:
    receive_files(two_scans(early, late), node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED
    wanted = HOURS if early is bleeding else HOURS[::-1]
    assert [(line.acquired, line.priority) for line in row.scans] == [
        (wanted[0], Priority.SUSPECTED),
        (wanted[1], Priority.NOT_SUSPECTED),
    ]
    assert any("the series holds 2 scans" in said for said in row.limitations)


def test_a_bleed_in_the_repeat_of_the_lowest_slices_is_seen(
    node: WatchedNode, clock: Clock
) -> None:
    images = [calm(ds) for ds in HEAD.build()]
    repeat = HEAD(first_number=31, acquisition=2).build()[4:12]
    for ds in repeat:
        ds.SeriesInstanceUID = images[0].SeriesInstanceUID
    receive_files([encoded(ds) for ds in (*images, *map(bleeding, repeat))], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED
    assert [line.priority for line in row.scans] == [Priority.SUSPECTED, Priority.NOT_SUSPECTED]


def test_a_normal_head_with_its_lowest_slices_repeated_is_cleared(
    node: WatchedNode, clock: Clock
) -> None:
    images = [calm(ds) for ds in HEAD.build()]
    repeat = [calm(ds) for ds in HEAD(first_number=31, acquisition=2).build()[:8]]
    for ds in repeat:
        ds.SeriesInstanceUID = images[0].SeriesInstanceUID
    receive_files([encoded(ds) for ds in (*images, *repeat)], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.NOT_SUSPECTED
    assert len(row.scans) == 2


def test_a_late_scan_in_a_known_series_is_read_by_itself(node: WatchedNode, clock: Clock) -> None:
    files = two_scans(calm, bleeding)
    receive_files(files[:30], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.NOT_SUSPECTED
    receive_files(files[30:], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED
    assert [line.acquired for line in row.scans] == list(HOURS[::-1])
    history = node.worklist.views.history(row.study_instance_uid)
    assert [(case.part, case.supersedes) for case in history] == [(0, None), (0, 1), (1, None)]


def test_a_late_image_supersedes_every_part_once(node: WatchedNode, clock: Clock) -> None:
    files = two_scans(calm, calm)
    receive_files(files[:-1], node)
    work(node, clock)
    receive_files(files[-1:], node)
    work(node, clock)
    history = node.worklist.views.history(HEAD.build()[0].StudyInstanceUID)
    assert [(case.part, case.supersedes) for case in history] == [
        *((0, None), (1, None), (0, 1), (1, 2)),
    ]
    assert {case.state for case in history} <= {State.DELIVERED}
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.NOT_SUSPECTED


def test_a_kernel_inside_the_series_is_passed_over(node: WatchedNode, clock: Clock) -> None:
    images = HEAD(kernel="H60s").build()
    soft = HEAD(first_number=31).build()
    for ds in soft:
        ds.SeriesInstanceUID = images[0].SeriesInstanceUID
    receive_files([encoded(ds) for ds in (*images, *soft)], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED and len(row.scans) == 1
    history = node.worklist.views.history(row.study_instance_uid)
    reasons = {case.state: case.reason_code for case in history}
    assert reasons == {State.SKIPPED: Reason.OTHER_SERIES_READ, State.DELIVERED: None}


@pytest.mark.parametrize("stage", STAGES)
def test_a_replay_of_either_part_comes_to_the_same_result(
    node: WatchedNode, clock: Clock, stage: str
) -> None:
    receive_files(two_scans(calm, bleeding), node)
    work(node, clock)
    (before,) = node.worklist.views.worklist(clock.now)
    history = node.worklist.views.history(before.study_instance_uid)
    for case in history:
        node.worklist.cases.replay(case.case_id, STAGES[stage], clock.now)
        work(node, clock)
    (after,) = node.worklist.views.worklist(clock.now)
    assert after.scans == before.scans
    assert len(node.worklist.views.history(before.study_instance_uid)) == len(history) == 2
    events = node.worklist.views.events(before.study_instance_uid)
    said = [str(e.detail["compared"]) for e in events if e.detail.get("compared")]
    assert len(said) == 2 and all(text.startswith("same result") for text in said)


def test_a_prior_study_of_two_scans_is_a_prior_and_its_bleed_is_told(
    node: WatchedNode, clock: Clock
) -> None:
    clock.wait(30 * 86400)
    receive_files(two_scans(calm, bleeding), node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.prior and row.priority is Priority.SUSPECTED and len(row.scans) == 2
