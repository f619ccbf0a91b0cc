"""Images that cannot be decoded are set aside: the rest is read, and never cleared."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from models.findings import Unreadable
from models.volume import Volume
from node.cases.changes import last_replay
from node.cases.covers import set_aside, without
from node.cases.crashes import MAX_CRASHES, crashing
from node.cases.decoding import decoding_process
from node.cases.pipeline import STAGES
from node.dicom.read.damage import Crashed, Damaged, Fault
from node.dicom.read.pixels import Decoder, load_volume
from node.errors import Refused
from node.records import SeriesPlan, SliceRef, Unseen
from node.settings import Decode
from node.states import Priority, Reason, State
from node.worklist import Row
from tests.support import decoders
from tests.support.builder import (
    HEAD,
    INTERCEPT,
    again,
    alone,
    compressed,
    encoded,
    frame,
    one,
    pixels,
    store,
)
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, work

DEADLY = HEAD(study="deadly")
CLOT = 72 - INTERCEPT
PIXEL_DATA = b"\xe0\x7f\x10\x00"
ITEM = b"\xfe\xff\x00\xe0"
OBJECTS = {"seg.dcm", "sr.dcm", "text.dcm", "capture.dcm", "capture.png"}


def bleeding() -> list[Dataset]:
    return HEAD.build()


def normal() -> list[Dataset]:
    return pixels(lambda p: np.where(p == CLOT, 35 - INTERCEPT, p))(HEAD.build())


def broken(file: bytes) -> bytes:
    """Overwrite the beginning of the first code stream, so that all lengths stay as they are."""
    table = file.index(ITEM, file.index(PIXEL_DATA))
    at = file.index(ITEM, table + 8) + 8
    return file[:at] + bytes(40) + file[at + 40 :]


def in_jpeg_ls(images: list[Dataset], *damaged: int) -> list[bytes]:
    files = [compressed(ds, JPEGLSLossless) for ds in images]
    return [broken(file) if index in damaged else file for index, file in enumerate(files)]


def of_other_matrix(images: list[Dataset]) -> list[bytes]:
    """The code stream of one image is smaller than its header says."""
    small = pixels(lambda p: p[:, :40], 5)(images)[5]
    small.Rows = 40
    small = dcmread(BytesIO(compressed(small, JPEGLSLossless)))
    small.Rows = 56
    files = [encoded(ds) for ds in images]
    return [*files[:5], encoded(small, JPEGLSLossless), *files[6:]]


DAMAGES: dict[str, Callable[[list[Dataset]], list[bytes]]] = {
    "a broken code stream": lambda images: in_jpeg_ls(images, 5),
    "the first slice": lambda images: in_jpeg_ls(images, 0),
    "the last slice": lambda images: in_jpeg_ls(images, 29),
    "a slice of the lesion": lambda images: in_jpeg_ls(images, 16),
    "a code stream of another matrix": of_other_matrix,
    "no slope": lambda images: [encoded(ds) for ds in one(5, RescaleSlope=None)(images)],
    "two frames announced": lambda images: [
        encoded(ds)
        for ds in pixels(lambda p: np.concatenate([p, p]), 5)(one(5, NumberOfFrames=2)(images))
    ],
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


def result(node: WatchedNode, clock: Clock, files: list[bytes]) -> Row:
    receive_files(files, node)
    work(node, clock)
    return newest(node, clock)


def newest(node: WatchedNode, clock: Clock) -> Row:
    (row,) = node.worklist.views.worklist(clock.now)
    return row


def report(node: WatchedNode, row: Row) -> Path:
    return node.root / row.folder / "report"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@damages
def test_a_bleed_beside_a_damaged_image_is_flagged_and_the_damage_said(
    node: WatchedNode,
    clock: Clock,
    predictor: Predictor,
    damage: Callable[[list[Dataset]], list[bytes]],
) -> None:
    row = result(node, clock, damage(bleeding()))
    assert (row.priority, row.state) == (Priority.SUSPECTED, State.DELIVERED)
    (said,) = (text for text in row.limitations if "decoded" in text)
    assert said.startswith("1 image could not be decoded and was not seen (5.0 mm of the scan): ")
    assert said.endswith("send it again")
    assert names(report(node, row)) == OBJECTS
    assert f"Limitation: {said}" in dcmread(report(node, row) / "sr.dcm").to_json()
    assert [len(volume.hu) for volume in predictor.read_volumes] == [29]
    assert row.key_slice_sop_instance_uid in {ds.SOPInstanceUID for ds in bleeding()[15:18]}


@damages
def test_a_damaged_image_keeps_its_series_from_being_cleared(
    node: WatchedNode, clock: Clock, damage: Callable[[list[Dataset]], list[bytes]]
) -> None:
    row = result(node, clock, damage(normal()))
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, Reason.UNDECODABLE)
    assert str(row.reason).startswith(
        "read in part: nothing suspicious in what was seen; 1 image could not be decoded and was "
        "not seen (5.0 mm of the scan): "
    )
    assert row.probability is not None
    sr = dcmread(report(node, row) / "sr.dcm")
    assert sr.CompletionFlag == "PARTIAL"
    assert "No hemorrhage suspected" not in sr.to_json()
    assert names(report(node, row)) == OBJECTS - {"seg.dcm"}


def test_fewer_than_half_may_be_damaged(node: WatchedNode, clock: Clock) -> None:
    row = result(node, clock, in_jpeg_ls(bleeding(), *range(14)))
    assert row.priority is Priority.SUSPECTED
    (said,) = (text for text in row.limitations if "decoded" in text)
    assert said.startswith("14 images could not be decoded and were not seen (70.0 mm of the scan)")
    assert said.endswith("send them again")


@pytest.mark.parametrize("damaged", [range(0, 30, 2), range(30)], ids=["half", "all"])
def test_a_series_that_is_damaged_by_half_is_refused_with_the_true_reason(
    node: WatchedNode, clock: Clock, predictor: Predictor, damaged: range
) -> None:
    row = result(node, clock, in_jpeg_ls(bleeding(), *damaged))
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, Reason.UNDECODABLE)
    assert f"{len(damaged)} of 30 images" in str(row.reason)
    assert bleeding()[0].SOPInstanceUID in str(row.reason)
    assert row.probability is None and predictor.read_volumes == []
    assert names(report(node, row)) == {"sr.dcm", "text.dcm", "capture.dcm"}


def test_each_kind_of_damage_is_said(node: WatchedNode, clock: Clock) -> None:
    images = one(7, RescaleSlope=None)(bleeding())
    row = result(node, clock, in_jpeg_ls(images, 3, 4))
    first, second = (text for text in row.limitations if "could not be decoded" in text)
    assert first.startswith("2 images could not be decoded and were not seen (10.0 mm")
    assert second.startswith("1 image could not be decoded and was not seen (5.0 mm")
    assert "RescaleSlope" in second


@pytest.mark.parametrize("change", [lambda d: d[:200], lambda d: d[:-1] + b"\x07"])
@pytest.mark.parametrize("index", [0, 5])
def test_an_image_that_changed_on_disk_is_set_aside(
    node: WatchedNode, clock: Clock, index: int, change: Callable[[bytes], bytes]
) -> None:
    files = [encoded(ds) for ds in bleeding()]
    receive_files(files, node)
    (series,) = node.worklist.arrivals.study(bleeding()[0].StudyInstanceUID)
    uid = bleeding()[index].SOPInstanceUID
    (mine,) = (i for i in series.instances if i.header.sop_instance_uid == uid)
    path = node.root / mine.stored.path
    path.write_bytes(change(path.read_bytes()))
    work(node, clock)
    row = newest(node, clock)
    assert row.priority is Priority.SUSPECTED
    assert any(uid in text and "changed on disk" in text for text in row.limitations)
    assert names(report(node, row)) == OBJECTS


def test_a_series_that_shows_no_brain_is_reported_without_the_image_that_is_broken(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [Unreadable("no brain found")]
    receive_files([encoded(ds) for ds in bleeding()], node)
    (series,) = node.worklist.arrivals.study(bleeding()[0].StudyInstanceUID)
    path = node.root / series.instances[0].stored.path
    path.write_bytes(path.read_bytes()[:200])
    work(node, clock)
    row = newest(node, clock)
    assert (row.reason_code, row.state) == (Reason.UNREADABLE, State.DELIVERED)
    assert names(report(node, row)) == {"sr.dcm", "text.dcm", "capture.dcm"}


def test_a_whole_copy_of_a_damaged_image_is_read_in_its_place(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    row = result(node, clock, in_jpeg_ls(again(16)(normal()), 16))
    assert [len(volume.hu) for volume in predictor.read_volumes] == [30]
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, Reason.UNDECODABLE)
    assert "1 image could not be decoded and was not seen: " in str(row.reason)


def test_a_frame_that_is_damaged_costs_that_frame_alone(node: WatchedNode, clock: Clock) -> None:
    ds = HEAD.enhanced()
    row = result(node, clock, [broken(compressed(ds, JPEGLSLossless))])
    assert row.priority is Priority.SUSPECTED
    assert any(text.startswith("1 image could not be decoded") for text in row.limitations)
    assert names(report(node, row)) == OBJECTS


def test_a_frame_without_slope_costs_that_frame_alone(node: WatchedNode, clock: Clock) -> None:
    (ds,) = frame(9, "PixelValueTransformationSequence")([HEAD.enhanced()])
    row = result(node, clock, [encoded(ds)])
    assert row.priority is Priority.SUSPECTED
    assert any(text.startswith("1 image could not be decoded") for text in row.limitations)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("images", [bleeding, normal])
def test_a_replay_of_a_damaged_series_gives_the_same_result(
    node: WatchedNode, clock: Clock, images: Callable[[], list[Dataset]], stage: str
) -> None:
    before = result(node, clock, in_jpeg_ls(images(), 3, 16))
    made = {path.name: path.read_bytes() for path in report(node, before).iterdir()}
    clock.wait(3600)
    node.worklist.cases.replay(before.case_id, STAGES[stage], clock.now)
    work(node, clock)
    after = newest(node, clock)
    replay = last_replay(node.worklist.views.events(after.study_instance_uid), after.case_id)
    assert replay is not None and (replay.compared, replay.changed) == ("same result", ())
    assert {path.name: path.read_bytes() for path in report(node, after).iterdir()} == made
    assert (after.limitations, after.reason) == (before.limitations, before.reason)


def test_an_image_put_back_on_disk_is_read_by_a_replay_of_the_triage(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    receive_files([encoded(ds) for ds in bleeding()], node)
    (series,) = node.worklist.arrivals.study(bleeding()[0].StudyInstanceUID)
    path = node.root / series.instances[4].stored.path
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    work(node, clock)
    path.write_bytes(whole)
    row = newest(node, clock)
    assert any("decoded" in text for text in row.limitations)
    node.worklist.cases.replay(row.case_id, STAGES["triage"], clock.now)
    work(node, clock)
    assert not any("decoded" in text for text in newest(node, clock).limitations)
    assert [len(volume.hu) for volume in predictor.read_volumes] == [29, 30]
    assert names(report(node, row)) == OBJECTS


# --- the plan without its damaged images ----------------------------------------------------------


def gone(plan: SeriesPlan, *indices: int) -> list[Fault]:
    return [Fault(plan.slices[index], Reason.UNDECODABLE, "broken; send it") for index in indices]


@pytest.mark.parametrize(
    ("lost", "after"),
    [((), 9), ((2, 3), 7), ((9,), 8), ((10,), 9), ((20,), 9), (tuple(range(10)), None)],
)
def test_a_gap_is_still_between_the_slices_on_either_side(
    lost: tuple[int, ...], after: int | None
) -> None:
    gap = Unseen(Reason.MISSING_SLICE, "a slice is missing", forbids=True, after=9)
    plan = replace(numbered(30), unseen=(gap,))
    left = without(plan, gone(plan, *lost))
    assert len(left.slices) == 30 - len(lost)
    assert left.unseen == (replace(gap, after=after),)


def test_what_is_not_seen_is_told_in_millimetres() -> None:
    plan = numbered(30)
    (said,) = set_aside(plan, gone(plan, 0, 10, 11))
    assert said.message == (
        "3 images could not be decoded and were not seen (15.0 mm of the scan): broken; send them "
        "again"
    )
    unplaced = replace(plan, slices=tuple(replace(s, location_mm=None) for s in plan.slices))
    (said,) = set_aside(unplaced, gone(unplaced, 10))
    assert said.message == "1 image could not be decoded and was not seen: broken; send it again"


# --- the decoder ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decode() -> Iterator[Decoder]:
    with decoding_process(Decode()) as decode:
        yield decode


def planned(files: list[bytes], root: Path) -> SeriesPlan:
    _, plan = alone(store(files, root))
    assert plan is not None
    return plan


def test_the_damage_is_told_across_processes(decode: Decoder, tmp_path: Path) -> None:
    plan = planned(in_jpeg_ls(bleeding(), 0, 7), tmp_path)
    for load in (load_volume, decode):
        with pytest.raises(Damaged) as caught:
            load(plan, tmp_path)
        assert caught.value.code is Reason.UNDECODABLE
        faults = caught.value.faults
        assert [fault.ref for fault in faults] == [plan.slices[0], plan.slices[7]]
        assert all(fault.ref.sop_instance_uid in fault.message for fault in faults)
        whole = replace(plan, slices=(*plan.slices[1:7], *plan.slices[8:]))
        assert len(load(whole, tmp_path).hu) == 28


def test_an_image_that_ends_its_decoder_costs_that_image_alone(
    node: WatchedNode, clock: Clock
) -> None:
    with decoding_process(Decode(), decoders.load) as decode:
        row = result(replace(node, decode=decode), clock, [encoded(ds) for ds in DEADLY.build()])
    assert row.priority is Priority.SUSPECTED
    (said,) = (text for text in row.limitations if "decoded" in text)
    assert decoders.DEADLY in said and "SIGSEGV" in said
    assert names(report(node, row)) == OBJECTS


class Fragile:
    """A decoder that ends on these images, and only counts."""

    def __init__(self, *deadly: str, most: int = 1000) -> None:
        self.deadly, self.most, self.crashes = deadly, most, 0

    def __call__(self, plan: SeriesPlan) -> Volume:
        names = [ref.sop_instance_uid for ref in plan.slices]
        if len(names) > self.most or any(name in self.deadly for name in names):
            self.crashes += 1
            raise Crashed(Reason.UNDECODABLE, "decoding the pixels ended its process: SIGSEGV")
        raise Refused(Reason.NOT_HOUNSFIELD, "no air among these few")


@pytest.mark.parametrize("deadly", [["0"], ["29"], ["13", "14"], ["3", "20"], []])
def test_the_images_that_end_the_decoder_are_found_in_few_crashes(deadly: list[str]) -> None:
    decode = Fragile(*deadly)
    found = crashing(numbered(30), decode, most=10)
    assert sorted(fault.ref.sop_instance_uid for fault in found) == sorted(deadly)
    assert decode.crashes <= 10


@pytest.mark.parametrize(
    "decode",
    [Fragile(*map(str, range(30))), Fragile(most=20), Fragile(*map(str, range(0, 30, 4)))],
    ids=["each image", "too much for the memory", "every fourth image"],
)
def test_a_search_that_leads_nowhere_ends_soon(decode: Fragile) -> None:
    assert crashing(numbered(30), decode) == ()
    assert decode.crashes <= MAX_CRASHES + 1


def numbered(count: int) -> SeriesPlan:
    at = [(0.0, 0.0, 5.0 * number) for number in range(count)]
    refs = [SliceRef(f"{n}.dcm", "", "", str(n), 1, at[n], at[n][2]) for n in range(count)]
    return SeriesPlan("", "", tuple(refs), "")


def test_what_a_decoder_says_is_one_line_and_the_same_every_time(tmp_path: Path) -> None:
    files = [compressed(ds, JPEG2000Lossless) for ds in bleeding()[:10]]
    plan = planned([broken(files[0]), *files[1:]], tmp_path)
    said = set()
    for _ in range(3):
        with pytest.raises(Refused) as caught:
            load_volume(plan, tmp_path)
        said.add(str(caught.value))
    (text,) = said
    assert "\n" not in text and "0x" not in text
