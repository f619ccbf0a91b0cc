"""The supervisor: what dies is started again, and what it started ends with it."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from node.cases.pipeline import Node
from node.cli import app
from node.clock import utc_now
from node.errors import Outage
from node.folder_lock import holder, locked
from node.in_force import InForce
from node.roles import run_role
from node.settings import Assemble, Health, Pull, Receive, Settings, Source, Web
from node.worklist import Actor, Bundle, Released, Worklist
from tests.support.builder import HEAD, T0, encoded, received
from tests.support.databases import new_database
from tests.support.disks import small_disk
from tests.support.peers import free_port, listening, wait_until
from tests.support.running import RunningNode, receiving, roles, running_node

pytestmark = pytest.mark.slow

YEARS = timedelta(days=3650)


def settings() -> str:
    """A node without a reader, so that its worker dies at once, again and again."""
    return f"""{receiving()}
[triage]
bundle = "/nowhere"
[web]
port = {free_port()}
[health]
port = {free_port()}
"""


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that each test leaves as it was."""
    with running_node(tmp_path_factory.mktemp("standing"), settings()) as node:
        yield node


def test_role_that_dies_is_started_again_while_the_others_go_on(tmp_path: Path) -> None:
    with running_node(tmp_path, settings()) as node:
        node.wait_until_listening()
        before = roles(node)
        os.kill(before["receive"], signal.SIGKILL)
        wait_until(lambda: roles(node).get("receive") not in (None, before["receive"]), 30)
        node.wait_until_listening()
        assert roles(node)["deliver"] == before["deliver"]


