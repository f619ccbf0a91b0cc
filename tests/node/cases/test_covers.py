"""Different images at one position: each cover is read, and the most suspicious one speaks."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from models.detector import Detector
from models.findings import Unreadable
from node.cases.changes import last_replay
from node.cases.decoding import decoding_process
from node.cases.pipeline import STAGES
from node.cli.analyse import describe
from node.dicom.read.damage import Doubled
from node.dicom.read.pixels import load_volume
from node.settings import Decode, Settings
from node.states import Priority, Reason
from node.worklist import Row, Worklist
from tests.support.builder import HEAD, INTERCEPT, again, alone, each, encoded, one, pixels, store
from tests.support.databases import new_database
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, work
from training.datasets import physionet
from training.datasets.series import Identity, write_series

CLOT = 72 - INTERCEPT
LESION = range(15, 18)
"""The slices that show the builder's clot."""
TWO = "hold two different images; both were read, the more suspicious speaks"


def without_clot(images: list[Dataset], *indices: int) -> list[Dataset]:
    return pixels(lambda p: np.where(p == CLOT, 35 - INTERCEPT, p), *indices)(images)


def scanned_again(
    images: list[Dataset], at: Sequence[int], source: list[Dataset] | None = None, run: int = 1
) -> list[Dataset]:
    """Scan these positions once more: other pixels, and headers that do not tell the runs apart.

    Numbers that went on would tell them apart (`node.cases.parts`).
    """
    places = len({float(ds.ImagePositionPatient[2]) for ds in images})
    for index, ds in enumerate(images[:places]):
        ds.InstanceNumber = 10 * (index + 1)
    more = []
    for index in at:
        ds = deepcopy((source or images)[index])
        ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:58]}.{run}"
        ds.InstanceNumber = 10 * (index + 1) + run
        stored = np.frombuffer(ds.PixelData, "<i2").copy()
        stored[:: 6 + run] += 1
        ds.PixelData = np.where(np.frombuffer(ds.PixelData, "<i2") == CLOT, CLOT, stored).tobytes()
        more.append(ds)
    return [*images, *more]


def result(node: WatchedNode, clock: Clock, images: list[Dataset]) -> Row:
    receive_files([encoded(ds) for ds in images], node)
    work(node, clock)
    return newest(node, clock)


def newest(node: WatchedNode, clock: Clock) -> Row:
    (row,) = node.worklist.views.worklist(clock.now)
    return row


def report(node: WatchedNode, row: Row) -> Path:
    return node.root / row.folder / "report"


def segmented(node: WatchedNode, row: Row) -> set[str]:
    """The images that the segmentation refers to."""
    seg = dcmread(report(node, row) / "seg.dcm")
    (series,) = seg.ReferencedSeriesSequence
    return {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}


def uids(images: Sequence[Dataset]) -> set[str]:
    return {str(ds.SOPInstanceUID) for ds in images}


