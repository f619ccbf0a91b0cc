"""What was not seen is not cleared; what was seen may be flagged."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import dcmread

from node.cases.clearance import FORBIDS_CLEARING
from node.states import Priority, Reason
from node.worklist import Row
from tests.support import ROOT
from tests.support.builder import HEAD, Scan, alone, encoded, pixels, received
from tests.support.watched import WatchedNode
from tests.support.working import Clock, receive_files, work

CLOT = 72 + 1024
"""The stored value of the builder's clot, which the fake detector takes for blood."""

without_clot = pixels(lambda stored: np.where(stored == CLOT, 1024 + 35, stored))
NORMAL = [encoded(ds) for ds in without_clot(HEAD.build())]
BLEEDS = [encoded(ds) for ds in HEAD.build()]


def result(node: WatchedNode, clock: Clock, files: Sequence[bytes]) -> Row:
    receive_files(list(files), node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    return row


def but(files: Sequence[bytes], *left_out: int) -> list[bytes]:
    return [file for index, file in enumerate(files) if index not in left_out]


def normal(scan: Scan) -> list[bytes]:
    return [encoded(ds) for ds in without_clot(scan.build())]


GAPPED = HEAD(gaps_mm=(2.0,) * 30 + (8.0,) + (2.0,) * 40, thickness_mm=2.0)
NEVER_CLEARED = {
    "a slice of 5 mm missing": (but(NORMAL, 14), Reason.MISSING_SLICE),
    "three slices missing": (but(NORMAL, 13, 14, 15), Reason.MISSING_SLICE),
    "a gap of 8 mm in slices of 2 mm": (normal(GAPPED), Reason.MISSING_SLICE),
    "60 mm of the head": (NORMAL[8:20], Reason.COVERAGE),
    "28 of 32 announced": (
        normal(HEAD.having(ImagesInAcquisition=32))[:28],
        Reason.INCOMPLETE,
    ),
    "20 of 30 of the series": (
        normal(HEAD.having(NumberOfSeriesRelatedInstances=30))[:20],
        Reason.INCOMPLETE,
    ),
}


@pytest.mark.parametrize(("files", "code"), NEVER_CLEARED.values(), ids=NEVER_CLEARED)
def test_a_head_that_was_not_seen_whole_is_not_cleared(
    node: WatchedNode, clock: Clock, files: Sequence[bytes], code: Reason
) -> None:
    row = result(node, clock, files)
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, code)
    assert row.probability is not None
    assert str(row.reason).startswith("read in part: nothing suspicious in what was seen; ")
    report = dcmread(node.folder(node.worklist.cases.get(row.case_id)).report / "sr.dcm")
    said = [str(e.value) for e in report.iterall() if e.keyword == "TextValue"]
    assert "READ IN PART by ichnode - this is not a negative result" in said
    assert row.reason in said
    assert not any("No hemorrhage suspected" in text for text in said)
    assert report.CompletionFlag == "PARTIAL"


FLAGGED = {
    "a slice missing": but(BLEEDS, 5),
    "60 mm of the head": BLEEDS[8:20],
    "fewer images than announced": [
        encoded(ds) for ds in HEAD.having(ImagesInAcquisition=32).build()
    ],
}


@pytest.mark.parametrize("files", FLAGGED.values(), ids=FLAGGED)
def test_a_bleed_in_what_was_seen_is_flagged_and_the_rest_is_a_limitation(
    node: WatchedNode, clock: Clock, files: Sequence[bytes]
) -> None:
    row = result(node, clock, files)
    assert row.priority is Priority.SUSPECTED
    assert any(word in text for text in row.limitations for word in ("missing", "little", "came"))


def test_a_gap_within_the_reading_thickness_is_nothing(node: WatchedNode, clock: Clock) -> None:
    """One slice of 0.625 mm is missing among 238."""
    thin = HEAD(
        gaps_mm=(0.625,) * 237, thickness_mm=0.625, rows=28, columns=40, spacing_mm=(8.0, 5.0)
    )
    row = result(node, clock, but(normal(thin), 100))
    assert (row.priority, row.reason) == (Priority.NOT_SUSPECTED, None)
    assert not any("missing" in text for text in row.limitations)


def test_announced_images_that_did_not_come_keep_a_released_series_open(
    node: WatchedNode, clock: Clock
) -> None:
    files = normal(HEAD.having(ImagesInAcquisition=32))
    receive_files(files[:28], node)
    clock.wait(20)
    assert node.worklist.views.worklist(clock.now)[0].priority is Priority.PENDING


def test_a_report_on_what_was_read_in_part_can_be_made_anew(
    node: WatchedNode, clock: Clock
) -> None:
    before = result(node, clock, but(NORMAL, 14))
    from node.cases.pipeline import STAGES

    node.worklist.cases.replay(before.case_id, STAGES["report"], clock.now)
    work(node, clock)
    (after,) = node.worklist.views.worklist(clock.now)
    assert (after.priority, after.reason) == (before.priority, before.reason)


@given(st.sets(st.integers(0, 29), max_size=22))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_slice_is_lost_without_a_word(left_out: set[int]) -> None:
    """Whatever is left out between the slices, or so much that little is left, is said."""
    outcome, plan = alone(received(but(NORMAL, *left_out)))
    assert plan is not None
    if plan.reason:
        return  # not analysed at all, and why
    kept = sorted(set(range(30)) - left_out)
    inner = any(number not in kept for number in range(kept[0], kept[-1]))
    sparse = any("the head between them was not imaged" in said for said in plan.limitations)
    assert any(one.forbids for one in plan.unseen) or sparse or not inner
    span_mm = (kept[-1] - kept[0] + 1) * 5
    assert span_mm >= 80 or any(one.code == Reason.COVERAGE for one in plan.unseen)


def test_the_conformance_statement_has_the_rule() -> None:
    text = (ROOT / "CONFORMANCE.md").read_text()
    assert all(f"| {code} | {condition} |" in text for code, condition in FORBIDS_CLEARING.items())
