"""What an archive does not send, or sends as something else, told without an archive."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from node.arrive.intake import Intake
from node.arrive.pull import fetch, filing, order
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.net.retrieve import Take
from node.settings import Receive, Settings, Source
from node.worklist import Worklist
from tests.support.builder import HEAD, encoded, uid
from tests.support.databases import new_database

SOURCE = Source(name="pacs", how="get", ae_title="PACS", host="192.0.2.1", port=104)
HERE = HEAD(name="here", gaps_mm=(5.0,) * 3).build()
MORE = HEAD(name="more", gaps_mm=(5.0,) * 3).build()


@dataclass
class Shelf:
    """An archive of two series; it may list no objects, or send some of them otherwise."""

    lists: bool = True
    send: Callable[[Dataset], Dataset | None] = lambda ds: ds
    take: Take | None = None
    series: dict[str, list[Dataset]] = field(
        default_factory=lambda: {uid("study", "here"): HERE, uid("study", "more"): MORE}
    )

    def studies(self, accession_number: str) -> list[str]:
        return [uid("study")] if accession_number == "A1" else []

    def modalities(self, _: str) -> dict[str, str]:
        return dict.fromkeys(self.series, "CT")

    def images(self, _: str, series: str) -> dict[str, str]:
        listed = self.series[series] if self.lists else []
        return {ds.SOPInstanceUID: CTImageStorage for ds in listed}

    def fetch(self, _: str, series: str, __: Collection[str] = ()) -> Iterator[int]:
        assert self.take is not None
        sent = [ds for one in self.series[series] if (ds := self.send(one)) is not None]
        for number, ds in enumerate(sent, start=1):
            self.take(encoded(ds), (ds.SOPClassUID, ds.SOPInstanceUID))
            yield number


def pulled(shelf: Shelf, folder: Path) -> Intake:
    settings = Settings(data_dir=folder, receive=Receive(min_free_mb=0))
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        clock = lambda: datetime(2026, 1, 15, 8, 30, tzinfo=UTC)  # noqa: E731
        intake = Intake(settings, worklist.arrivals, clock, kinds=ACCEPTED_SOP_CLASSES)
        shelf.take = filing(SOURCE, intake)
        wanted = order(shelf, uid("study"), SOURCE)
        list(fetch(wanted, shelf, SOURCE, intake, worklist.arrivals))
    return intake


def as_mr(ds: Dataset) -> Dataset:
    other = Dataset(ds)
    other.file_meta = ds.file_meta
    other.SOPClassUID = MRImageStorage
    return other


@pytest.mark.parametrize("lists", [True, False])
def test_what_came_whole_is_no_fault(tmp_path: Path, lists: bool) -> None:
    intake = pulled(Shelf(lists), tmp_path)
    assert intake.complete and len(intake.series) == 2


@pytest.mark.parametrize("lists", [True, False])
def test_a_series_of_which_nothing_came_is_a_fault(tmp_path: Path, lists: bool) -> None:
    lost = {ds.SOPInstanceUID for ds in MORE}
    intake = pulled(Shelf(lists, lambda ds: None if ds.SOPInstanceUID in lost else ds), tmp_path)
    assert not intake.complete
    assert [left.name for left in intake.left_out] == [f"series {uid('study', 'more')}"]


def test_one_object_that_did_not_come_is_a_fault(tmp_path: Path) -> None:
    lost = MORE[1].SOPInstanceUID
    intake = pulled(Shelf(send=lambda ds: None if ds.SOPInstanceUID == lost else ds), tmp_path)
    assert not intake.complete and "1 of 4 objects are not here" in str(intake.left_out)


def test_objects_of_another_kind_are_no_fault(tmp_path: Path) -> None:
    other = MORE[1].SOPInstanceUID
    intake = pulled(
        Shelf(send=lambda ds: as_mr(ds) if ds.SOPInstanceUID == other else ds), tmp_path
    )
    assert intake.complete and "1 of other kinds than CT" in intake.summary
