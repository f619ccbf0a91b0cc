"""Objects whose pixels are cut short: told by lengths, set aside, and replaced by whole ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from node.arrive.filing import file_or_set_aside
from node.arrive.intake import Intake
from node.arrive.spool import Spool
from node.cases.explain import explain_study
from node.dicom.net.association import Status
from node.settings import Assemble, Settings
from node.states import Priority, State
from node.worklist import Arrival, Decision
from tests.support.builder import HEAD, encoded
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, work, working_node

STUDY = HEAD.build()[0].StudyInstanceUID


@pytest.fixture
def node(tmp_path: Path, clock: Clock, predictor: Predictor) -> Iterator[WatchedNode]:
    settings = Settings(data_dir=tmp_path / "data", assemble=Assemble(grace_s=0.0))
    with working_node(settings, clock, predictor) as found:
        yield found


def head() -> list[bytes]:
    return [encoded(ds) for ds in HEAD.build()]


def send(node: WatchedNode, file: bytes) -> tuple[Status, str, Arrival | None]:
    """File one object as the storage SCP does."""
    spool = Spool(node.root, 0)
    filed = file_or_set_aside(file, node.arrivals, spool, caller="CT1", now=node.clock())
    return filed.status, filed.comment, filed.arrival


def packed(frames: list[bytes], *, announced: int = 1, delimiter: bool = True) -> bytes:
    """An image with encapsulated pixel data; a missing delimiter is that of a file cut there."""
    (ds,) = HEAD.build()[:1]
    ds.NumberOfFrames = announced
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    file = encoded(ds, JPEGLSLossless)
    assert file.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    return file if delimiter else file[:-8]


def uncompressed(**changes: object) -> bytes:
    (ds,) = HEAD.having(**changes).build()[:1]
    return encoded(ds, ExplicitVRLittleEndian)


FRAME = bytes(100)
CUT: dict[str, tuple[bytes, str]] = {
    "inside its pixels": (head()[0][:-3000], "5960 of 8960 bytes are there"),
    "by one byte": (head()[0][:-1], "8959 of 8960 bytes are there"),
    "after the first byte": (head()[0][:-8959], "1 of 8960 bytes are there"),
    "less than Rows x Columns": (uncompressed(Rows=57), "8960 bytes, and its images take 9120"),
    "less than NumberOfFrames": (uncompressed(NumberOfFrames=2), "its images take 17920"),
    "less than SamplesPerPixel": (uncompressed(SamplesPerPixel=3), "its images take 26880"),
    "inside a fragment": (packed([FRAME])[:-30], "inside fragment 1: 78 of 100 bytes are there"),
    "in the head of a fragment": (packed([FRAME, FRAME], announced=2)[:-110], "inside fragment 2"),
    "between two frames": (packed([FRAME, FRAME], announced=2)[:-116], "1 fragments for 2 images"),
}
WHOLE: dict[str, bytes] = {
    "uncompressed": head()[0],
    "padded": uncompressed(PixelData=bytes(8962)),
    "encapsulated": packed([FRAME]),
    "without the delimiter": packed([FRAME], delimiter=False),
    "with half of the delimiter": packed([FRAME])[:-4],
    "a frame in two fragments": packed([FRAME])[:-8] + b"\xfe\xff\x00\xe0\x02\0\0\0ab",
    "without SamplesPerPixel": uncompressed(SamplesPerPixel=None),
    "without pixel data": uncompressed(PixelData=None),
    "without Rows": uncompressed(Rows=None),
    "what is no item": packed([FRAME])[:-8] + bytes(40),
}


@pytest.mark.parametrize("name", CUT)
def test_an_object_cut_short_is_kept_set_aside_and_said_so_with_the_numbers(
    node: WatchedNode, name: str
) -> None:
    file, numbers = CUT[name]
    status, comment, arrival = send(node, file)
    assert (status, arrival) == (Status.SUCCESS, Arrival.CUT_SHORT)
    (entry,) = node.worklist.quarantine.listed(STUDY)
    assert (entry.code, entry.decision) == ("CUT_SHORT", None)
    assert numbers in entry.reason and entry.reason == comment
    assert (node.root / entry.stored.path).read_bytes() == file


@pytest.mark.parametrize("name", WHOLE)
def test_an_object_that_may_be_whole_is_filed(node: WatchedNode, name: str) -> None:
    assert send(node, WHOLE[name])[2] is Arrival.NEW
    assert node.worklist.quarantine.listed(STUDY) == []


@pytest.mark.parametrize("place", [0, 7, 29])
def test_a_whole_object_takes_the_place_of_a_damaged_first_copy_by_itself(
    node: WatchedNode, clock: Clock, place: int
) -> None:
    files = head()
    whole = files[place]
    files[place] = whole[:-3000]
    receive_files(files, node)
    work(node, clock)
    (before,) = node.worklist.views.worklist(clock.now)
    assert before.quarantined == 1
    receive_files([whole], node)
    work(node, clock)
    (after,) = node.worklist.views.worklist(clock.now)
    assert (after.priority, after.quarantined) == (Priority.SUSPECTED, 0)
    (series,) = node.worklist.arrivals.study(STUDY)
    assert (len(series.instances), series.cut_short) == (30, 0)
    (entry,) = node.worklist.quarantine.listed(decided=True)
    assert (entry.decision, entry.decided_by) == (Decision.REPLACED, "ichnode")
    what = [event.what for event in node.worklist.views.events(STUDY)]
    assert what.count("quarantine: replaced") == 1


def test_a_whole_object_that_follows_at_once_leaves_nothing_open(
    node: WatchedNode, clock: Clock
) -> None:
    files = head()
    receive_files([files[3][:-10], *files, files[3][:-500]], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.quarantined, row.limitations) == (Priority.SUSPECTED, 0, ())


def test_a_series_read_without_an_image_cut_short_says_so(node: WatchedNode, clock: Clock) -> None:
    files = head()
    files[0] = files[0][:-3000]
    receive_files(files, node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is not Priority.NOT_SUSPECTED
    assert (
        "1 image came cut short and waits in quarantine for a whole one; send the series again"
        in row.limitations
    )


def test_a_study_of_images_cut_short_stands_in_the_worklist_until_whole_ones_come(
    node: WatchedNode, clock: Clock
) -> None:
    files = head()
    receive_files([file[:-3000] for file in files], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state, row.quarantined) == (
        Priority.NOT_ANALYSED,
        State.FAILED,
        30,
    )
    assert row.reason and "all its images came cut short (30 in quarantine)" in row.reason
    told = explain_study(STUDY, node.worklist, node.settings, clock.now)
    assert (told.priority, told.quarantined) == (Priority.NOT_ANALYSED, 30)
    receive_files(files, node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.quarantined) == (Priority.SUSPECTED, 0)


def test_the_same_damaged_copy_again_is_noted_once_and_reads_nothing_again(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    files = head()
    receive_files([files[0][:-10], *files[1:]], node)
    work(node, clock)
    receive_files([files[0][:-10]], node)
    work(node, clock)
    assert len(predictor.read_volumes) == 1
    assert len(node.worklist.quarantine.listed(STUDY)) == 1


def test_an_object_filed_without_pixels_gives_way_to_one_that_has_them(
    node: WatchedNode, clock: Clock
) -> None:
    files = head()
    bare = [encoded(ds) for ds in HEAD.having(PixelData=None).build()]
    receive_files([*files[:4], *bare[4:6], *files[6:]], node)
    work(node, clock)
    (before,) = node.worklist.views.worklist(clock.now)
    assert before.priority is not Priority.NOT_SUSPECTED
    receive_files(files[4:6], node)
    work(node, clock)
    (after,) = node.worklist.views.worklist(clock.now)
    assert (after.priority, after.quarantined) == (Priority.SUSPECTED, 0)
    entries = node.worklist.quarantine.listed(decided=True)
    assert [(e.code, e.decision) for e in entries] == [("CUT_SHORT", Decision.REPLACED)] * 2


def test_import_leaves_out_what_is_cut_short_and_says_why(
    node: WatchedNode, clock: Clock, tmp_path: Path
) -> None:
    files = head()
    intake = Intake(node.settings, node.arrivals, clock)
    for number, file in enumerate([files[0], files[1][:-3000]]):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(file)
        intake.take_file(path.name, path)
    (left,) = intake.left_out
    assert (left.name, left.fault, intake.complete) == ("1.dcm", True, False)
    assert left.reason.endswith("5960 of 8960 bytes are there; kept in quarantine")
    intake.take_file("whole", _written(tmp_path, files[1]))
    assert node.worklist.quarantine.listed(STUDY) == []


def _written(folder: Path, file: bytes) -> Path:
    path = folder / "whole.dcm"
    path.write_bytes(file)
    return path
