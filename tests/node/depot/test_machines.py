"""Receive, work, deliver and web on machines of their own: one PostgreSQL, one bucket, no folder
in common. And the object store goes away at each step."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from models.findings import Findings
from models.volume import Volume
from node import outages
from node.arrive.catalogue import Catalogue
from node.arrive.spool import StoredBytes
from node.arrive.storage_scp import Receiver
from node.arrive.vouched import vouched
from node.cases.worker import work
from node.cli import doctor
from node.cli.inspecting import inspected
from node.deliver import deliver
from node.depot import depot_of
from node.depot.remote import RemoteDepot
from node.dicom.net.store_scu import send_files
from node.dicom.read.header import read_header
from node.dicom.read.pixels import load_volume
from node.health.readiness import conditions
from node.jobs.tidying import Tidying
from node.settings import Assemble, Deliver, Destination, Receive, Retention, Rule, Settings, Work
from node.states import State
from node.web import Pictures, app
from node.worklist import Row, Worklist
from tests.support.builder import HEAD, encoded
from tests.support.databases import new_database
from tests.support.listeners import ack, mllp_peer
from tests.support.object_store import ObjectStore
from tests.support.peers import peer, storescp, wait_until
from tests.support.postgresql import running_cluster
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor

pytestmark = pytest.mark.peer


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "AGAIN_S", 0.1)


class Calm(Predictor):
    """Finds nothing."""

    def state_findings(self, volume: Volume, *_: object) -> Findings:
        return super().state_findings(replace(volume, hu=volume.hu * 0))


@dataclass
class Site:
    """A node on four machines."""

    folder: Path
    store: ObjectStore
    database_url: str
    destination: Destination
    worklist: Worklist
    clock: Clock
    predictor: Predictor
    told: tuple[Destination, ...] = ()

    def settings(self, machine: str) -> Settings:
        destinations = (self.destination, *self.told)
        return Settings(
            data_dir=self.folder / machine,
            database_url=self.database_url,
            storage=self.store.storage(),
            receive=Receive(host="127.0.0.1", port=0, min_free_mb=0),
            assemble=Assemble(prior_after_days=0),
            work=Work(poll_s=0.01),
            deliver=Deliver(timeout_s=5.0, retry_s=0.5, destinations=destinations),
        )

    def send(self, files: Sequence[Path]) -> list[int | None]:
        """Send files to the machine that receives; return the status of each."""
        settings = self.settings("receive")
        settings.data_dir.mkdir(exist_ok=True)
        handles = (self.worklist.arrivals, self.worklist.announcements)
        with Receiver(settings, *handles, self.clock) as receiver:
            to = peer("ICHNODE", receiver.port)
            return [sent.status for sent in send_files(files, to, settings)]

    @contextmanager
    def working(self) -> Iterator[None]:
        settings = self.settings("work")
        settings.data_dir.mkdir(exist_ok=True)
        node = WatchedNode.on(self.worklist, settings, lambda: self.predictor, self.clock)
        with running(lambda stop: work(node, "worker", stop)):
            yield

    @contextmanager
    def delivering(self) -> Iterator[None]:
        settings = self.settings("deliver")
        settings.data_dir.mkdir(exist_ok=True)
        with running(lambda stop: deliver(settings, self.worklist.outbox, self.clock, stop)):
            yield

    def page(self) -> TestClient:
        settings = self.settings("web")
        pictures = Pictures(depot_of(settings), load_volume, load_volume, 64)
        served = app(self.worklist, settings, pictures, self.clock)
        browser = ("127.0.0.1", 50000)
        return TestClient(served, base_url="http://localhost", client=browser)

    @property
    def rows(self) -> list[Row]:
        return self.worklist.views.worklist(self.clock())

    def standing(self) -> list[tuple[State, int, int]]:
        """Where each case stands, its attempts and its interruptions."""
        found = [self.worklist.cases.get(row.case_id) for row in self.rows]
        return [(one.state, one.attempts, one.interruptions) for one in found]

    def stands(self, state: State, cases: int = 1) -> None:
        """Wait until each case stands there, without a stage that failed."""
        wait_until(lambda: self.standing() == [(state, 0, 0)] * cases, 60)

    def arrived(self) -> list[str]:
        """The SOP Instance UID of each object that the destination got."""
        files = (self.folder / "pacs").iterdir()
        return sorted(read_header(one).sop_instance_uid for one in files)

    def owed(self) -> list[tuple[str, int]]:
        return [(line.status, line.attempts) for row in self.rows for line in row.deliveries]


@contextmanager
def running(role: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=role, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def site(store: ObjectStore, tmp_path: Path, clock: Clock, predictor: Predictor) -> Iterator[Site]:
    with running_cluster() as cluster, storescp(tmp_path / "pacs") as destination:
        new_database(cluster.url)
        with Worklist(cluster.url) as worklist:
            yield Site(tmp_path, store, cluster.url, destination, worklist, clock, predictor)
            store.way.cut()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def predictor() -> Predictor:
    return Predictor()


@pytest.fixture
def head(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "scanner"
    folder.mkdir()
    files = []
    for number, ds in enumerate(HEAD.build()):
        files.append(folder / f"{number}.dcm")
        files[-1].write_bytes(encoded(ds))
    return files


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of roles that wait and go on."""
    actions = [getattr(record, "event", {}).get("action", "") for record in caplog.records]
    return [one for one in actions if one.startswith("role_")]