@pytest.mark.parametrize("named", ["archive", ""])
def test_the_worker_asks_the_source_that_is_named(
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes: list[Node] = []
    stop = threading.Event()

    def work(node: Node, *_: object) -> None:
        nodes.append(node)
        stop.set()

    monkeypatch.setattr("node.cases.worker.work", work)
    monkeypatch.setattr("node.cases.detector.load_detector", lambda _: None)
    source = Source(name="archive", ae_title="PACS", host="127.0.0.1", port=free_port())
    chosen = Settings(data_dir=tmp_path, assemble=Assemble(ask=named), pull=Pull(sources=(source,)))
    new_database(chosen.url)
    run_role("work", InForce(None, chosen), stop)
    (node,) = nodes
    long_ago = replace(received([encoded(HEAD.build()[0])]), last_received_at=T0 - YEARS)
    assert node.ask(long_ago) is False
    failed = [r for r in caplog.records if r.name == "node.arrive.asking"]
    assert len(failed) == bool(named)
    with Worklist(chosen.url) as worklist:
        noted = [(row.what, row.about) for row in worklist.audit.entries()]
    about = f"work, process {os.getpid()}"
    assert noted == [("STARTED", about), ("STOPPED", about)]


def test_a_reload_starts_the_shadow_and_another_ends_it_while_the_others_go_on(
    standing: RunningNode,
) -> None:
    node = standing
    node.wait_until_listening()
    before = roles(node)
    assert "shadow" not in before
    plain, said = node.config.read_text(), len(node.log.read_text())
    node.config.write_text(f'{plain}[shadow]\non = true\nbundle = "/nowhere"\n')
    os.kill(node.pid, signal.SIGHUP)
    wait_until(lambda: "/nowhere is no folder" in node.log.read_text()[said:], 60)
    wait_until(lambda: "shadow" in roles(node), 60)
    wait_until(lambda: "nothing is read in shadow" in node.log.read_text()[said:], 120)
    node.config.write_text(plain)
    os.kill(node.pid, signal.SIGHUP)
    wait_until(lambda: "shadow" not in roles(node), 60)
    assert roles(node)["receive"] == before["receive"]


def test_a_promoted_bundle_that_is_gone_is_named_in_the_log_and_a_rollback_goes_on(
    tmp_path: Path,
) -> None:
    with running_node(tmp_path, settings()) as node, Worklist(node.settings.url) as worklist:
        gone = Bundle(str(tmp_path / "gone"), "ich-next", "2", "0" * 64)
        was = Bundle("/nowhere", "ich-old", "1", "1" * 64)
        by, now = Actor("Dr. A", "terminal"), utc_now()
        decide = worklist.releases.decide
        decide(Released.PROMOTED, gone, was, by, "better", now, after=None)
        wait_until(lambda: "ich-next@2, in force since" in node.log.read_text(), 120)
        line = next(line for line in node.log.read_text().splitlines() if "ich-next@2" in line)
        assert "by Dr. A" in line and "`ichnode shadow rollback`" in line
        newest = worklist.releases.newest()
        decide(*(Released.ROLLED_BACK, was, gone, by, "", now), by_settings=True, after=newest)
        said = len(node.log.read_text())
        wait_until(lambda: "/nowhere is no bundle" in node.log.read_text()[said:], 120)
        assert "receive" in roles(node)


def test_damaged_installation_is_named_in_the_log_and_is_not_ready(standing: RunningNode) -> None:
    node = standing
    wait_until(lambda: "/nowhere is no bundle" in node.log.read_text(), 60)
    node.wait_until_listening()
    wait_until(lambda: listening(node.settings.health.port), 60)
    asked = httpx.get(f"http://127.0.0.1:{node.settings.health.port}/readyz", timeout=30)
    modes = {
        path.relative_to(node.settings.data_dir).as_posix(): path.stat().st_mode & 0o077
        for path in (node.settings.data_dir, *node.settings.data_dir.rglob("*"))
        if not path.name.startswith("ichnode.sqlite")  # made by this test, or as it is
    }
    assert asked.status_code == 503 and "NOT work" in asked.text
    assert "ok  receive: 1 running" in asked.text.splitlines()
    assert len(modes) > 3 and not any(modes.values()), "what the node writes is its own alone"


def test_roles_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with running_node(tmp_path, settings()) as node:
        node.wait_until_listening()
        os.kill(node.pid, signal.SIGKILL)
        wait_until(lambda: not roles(node), 30)
        assert not listening(node.settings.receive.port)


def test_told_to_stop_the_node_stops_with_status_0(tmp_path: Path) -> None:
    with running_node(tmp_path, settings()) as node:
        node.wait_until_listening()
        assert node.stop() == 0
        assert not roles(node)


def second(config: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run another `ichnode` with these settings to its end."""
    command = [sys.executable, "-m", "node.cli", *words, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_second_supervisor_of_a_folder_is_refused_and_names_the_first(
    standing: RunningNode, tmp_path: Path
) -> None:
    node = standing
    node.wait_until_listening()
    other = tmp_path / "other.toml"  # other ports, the same folder
    other.write_text(f'data_dir = "{node.settings.data_dir}"\n{settings()}')
    for config in (node.config, other):
        refused = second(config, "serve")
        assert refused.returncode == 2
        words = f"another ichnode serve (process {node.pid}) uses {node.settings.data_dir}"
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
    assert "receive" in roles(node)


def test_commands_and_single_roles_go_beside_a_running_node(standing: RunningNode) -> None:
    node = standing
    node.wait_until_listening()
    beside = subprocess.Popen(
        [sys.executable, "-m", "node.cli", "serve", "--role", "deliver"],
        env={**os.environ, "ICHNODE_DATA_DIR": str(node.settings.data_dir)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert beside.stderr is not None
    assert any("started" in line for line in beside.stderr)
    beside.terminate()
    assert beside.wait(30) == 0
    beside.stderr.close()
    assert second(node.config, "worklist").returncode == 0
    said = second(node.config, "doctor").stdout
    assert f"process {node.pid} uses" in " ".join(said.split())


def test_second_receiver_on_a_port_ends_with_one_line_and_status_2(standing: RunningNode) -> None:
    node = standing
    node.wait_until_listening()
    refused = second(node.config, "serve", "--role", "receive")
    assert refused.returncode == 2
    assert f"cannot listen on 127.0.0.1:{node.settings.receive.port}: Address" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("section", ["receive", "web"])
def test_node_whose_port_is_in_use_does_not_start(
    tmp_path: Path, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.serve.PORTS_S", 0.5)
    config = tmp_path / "ichnode.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            f'data_dir = "{tmp_path / "data"}"\n[{section}]\nhost = "127.0.0.1"\nport = {port}\n'
        )
        refused = CliRunner().invoke(app, ["serve", "--config", str(config)])
    assert refused.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused.output
    assert f"{section}.port" in refused.output
    assert holder(tmp_path / "data") is None


def test_node_whose_certificate_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    (tmp_path / "node.pem").write_text("no certificate")
    tls = f'certificate = "{tmp_path}/node.pem"\nkey = "{tmp_path}/node.pem"\n'
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n[receive.tls]\n{tls}')
    refused = CliRunner().invoke(app, ["serve", "--config", str(config)])
    assert (refused.exit_code, "receive.tls: certificate" in refused.output) == (2, True)


def test_node_starts_at_once_after_its_supervisor_was_killed(tmp_path: Path) -> None:
    with running_node(tmp_path, settings()) as node:
        node.wait_until_listening()
        os.kill(node.pid, signal.SIGKILL)
        assert node.stop() == -signal.SIGKILL
        node.start()
        wait_until(lambda: holder(node.settings.data_dir) == str(node.pid), 30)
        wait_until(lambda: "receive" in roles(node) and listening(node.settings.receive.port), 60)


def test_lock_is_of_one_folder_and_ends_with_its_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "a") is None
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        assert holder(tmp_path / "a") == str(os.getpid())
    assert holder(tmp_path / "a") is None
    with locked(tmp_path / "a"):
        assert holder(tmp_path / "a") == str(os.getpid())


def test_data_folder_that_is_a_file_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    config = tmp_path / "ichnode.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n')
    refused = CliRunner().invoke(app, ["serve", "--config", str(config)])
    assert (refused.exit_code, "data_dir: " in refused.output) == (2, True)


def test_a_role_that_starts_in_an_outage_waits_until_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("node.outages.AGAIN_S", 0.05)
    stop = threading.Event()
    with small_disk(tmp_path / "data") as disk:
        chosen = Settings(data_dir=tmp_path / "data", receive=Receive(port=free_port()))
        new_database(chosen.url)
        disk.forbid_writing()
        role = threading.Thread(target=run_role, args=("receive", InForce(None, chosen), stop))
        role.start()
        try:
            wait_until(lambda: actions(caplog).count("role_waits") == 1)
            disk.allow_writing()
            wait_until(lambda: listening(chosen.receive.port))
        finally:
            stop.set()
            role.join()
    assert [one for one in actions(caplog) if "wait" in one] == ["role_waits"]


def test_a_role_that_meets_an_outage_says_what_it_waits_for_while_the_database_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.outages.AGAIN_S", 0.5)
    monkeypatch.setattr("node.health.heartbeat.BEAT_S", 0.05)
    full, stop, works = threading.Event(), threading.Event(), threading.Event()
    full.set()

    def load_detector(_: Settings) -> None:
        if full.is_set():
            raise Outage("No space left on device")

    def work(_: Node, __: str, turn: threading.Event, *___: object) -> None:
        works.set()
        turn.wait()

    monkeypatch.setattr("node.cases.detector.load_detector", load_detector)
    monkeypatch.setattr("node.cases.worker.work", work)
    chosen = Settings(data_dir=tmp_path)
    new_database(chosen.url)
    role = threading.Thread(target=run_role, args=("work", InForce(None, chosen), stop))
    role.start()
    try:
        with Worklist(chosen.url) as worklist:

            def waits() -> list[str]:
                return [one.waits for one in worklist.processes.listed()]

            wait_until(lambda: waits() == ["No space left on device"])
            full.clear()
            wait_until(works.is_set)
            wait_until(lambda: waits() == [""])
    finally:
        full.clear()
        stop.set()
        role.join()


@pytest.mark.sqlite
def test_a_web_role_that_starts_without_its_database_lives_and_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.outages.AGAIN_S", 0.05)
    stop = threading.Event()
    chosen = Settings(data_dir=tmp_path, web=Web(port=free_port()), health=Health(port=free_port()))
    new_database(chosen.url)
    database = tmp_path / "ichnode.sqlite"
    database.rename(tmp_path / "away")
    database.mkdir()
    address = f"http://127.0.0.1:{chosen.health.port}"
    role = threading.Thread(target=run_role, args=("web", InForce(None, chosen), stop))
    role.start()
    try:
        with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=20)) as client:
            assert client.get("/healthz").status_code == 200
            answer = client.get("/readyz")
            assert answer.status_code == 503 and "NOT database: waits: " in answer.text
            database.rmdir()
            (tmp_path / "away").rename(database)
            wait_until(lambda: listening(chosen.web.port))
            wait_until(lambda: "ok  web: 1 running" in client.get("/readyz").text)
    finally:
        stop.set()
        role.join()


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", {}).get("action", "") for record in caplog.records]