def test_a_bleed_in_a_head_whose_base_was_scanned_twice_is_flagged(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    images = scanned_again(HEAD.build(), range(8))
    row = result(node, clock, images)
    assert row.priority is Priority.SUSPECTED
    assert f"8 positions {TWO}" in row.limitations
    assert [len(volume.hu) for volume in predictor.read_volumes] == [30, 30]
    assert segmented(node, row) == uids(images[:30])  # of two equals the first one speaks
    assert f"Limitation: 8 positions {TWO}" in dcmread(report(node, row) / "sr.dcm").to_json()


def test_a_bleed_that_only_the_second_images_show_is_flagged_on_them(
    node: WatchedNode, clock: Clock
) -> None:
    images = scanned_again(without_clot(HEAD.build()), LESION, HEAD.build())
    row = result(node, clock, images)
    assert row.priority is Priority.SUSPECTED
    assert f"3 positions {TWO}" in row.limitations
    assert row.key_slice_sop_instance_uid in uids(images[30:])
    assert uids(images[30:]) <= segmented(node, row)
    assert not uids(images[15:18]) & segmented(node, row)
    assert (report(node, row) / "capture.dcm").exists()
    read = [one["sop_instance_uid"] for one in describe(row, node)["slices"]]
    assert read[15:18] == [ds.SOPInstanceUID for ds in images[30:]]
    assert read[:15] == [ds.SOPInstanceUID for ds in images[:15]]


def test_a_head_that_is_normal_in_every_cover_is_cleared(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = result(node, clock, scanned_again(without_clot(HEAD.build()), range(8)))
    assert (row.priority, row.reason) == (Priority.NOT_SUSPECTED, None)
    assert f"8 positions {TWO}" in row.limitations
    assert len(predictor.read_volumes) == 2


def test_three_different_images_at_one_position_are_all_read(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    images = scanned_again(without_clot(HEAD.build()), [4, 16])
    images = scanned_again(images, [16], HEAD.build(), run=2)
    row = result(node, clock, images)
    assert row.priority is Priority.SUSPECTED
    assert row.key_slice_sop_instance_uid == images[-1].SOPInstanceUID
    said = (
        "2 positions hold up to 3 different images; 3 covers were read, the most suspicious speaks"
    )
    assert said in row.limitations
    assert len(predictor.read_volumes) == 3


def test_more_different_images_than_are_read_forbid_to_clear(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    images = without_clot(HEAD.build())
    for run in range(1, 5):
        images = scanned_again(images, [16], without_clot(HEAD.build()), run=run)
    row = result(node, clock, images)
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, Reason.DUPLICATE_POSITION)
    assert "2 further images at the same positions were not read" in str(row.reason)
    assert len(predictor.read_volumes) == 3


@pytest.mark.parametrize("clot", [True, False])
def test_a_cover_that_cannot_be_read_is_said_and_forbids_to_clear(
    node: WatchedNode, clock: Clock, predictor: Predictor, clot: bool
) -> None:
    predictor.failures = [Unreadable("no brain found")]  # in the first cover
    source = HEAD.build() if clot else without_clot(HEAD.build())
    row = result(node, clock, scanned_again(without_clot(HEAD.build()), LESION, source))
    said = "one cover of the head could not be read: no brain found"
    assert row.priority is (Priority.SUSPECTED if clot else Priority.NOT_ANALYSED)
    assert row.reason_code == (None if clot else Reason.DUPLICATE_POSITION)
    assert row.limitations == (said, "3 positions hold two different images")


def test_identical_copies_are_read_once(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    images = each(InstanceNumber=lambda index: 10 * (index + 1))(HEAD.build())
    for index in range(8):
        images = again(index, InstanceNumber=10 * (index + 1) + 1)(images)
    row = result(node, clock, images)
    assert row.priority is Priority.SUSPECTED and row.limitations == ()
    assert len(predictor.read_volumes) == 1
    assert segmented(node, row) == uids(images[:30])


def test_the_first_run_is_the_first_cover_though_its_positions_jitter(
    node: WatchedNode, clock: Clock
) -> None:
    """Positions of the second run lie a little below those of the first."""
    images = scanned_again(HEAD.build(), range(8))
    for ds in images[30::2]:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) - 0.04]
    row = result(node, clock, images)
    assert segmented(node, row) == uids(images[:30])


def test_a_frame_that_differs_from_the_one_at_its_place_is_read_too(
    node: WatchedNode, clock: Clock
) -> None:
    twice = HEAD.enhanced(order=[*range(30), 16])
    stored = np.frombuffer(twice.PixelData, "<i2").reshape(31, -1).copy()
    for index in LESION:
        clot = stored[index] == CLOT + index
        stored[index, clot] = 35 - INTERCEPT + index
    twice.PixelData = stored.tobytes()
    row = result(node, clock, [twice])
    assert row.priority is Priority.SUSPECTED
    seg = dcmread(report(node, row) / "seg.dcm")
    (source,) = {
        item.ReferencedFrameNumber
        for group in seg.PerFrameFunctionalGroupsSequence
        for item in group.DerivationImageSequence[0].SourceImageSequence
    }
    assert source == 31


def test_a_damaged_cover_does_not_keep_the_others_from_being_read(
    node: WatchedNode, clock: Clock
) -> None:
    images = scanned_again(without_clot(HEAD.build()), LESION, HEAD.build())
    row = result(node, clock, one(31, RescaleSlope=None)(images))
    assert row.priority is Priority.SUSPECTED
    assert any(text.startswith("1 image could not be decoded") for text in row.limitations)
    assert f"2 positions {TWO}" in row.limitations


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("clot", [True, False])
def test_a_replay_gives_the_same_result(
    node: WatchedNode, clock: Clock, stage: str, clot: bool
) -> None:
    source = HEAD.build() if clot else without_clot(HEAD.build())
    before = result(node, clock, scanned_again(without_clot(HEAD.build()), LESION, source))
    made = {path.name: path.read_bytes() for path in report(node, before).iterdir()}
    clock.wait(3600)
    node.worklist.cases.replay(before.case_id, STAGES[stage], clock.now)
    work(node, clock)
    after = newest(node, clock)
    replay = last_replay(node.worklist.views.events(after.study_instance_uid), after.case_id)
    assert replay is not None and (replay.compared, replay.changed) == ("same result", ())
    assert {path.name: path.read_bytes() for path in report(node, after).iterdir()} == made


def test_a_late_second_image_with_a_bleed_supersedes_a_cleared_head(
    node: WatchedNode, clock: Clock
) -> None:
    images = scanned_again(without_clot(HEAD.build()), LESION, HEAD.build())
    assert result(node, clock, images[:30]).priority is Priority.NOT_SUSPECTED
    after = result(node, clock, images[30:])
    assert (after.priority, after.supersedes) == (Priority.SUSPECTED, 1)


def test_what_differs_is_told_across_processes(tmp_path: Path) -> None:
    images = scanned_again(HEAD.build(), range(8))
    _, plan = alone(store([encoded(ds) for ds in images], tmp_path))
    assert plan is not None
    with decoding_process(Decode()) as decode:
        for load in (load_volume, decode):
            with pytest.raises(Doubled) as caught:
                load(plan, tmp_path)
            assert caught.value.code is Reason.DUPLICATE_POSITION
            found = caught.value.images
            assert set(found) == set(range(8))
            assert [[ref.sop_instance_uid for ref in found[at]] for at in range(8)] == [
                [images[at].SOPInstanceUID, images[30 + at].SOPInstanceUID] for at in range(8)
            ]


BLEEDING_PATIENT = 75
"""A patient with hemorrhage whom the shipped networks were neither trained nor tuned on."""


@pytest.mark.data
@pytest.mark.timeout(600)
def test_a_real_bleeding_head_whose_base_was_scanned_twice_is_read_and_flagged(
    data: Path, detector: Detector, tmp_path: Path, clock: Clock
) -> None:
    volume = physionet.load(data / "physionet_ct_ich", BLEEDING_PATIENT).volume
    files = write_series(volume, tmp_path / "sent", Identity.of("base scanned twice"))
    images = [dcmread(path) for path in files]
    more = scanned_again(images, range(8))
    settings = Settings(data_dir=tmp_path / "data", assemble={"prior_after_days": 0})
    settings.data_dir.mkdir()
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        node = WatchedNode.on(worklist, settings, lambda: detector, clock)
        row = result(node, clock, more)
        assert row.priority is Priority.SUSPECTED
        assert f"8 positions {TWO}" in row.limitations
        assert {"seg.dcm", "sr.dcm", "capture.dcm"} <= {p.name for p in report(node, row).iterdir()}