def test_a_study_goes_its_way_over_four_machines(site: Site, head: list[Path]) -> None:
    assert set(site.send(head)) == {0}
    site.clock.wait(120)
    with site.working(), site.delivering():
        site.stands(State.DELIVERED)
    (row,) = site.rows
    assert len(site.arrived()) == len(row.deliveries) >= 3
    page = site.page()
    case = row.case_id
    assert page.get(f"/cases/{case}/slices/3.png").headers["content-type"] == "image/png"
    assert page.get(f"/cases/{case}/key.jpg").headers["content-type"] == "image/jpeg"
    assert page.get(f"/cases/{case}/capture.png").status_code == 200
    assert page.get(f"/studies/{case}").status_code == 200
    for machine in ("receive", "work", "deliver", "web"):
        assert {one.name for one in (site.folder / machine).iterdir()} == {"copies"}


def test_the_archive_finds_every_object_at_a_machine_that_has_none(
    site: Site, head: list[Path]
) -> None:
    site.send(head)
    site.clock.wait(120)
    with site.working():
        site.stands(State.REPORTED)
    depot, archive = depot_of(site.settings("web")), site.worklist.archive
    Catalogue(archive, depot).require_current(within_s=60)
    found = archive.stored([site.rows[0].study_instance_uid])
    assert len(found) == len(head) + len(site.owed())
    bytes_here = StoredBytes(depot)
    assert vouched(found, archive, bytes_here) == found
    assert {bytes_here.altered(one.path, one.sha256) for one in found} == {None}


