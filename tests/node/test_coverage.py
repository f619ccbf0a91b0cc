"""Coverage against archives: Orthanc as the source, and ones that fail, cut off or do not say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from node import coverage
from node.announced import Shows
from node.coverage import look
from node.errors import Retryable
from node.records import Header, StoredObject
from node.settings import Settings, Source
from node.worklist import Gap, Uncovered, Worklist
from tests.support.databases import new_database
from tests.support.peers import ct_series, free_port, orthanc
from tests.support.working import Clock, Predictor, receive_files, working_node

NOW = datetime(2026, 11, 20, 12, 0).astimezone()
GRACE = timedelta(minutes=30)
WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def study(folder: Path, name: str, description: str, *, day: str = "20261120") -> list[bytes]:
    """Return the files of a CT study of three images with this series description."""
    files = ct_series(folder / name, 3, seed=name)
    for file in files:
        ds = dcmread(file)
        ds.StudyDate, ds.StudyTime, ds.SeriesDescription = day, "110000", description
        ds.StudyDescription = ds.ProtocolName = ds.BodyPartExamined = ""
        ds.AccessionNumber = name
        ds.save_as(file)
    return [file.read_bytes() for file in files]


def settings_with(folder: Path, source: Source, **values: object) -> Settings:
    pull = {"sources": [source.model_dump()]}
    asked = {"ask": [source.name], **values}
    return Settings(data_dir=folder / "data", pull=pull, coverage=asked)  # type: ignore[arg-type]


def missed(worklist: Worklist, after: timedelta = timedelta(hours=1)) -> dict[str, Gap]:
    return {
        one.accession_number: one.gap for one in worklist.coverage.uncovered(NOW + after, GRACE)
    }


@pytest.mark.peer
@pytest.mark.parametrize("how", ["get", "web"])
def test_what_orthanc_has_and_never_came_is_listed_until_it_comes(tmp_path: Path, how: str) -> None:
    clock = Clock()
    clock.now = NOW
    options = {"Plugins": [WEB], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
    with orthanc(tmp_path / "pacs", DicomAlwaysAllowFind=True, **options) as pacs:
        web = {"url": f"{pacs.url}/dicom-web"}
        dimse = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.port}
        source = Source(name="pacs", how=how, **(web if how == "web" else dimse))  # type: ignore[arg-type]
        settings = settings_with(tmp_path, source)
        with working_node(settings, clock, Predictor()) as node:
            unseen = study(tmp_path, "UNSEEN", "Schädel nativ")
            part, whole = study(tmp_path, "PART", "head"), study(tmp_path, "WHOLE", "head")
            silent, old = (
                study(tmp_path, "SILENT", ""),
                study(tmp_path, "OLD", "head", day="20261101"),
            )
            for data in (*unseen, *part, *whole, *silent, *old, *study(tmp_path, "KNEE", "knee")):
                urlopen(Request(f"{pacs.url}/instances", data=data), timeout=30).close()
            receive_files([*part[:2], *whole], node)
            look(settings, node.worklist.coverage, clock)
            expected = {"UNSEEN": Gap.NEVER_SEEN, "SILENT": Gap.NEVER_SEEN, "PART": Gap.IN_PART}
            assert missed(node.worklist) == expected
            assert set(missed(node.worklist, timedelta()).values()) == {Gap.ON_ITS_WAY}
            receive_files([*unseen, *part[2:], *silent], node)
            assert missed(node.worklist) == {}
            look(settings, node.worklist.coverage, clock)
            assert missed(node.worklist) == {}


# --- an archive that behaves as told -------------------------------------------------------------


@dataclass
class Pacs:
    """What a C-FIND SCP lists, how it fails, and what it was asked."""

    studies: int = 1
    counts: bool = True
    sop_class: str = CTImageStorage
    status: int = 0x0000
    asked: list[str] = field(default_factory=list)
    associations: int = 0
    cancelled: bool = False

    def answers(self, query: Dataset) -> Iterator[Dataset]:
        number = {"STUDY": self.studies, "SERIES": 1, "IMAGE": 4}[query.QueryRetrieveLevel]
        for index in range(number):
            found = Dataset()
            if query.QueryRetrieveLevel == "STUDY":
                found.StudyInstanceUID, found.AccessionNumber = f"1.7.{index}", f"A{index}"
                found.StudyDate, found.StudyTime = "20261120", "110000"
                found.NumberOfStudyRelatedInstances = 9 if self.counts else None
            elif query.QueryRetrieveLevel == "SERIES":
                found.SeriesInstanceUID, found.Modality = f"{query.StudyInstanceUID}.1", "CT"
                found.NumberOfSeriesRelatedInstances = 4 if self.counts else None
            else:
                found.SOPInstanceUID, found.SOPClassUID = f"1.9.{index}", self.sop_class
            yield found


@contextmanager
def serving(pacs: Pacs) -> Iterator[Source]:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        pacs.asked.append(event.identifier.QueryRetrieveLevel)
        if pacs.status:
            yield pacs.status, None
            return
        for answer in pacs.answers(event.identifier):
            if event.is_cancelled:
                pacs.cancelled = True
                yield 0xFE00, None
                return
            yield 0xFF00, answer
            time.sleep(0.001)  # pynetdicom reads a cancellation when nothing waits to be sent

    def count(_: evt.Event) -> None:
        pacs.associations += 1

    ae = AE("PACS")
    ae.add_supported_context(FIND)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_ACCEPTED, count)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        port = server.socket.getsockname()[1]
        yield Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
    finally:
        server.shutdown()


@pytest.fixture
def clock() -> Clock:
    made = Clock()
    made.now = NOW
    return made


@contextmanager
def compared(folder: Path, source: Source, **values: object) -> Iterator[tuple[Settings, Worklist]]:
    settings = settings_with(folder, source, **values)
    settings.data_dir.mkdir()
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        yield settings, worklist


def uncovered(worklist: Worklist) -> list[Uncovered]:
    return worklist.coverage.uncovered(NOW + timedelta(hours=1), GRACE)


def test_a_round_takes_one_association_and_asks_again_only_for_what_changed(
    tmp_path: Path, clock: Clock
) -> None:
    pacs = Pacs(studies=3)
    with serving(pacs) as source, compared(tmp_path, source) as (settings, worklist):
        look(settings, worklist.coverage, clock)
        assert (pacs.associations, pacs.asked) == (1, ["STUDY", *["SERIES"] * 3])
        look(settings, worklist.coverage, clock)
        assert (pacs.associations, pacs.asked[4:]) == (2, ["STUDY"])
        assert len(uncovered(worklist)) == 3


def test_what_the_queries_of_a_round_do_not_reach_is_perhaps_a_head_and_asked_next(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "MOST_QUERIES", 1)
    pacs = Pacs(studies=2)
    with serving(pacs) as source, compared(tmp_path, source) as (settings, worklist):
        look(settings, worklist.coverage, clock)
        assert {one.shows for one in uncovered(worklist)} == {Shows.PERHAPS}
        assert len(uncovered(worklist)) == 2
        look(settings, worklist.coverage, clock)
        assert pacs.asked.count("SERIES") == 2


def test_a_source_with_more_studies_than_the_limit_is_said_to_be_cut_off(
    tmp_path: Path, clock: Clock
) -> None:
    pacs = Pacs(studies=20_000)  # not sent yet when the node has had enough
    with (
        serving(pacs) as source,
        compared(tmp_path, source, most_studies=5) as (settings, worklist),
    ):
        look(settings, worklist.coverage, clock)
        (line,) = worklist.coverage.rounds()
        assert (line.cut_off, line.studies, pacs.cancelled) == (True, 5, True)
        assert line.error is None


def test_objects_that_the_node_does_not_take_are_not_missed(tmp_path: Path, clock: Clock) -> None:
    pacs = Pacs(sop_class=SecondaryCaptureImageStorage)
    with serving(pacs) as source, compared(tmp_path, source) as (settings, worklist):
        look(settings, worklist.coverage, clock)
        assert [one.gap for one in uncovered(worklist)] == [Gap.NEVER_SEEN]
        _receive_one(worklist)
        look(settings, worklist.coverage, clock)
        assert uncovered(worklist) == []


def test_numbers_that_are_not_told_are_counted_once_something_came(
    tmp_path: Path, clock: Clock
) -> None:
    pacs = Pacs(counts=False)
    with serving(pacs) as source, compared(tmp_path, source) as (settings, worklist):
        look(settings, worklist.coverage, clock)
        _receive_one(worklist)
        assert [(one.gap, one.there) for one in uncovered(worklist)] == [(Gap.IN_PART, None)]
        look(settings, worklist.coverage, clock)
        assert [(one.gap, one.there) for one in uncovered(worklist)] == [(Gap.IN_PART, 4)]


def _receive_one(worklist: Worklist) -> None:
    header = Header(CTImageStorage, "1.9.0", "1.7.0", "1.7.0.1", "1.2", ())
    worklist.arrivals.add(header, StoredObject("received/0", "0" * 64, 1), caller="CT1", now=NOW)


def test_the_failure_of_a_source_is_told_and_clears_nothing(tmp_path: Path, clock: Clock) -> None:
    pacs = Pacs()
    with serving(pacs) as source, compared(tmp_path, source) as (settings, worklist):
        look(settings, worklist.coverage, clock)
        pacs.status = 0xA700
        with pytest.raises(Retryable, match="0xA700"):
            look(settings, worklist.coverage, clock)
        (line,) = worklist.coverage.rounds()
        assert line.error is not None and "0xA700" in line.error
        assert [one.gap for one in uncovered(worklist)] == [Gap.NEVER_SEEN]


def test_a_source_out_of_reach_is_told_before_it_ever_answered(
    tmp_path: Path, clock: Clock
) -> None:
    source = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    with compared(tmp_path, source) as (settings, worklist):
        with pytest.raises(Retryable):
            look(settings, worklist.coverage, clock)
        (line,) = worklist.coverage.rounds()
        assert line.answered_at is None and line.error
