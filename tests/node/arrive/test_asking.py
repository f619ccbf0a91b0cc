"""An archive is asked how many images a series has: when, how, and what its failure costs."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from node.announced import Announcement
from node.arrive import asking
from node.arrive.asking import asker, is_time_to_ask
from node.cases.worker import work_once
from node.errors import BadConfiguration
from node.settings import Settings, Source, load
from node.states import Priority, State
from node.worklist import Row, Worklist
from tests.support.builder import HEAD, T0, encoded, series, uid
from tests.support.databases import new_database
from tests.support.peers import free_port, mute_peer, orthanc
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, work

FILES = [encoded(ds) for ds in HEAD.build()]
STUDY, SERIES = uid("study"), uid("study", "head")
WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
GRACE_S, IDLE_S = 2, 60


@dataclass
class Archive:
    """What an archive has, and what it was asked."""

    has: list[str] = field(default_factory=lambda: [CTImageStorage] * 32)
    counts: bool = True
    asked: list[str] = field(default_factory=list)
    status: int = 0x0000
    source: Source = Source(name="pacs", ae_title="PACS", host="127.0.0.1")

    def answers(self, query: Dataset) -> Iterator[Dataset]:
        if query.QueryRetrieveLevel == "SERIES":
            for uid_, count in (("1.8.99", 5), (query.SeriesInstanceUID, len(self.has))):
                found = Dataset()
                found.QueryRetrieveLevel = "SERIES"
                found.StudyInstanceUID, found.SeriesInstanceUID = query.StudyInstanceUID, uid_
                if self.counts:
                    found.NumberOfSeriesRelatedInstances = count
                yield found
            return
        for number, sop_class in enumerate(self.has):
            found = Dataset()
            found.QueryRetrieveLevel = "IMAGE"
            found.SOPInstanceUID, found.SOPClassUID = f"1.9.{number}", sop_class
            yield found


@contextmanager
def dimse(archive: Archive) -> Iterator[Archive]:
    """Run a C-FIND SCP; its source then has the port."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        archive.asked.append(query.QueryRetrieveLevel)
        if archive.status:
            yield archive.status, None
            return
        for answer in archive.answers(query):
            yield 0xFF00, answer

    ae = AE("PACS")
    ae.add_supported_context(FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        port = server.socket.getsockname()[1]
        archive.source = archive.source.model_copy(update={"port": port})
        yield archive
    finally:
        server.shutdown()


@contextmanager
def web(archive: Archive) -> Iterator[Archive]:
    """Run a QIDO-RS server; its source then has the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = Dataset()
            query.StudyInstanceUID, query.SeriesInstanceUID = STUDY, SERIES
            query.QueryRetrieveLevel = "IMAGE" if "/instances" in self.path else "SERIES"
            archive.asked.append(query.QueryRetrieveLevel)
            found = [ds.to_json_dict() for ds in archive.answers(query)]
            body = json.dumps(found).encode()
            self.send_response(500 if archive.status else 200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        archive.source = Source(name="pacs", how="web", url=url)
        yield archive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


WAYS = {"C-FIND": dimse, "QIDO": web}


class Asking:
    """A node whose worker asks a source, and its clock."""

    def __init__(self, worklist: Worklist, settings: Settings, source: Source) -> None:
        self.clock = Clock()
        ask = asker(source, settings, worklist.announcements, self.clock)
        node = WatchedNode.on(worklist, settings, Predictor, self.clock)
        self.node = replace(node, ask=ask)

    def receive(self, count: int = 30, *, released: bool = True) -> None:
        receive_files(FILES[:count], self.node, released=released)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.wait(1)
            while work_once(self.node, "worker"):
                pass

    def row(self) -> Row:
        (found,) = self.node.worklist.views.worklist(self.clock.now)
        return found

    def told(self) -> dict[str, int]:
        (found,) = self.node.worklist.arrivals.study(STUDY)
        return {one.told_by: one.images for one in found.announcements}

    def all_told(self) -> list[Announcement]:
        study = self.node.worklist.arrivals.study(STUDY)
        return [one for series in study for one in series.announcements]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Source], Asking]]:
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        yield lambda source: Asking(worklist, settings, source)


@pytest.mark.parametrize("way", WAYS)
def test_an_archive_that_has_more_keeps_a_released_series_open_and_is_named(
    way: str, opened: Callable[[Source], Asking]
) -> None:
    with WAYS[way](Archive()) as archive:
        node = opened(archive.source)
        node.receive()
        node.wait(20)
        assert node.told() == {f"{way} of pacs": 32}
        assert node.row().state is State.RECEIVING
        assert archive.asked == ["SERIES", "IMAGE"]
        work(node.node, node.clock)
    found = node.row()
    assert found.closed_by == "closed after 60 s without another image"
    said = f"30 of 32 announced images came ({way} of pacs); send the series again, complete"
    assert found.priority is Priority.SUSPECTED and said in found.limitations
    assert archive.asked == ["SERIES", "IMAGE"] * 2


@pytest.mark.parametrize("way", WAYS)
def test_an_archive_that_has_as_many_or_fewer_delays_nothing(
    way: str, opened: Callable[[Source], Asking]
) -> None:
    with WAYS[way](Archive([CTImageStorage] * 30)) as archive:
        node = opened(archive.source)
        node.receive()
        node.wait(GRACE_S)
        assert node.told() == {f"{way} of pacs": 30}
    found = node.row()
    assert "released" in str(found.closed_by) and found.priority is Priority.SUSPECTED
    assert archive.asked == ["SERIES"]


def test_an_archive_that_has_as_many_closes_no_open_association(
    opened: Callable[[Source], Asking],
) -> None:
    """It may be receiving the series itself."""
    with dimse(Archive([CTImageStorage] * 30)) as archive:
        node = opened(archive.source)
        node.receive(released=False)
        node.wait(20)
        assert node.told() == {"C-FIND of pacs": 30}
    assert node.row().state is State.RECEIVING


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("counts", [True, False])
def test_other_objects_of_the_series_are_not_waited_for(
    way: str, counts: bool, opened: Callable[[Source], Asking]
) -> None:
    has = [CTImageStorage] * 30 + [SecondaryCaptureImageStorage] * 2
    with WAYS[way](Archive(has, counts)) as archive:
        node = opened(archive.source)
        node.receive()
        node.wait(GRACE_S)
        assert node.told() == {f"{way} of pacs": 30}
    assert archive.asked == ["SERIES", "IMAGE"]


def test_a_further_image_makes_the_question_new(opened: Callable[[Source], Asking]) -> None:
    with dimse(Archive()) as archive:
        node = opened(archive.source)
        node.receive(28)
        node.wait(10)
        node.receive(30)
        node.wait(10)
        assert archive.asked == ["SERIES", "IMAGE"] * 2
        archive.has = [CTImageStorage] * 30
        node.wait(60)
    assert node.told() == {"C-FIND of pacs": 30}
    assert not any("announced" in text for text in node.row().limitations)


@contextmanager
def refusing(archive: Archive) -> Iterator[Archive]:
    archive.status = 0xC001
    with dimse(archive):
        yield archive


@contextmanager
def web_failing(archive: Archive) -> Iterator[Archive]:
    archive.status = 0xC001
    with web(archive):
        yield archive


@contextmanager
def nobody(archive: Archive) -> Iterator[Archive]:
    archive.source = archive.source.model_copy(update={"port": free_port()})
    yield archive


@contextmanager
def mute(archive: Archive) -> Iterator[Archive]:
    with mute_peer() as peer:
        archive.source = archive.source.model_copy(update={"port": peer.port})
        yield archive


@contextmanager
def endless(archive: Archive) -> Iterator[Archive]:
    """It answers slowly, with one series after the other."""
    ended = threading.Event()

    def answers(_query: Dataset) -> Iterator[Dataset]:
        for number in range(500):
            if ended.wait(0.05):
                return
            found = Dataset()
            found.QueryRetrieveLevel = "SERIES"
            found.SeriesInstanceUID = f"1.8.{number}"
            yield found

    archive.answers = answers  # type: ignore[method-assign]
    with dimse(archive):
        try:
            yield archive
        finally:
            ended.set()


FAULTS = {
    "never ends": endless,
    "refuses": refusing,
    "answers 500": web_failing,
    "is down": nobody,
    "is mute": mute,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_archive_that_fails_changes_nothing_and_is_logged_once(
    fault: str,
    opened: Callable[[Source], Asking],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "ANSWER_S", 1.0)
    with FAULTS[fault](Archive()) as archive:
        node = opened(archive.source)
        node.receive()
        node.wait(GRACE_S)
        assert "released" in str(node.row().closed_by)
        receive_files([encoded(ds) for ds in HEAD(name="second").build()[:9]], node.node)
        node.wait(70)
    assert node.all_told() == []
    failures = [r for r in caplog.records if getattr(r, "event", {}).get("action") == "ask_failed"]
    assert len(failures) == 1 and failures[0].levelno == logging.WARNING
    assert all(word not in failures[0].getMessage() for word in (STUDY, SERIES))


QUIET, IDLE = T0 + timedelta(seconds=GRACE_S), T0 + timedelta(seconds=IDLE_S)
SECOND = timedelta(seconds=1)
MOMENTS = {
    "while images come": (None, QUIET - SECOND, False),
    "once it is quiet": (None, QUIET, True),
    "asked already": (QUIET, QUIET + SECOND, False),
    "asked before the last image": (T0 - SECOND, QUIET, True),
    "when the idle timer ends": (QUIET, IDLE, True),
    "asked twice": (IDLE, IDLE + SECOND, False),
    "never asked, and long over": (None, IDLE + SECOND, True),
}


@pytest.mark.parametrize(("asked", "now", "due"), MOMENTS.values(), ids=MOMENTS)
def test_it_is_asked_once_after_the_grace_and_once_before_the_idle_close(
    asked: object, now: object, due: bool
) -> None:
    told = () if asked is None else (Announcement(3, "C-FIND of pacs", asked),)  # type: ignore[arg-type]
    others = (Announcement(3, "QIDO of elsewhere", IDLE),)
    received = replace(series(HEAD), announcements=(*told, *others))
    settings = Settings().assemble
    assert is_time_to_ask(received, "C-FIND of pacs", settings, now) is due  # type: ignore[arg-type]


def test_only_a_configured_source_can_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "ichnode.toml"
    path.write_text('[assemble]\nask = "archive"\n')
    with pytest.raises(BadConfiguration, match="assemble.ask: 'archive' is none of pull.sources"):
        load(path)
    source = 'name = "archive"\nae_title = "PACS"\nhost = "192.0.2.1"\n'
    path.write_text(f'[assemble]\nask = "archive"\n[[pull.sources]]\n{source}')
    assert load(path).assemble.ask == "archive"


@pytest.mark.peer
def test_orthanc_tells_by_either_way(tmp_path: Path, opened: Callable[[Source], Asking]) -> None:
    with orthanc(
        tmp_path / "pacs",
        Plugins=[WEB],
        DicomWeb={"Enable": True, "Root": "/dicom-web/"},
        DicomAlwaysAllowFind=True,
    ) as pacs:
        for data in FILES[:28]:
            urlopen(Request(f"{pacs.url}/instances", data=data), timeout=30).close()
        for how, told_by in (("get", "C-FIND of pacs"), ("web", "QIDO of pacs")):
            source = Source(
                name="pacs",
                how=how,  # type: ignore[arg-type]
                ae_title="ORTHANC",
                host="127.0.0.1",
                port=pacs.port,
                url=f"{pacs.url}/dicom-web",
            )
            node = opened(source)
            if how == "get":
                node.receive(20)
            node.clock.wait(10)
            (found,) = node.node.worklist.arrivals.study(STUDY)
            assert node.node.ask(found)
            assert node.told()[told_by] == 28