def test_a_message_is_sent_once_by_another_machine_though_the_store_goes_away(
    site: Site,
    head: list[Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING)
    keep, cuts = RemoteDepot.keep, iter([site.store.way.cut])

    def keep_or_cut(self: RemoteDepot, path: str, source: Path | None = None) -> None:
        if "/messages/" in path:
            next(cuts, lambda: None)()
        keep(self, path, source)

    monkeypatch.setattr(RemoteDepot, "keep", keep_or_cut)
    with mllp_peer(ack("AA")) as ris:
        site.told = (Destination(name="ris", how="hl7", host="127.0.0.1", port=ris.port),)
        site.send(head)
        site.clock.wait(120)
        with site.working(), site.delivering():
            wait_until(lambda: "role_waits" in said(caplog), 60)
            site.store.way.mend()
            site.stands(State.DELIVERED)
            wait_until(lambda: ris.messages, 60)
        assert len(ris.messages) == 1


def test_a_store_that_is_away_has_senders_try_again(site: Site, head: list[Path]) -> None:
    assert set(site.send(head[:4])) == {0}
    site.store.way.cut()
    assert set(site.send(head)) == {0xA700}
    site.store.way.mend()
    assert set(site.send(head)) == {0}
    (series,) = site.worklist.arrivals.study(site.rows[0].study_instance_uid)
    assert len(series.instances) == len(site.store.inside.keys("received")) == len(head)


@pytest.mark.parametrize("step", ["before the stage", "in the stage", "before its end is kept"])
def test_a_store_that_is_away_costs_no_case_an_attempt(
    step: str,
    site: Site,
    head: list[Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING)
    site.send(head)
    site.clock.wait(120)
    cut_at(step, site, monkeypatch)
    with site.working():
        wait_until(lambda: "role_waits" in said(caplog), 60)
        assert all(counted == [0, 0] for _, *counted in site.standing())
        site.store.way.mend()
        site.stands(State.REPORTED)
    assert said(caplog) == ["role_waits", "role_goes_on"]


def cut_at(step: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the way to the store cut once, at a step of the work."""
    if step == "before the stage":
        site.store.way.cut()
        return
    name = "preprocess" if step == "in the stage" else "state_findings"
    whole = getattr(site.predictor, name)
    times: list[None] = []

    def cutting(*args: object) -> object:
        if not times:
            times.append(None)
            site.store.way.cut()
        return whole(*args)

    monkeypatch.setattr(site.predictor, name, cutting)


def test_a_store_that_is_away_costs_no_delivery_an_attempt(
    site: Site, head: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    site.send(head)
    site.clock.wait(120)
    with site.working():
        site.stands(State.REPORTED)
    site.store.way.cut()
    with site.delivering():
        wait_until(lambda: "role_waits" in said(caplog), 60)
        site.clock.wait(3600)
        assert {attempts for _, attempts in site.owed()} == {0}
        site.store.way.mend()
        site.stands(State.DELIVERED)
    assert len(site.arrived()) == len(set(site.arrived())) == len(site.owed())
    assert said(caplog) == ["role_waits", "role_goes_on"]


def test_the_page_says_that_it_cannot_show_now(site: Site, head: list[Path]) -> None:
    site.send(head)
    site.clock.wait(120)
    with site.working():
        site.stands(State.REPORTED)
    address = f"/cases/{site.rows[0].case_id}/slices/3.png"
    page = site.page()
    site.store.way.cut()
    assert page.get(address).status_code == 503
    site.store.way.mend()
    assert page.get(address).status_code == 200


def test_doctor_and_readiness_name_a_store_that_is_away(site: Site) -> None:
    settings = site.settings("web")

    def found() -> tuple[str, bool]:
        (check,) = doctor.check_storage(settings)
        ready = conditions(settings, site.worklist, site.clock())
        return check.verdict, {one.what: one.holds for one in ready}["object store"]

    assert found() == ("ok", True)
    site.store.way.cut()
    assert found() == ("bad", False)
    site.store.way.mend()
    assert found() == ("ok", True)


def test_what_is_purged_by_one_machine_is_gone_from_the_store(site: Site, head: list[Path]) -> None:
    site.predictor = Calm()
    site.send(head)
    site.clock.wait(120)
    with site.working(), site.delivering():
        site.stands(State.DELIVERED)
    everything = Retention(rules=(Rule(remove="all", after_days=1),))
    settings = site.settings("deliver").model_copy(update={"retention": everything})
    site.clock.wait(400 * 86400)
    assert Tidying(settings, site.worklist.retention, site.clock, lambda: 0).by_rules() == 1
    assert site.store.inside.keys("received") == []
    assert site.store.inside.keys("cases") == []
    page = site.page()
    assert page.get(f"/cases/{site.rows[0].case_id}/capture.png").status_code == 404


def test_a_check_of_all_files_asks_the_store(site: Site, head: list[Path]) -> None:
    site.send(head)
    depot = depot_of(site.settings("web"))
    assert inspected(site.worklist, depot)[0] is False
    site.store.inside.delete(site.store.inside.keys("received")[:1])
    found, lines = inspected(site.worklist, depot)
    assert found is True
    assert any("received/" in line for line in lines)


def test_images_that_are_damaged_in_the_store_are_never_cleared(
    site: Site, head: list[Path]
) -> None:
    site.send(head)
    for key in site.store.inside.keys("received"):
        site.store.inside.put(key, b"other bytes")
    site.clock.wait(120)
    with site.working():
        wait_until(lambda: site.rows[0].state in (State.REPORTED, State.FAILED), 60)
    assert site.rows[0].reason
    assert site.rows[0].priority in ("NOT_ANALYSED", "FAILED")
