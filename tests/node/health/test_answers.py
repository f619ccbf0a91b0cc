"""What a monitoring system is told: metrics, and whether the node lives and can work."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.errors import Outage
from node.health import answering
from node.health.readiness import conditions
from node.outages import Outages
from node.settings import Health, Receive, Settings
from node.worklist import Actor, Process, Worklist
from tests.support.databases import new_database
from tests.support.disks import small_disk
from tests.support.peers import free_port

NOW = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)
ROLES = ("receive", "work", "deliver", "web")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    health = Health(port=free_port())
    return Settings(data_dir=tmp_path, health=health, receive=Receive(min_free_mb=0))


@pytest.fixture
def worklist(settings: Settings) -> Iterator[Worklist]:
    new_database(settings.url)
    with Worklist(settings.url) as found:
        yield found


@pytest.fixture
def asked(settings: Settings, worklist: Worklist) -> Iterator[httpx.Client]:
    address = f"http://127.0.0.1:{settings.health.port}"
    transport = httpx.HTTPTransport(retries=20)
    with (
        answering(settings, worklist, lambda: NOW, threading.Event()),
        httpx.Client(base_url=address, transport=transport) as client,
    ):
        yield client


def run(
    worklist: Worklist, *roles: str, silent: float = 1, ready: bool = True, waits: str = ""
) -> None:
    seen = NOW - timedelta(seconds=silent)
    for role in roles:
        one = Process(f"{role} of one machine", role, seen, seen if ready else None, seen, waits)
        worklist.processes.beat(one)


def test_it_is_ready_when_every_role_runs(asked: httpx.Client, worklist: Worklist) -> None:
    run(worklist, *ROLES)
    answer = asked.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert asked.get("/healthz").text == "ok\n"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"silent": 61}, "NOT work: silent for 61 s"),
        ({"ready": False}, "NOT work: is starting"),
        ({"waits": "no space left on device"}, "NOT work: waits: no space left on device"),
        (None, "NOT work: does not run"),
    ],
)
def test_a_role_that_does_not_run_is_named(
    asked: httpx.Client, worklist: Worklist, how: dict[str, object] | None, said: str
) -> None:
    run(worklist, *(role for role in ROLES if role != "work"))
    if how is not None:
        run(worklist, "work", **how)  # type: ignore[arg-type]
    answer = asked.get("/readyz")
    assert answer.status_code == 503 and said in answer.text.splitlines()
    assert answer.text.count("NOT") == 1


def test_one_worker_that_waits_does_not_stop_the_others(
    asked: httpx.Client, worklist: Worklist
) -> None:
    run(worklist, *ROLES)
    worklist.processes.beat(Process("other", "work", NOW, NOW, NOW, "no space left on device"))
    answer = asked.get("/readyz")
    assert answer.status_code == 200
    assert "ok  work: 1 running, 1 waits: no space left on device" in answer.text.splitlines()


def test_a_pause_is_named_while_the_process_lives(asked: httpx.Client, worklist: Worklist) -> None:
    run(worklist, *ROLES)
    ada = Actor("Ada", "terminal")
    worklist.deliveries.pause(ada, "the PACS of Jane Doe is moved", NOW)
    answer = asked.get("/readyz")
    assert answer.status_code == 503 and "NOT sending: paused since" in answer.text
    assert "Doe" not in answer.text, "an admin's words may name a patient"
    assert asked.get("/healthz").status_code == 200
    worklist.deliveries.resume(ada, NOW)
    assert asked.get("/readyz").status_code == 200


def test_a_web_role_that_cannot_open_the_worklist_lives_and_says_what_it_waits_for(
    settings: Settings,
) -> None:
    met = Outages("web")
    met.met("web", Outage("the worklist database: no connection"))
    with answering(settings, None, lambda: NOW, threading.Event()):
        address = f"http://127.0.0.1:{settings.health.port}"
        with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=20)) as client:
            ready, metrics = client.get("/readyz"), client.get("/metrics")
            assert client.get("/healthz").status_code == 200
    assert ready.status_code == metrics.status_code == 503
    assert "NOT database: waits: the worklist database: no connection" in ready.text
    assert "no connection" in metrics.text
    met.over("web")


@pytest.mark.sqlite
def test_a_full_disk_and_a_database_that_is_away_are_named(
    tmp_path: Path, worklist: Worklist, settings: Settings
) -> None:
    full = settings.model_copy(
        update={"receive": Receive(min_free_mb=1 << 40), "health": Health(port=free_port())}
    )
    worklist.close()
    (tmp_path / "ichnode.sqlite").rename(tmp_path / "away")
    (tmp_path / "ichnode.sqlite").mkdir()
    with answering(full, worklist, lambda: NOW, threading.Event()):
        address = f"http://127.0.0.1:{full.health.port}"
        with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=20)) as client:
            ready, metrics = client.get("/readyz"), client.get("/metrics")
            assert client.get("/healthz").status_code == 200
    assert ready.status_code == metrics.status_code == 503
    assert "NOT database: " in ready.text and "MB are needed" in ready.text
    assert "the worklist database" in metrics.text


def test_a_read_only_disk_is_named(tmp_path: Path, worklist: Worklist, settings: Settings) -> None:
    with small_disk(tmp_path / "disk") as disk:
        elsewhere = settings.model_copy(update={"data_dir": disk.folder})
        disk.forbid_writing()
        found = {one.what: one for one in conditions(elsewhere, worklist, NOW)}
    assert (found["disk"].holds, found["disk"].found) == (
        False,
        "the data folder is on a read-only disk",
    )


def test_metrics_are_read_by_prometheus_own_parser(asked: httpx.Client, worklist: Worklist) -> None:
    run(worklist, "work", silent=7, waits="the disk is full")
    worklist.jobs.ran("send", "the disk is full", NOW)
    since = NOW - timedelta(seconds=90)
    worklist.outbox.not_reached("PACS", "w", "no connection", (10.0, 60.0), since)
    worklist.deliveries.pause(Actor("Ada", "terminal"), "", since)
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(asked.get("/metrics").text)
        for sample in family.samples
    }
    assert found["ichnode_cases", "receiving"] == 0
    assert found["ichnode_studies", "suspected"] == 0
    assert found["ichnode_quarantined",] == 0
    assert found["ichnode_process_silent_seconds", "work of one machine", "work"] == 7
    assert found["ichnode_destination_unreachable_seconds", "PACS"] == 90
    assert found["ichnode_sending_paused_seconds",] == 90
    assert found["ichnode_job_failing", "send"] == 1
    assert found["ichnode_disk_bytes", "free"] > 0
    assert found["ichnode_process_waits", "work of one machine", "work"] == 1
    ready = {"database": 1, "disk": 1, "work": 0, "web": 0, "sending": 0}
    assert {what: found["ichnode_ready", what] for what in ready} == ready


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/metrics"), ("GET", "/a")])
def test_nothing_else_is_answered(asked: httpx.Client, method: str, path: str) -> None:
    assert asked.request(method, path).status_code == 404


def test_a_caller_that_says_nothing_holds_up_no_other(
    asked: httpx.Client, settings: Settings
) -> None:

    asked.get("/healthz")
    with socket.create_connection(("127.0.0.1", settings.health.port)):
        assert asked.get("/healthz", timeout=5).status_code == 200


def test_a_taken_port_is_one_line(
    settings: Settings, worklist: Worklist, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    with (
        answering(settings, worklist, lambda: NOW, stop),
        httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client,
    ):
        client.get(f"http://127.0.0.1:{settings.health.port}/healthz")
        with answering(settings, worklist, lambda: NOW, threading.Event()):
            pass
    assert [r.getMessage() for r in caplog.records] == [
        "metrics cannot listen: Address already in use"
    ]
