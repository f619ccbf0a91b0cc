"""Settings that come into force while the node runs, and what goes on meanwhile."""

import logging
import os
import pty
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from typer.testing import CliRunner

from node.cli import app
from node.dicom.net.association import contexts_archive
from node.dicom.net.store_scu import Sent, send_files
from node.in_force import InForce
from node.settings import Receive, Settings, load
from tests.support.peers import ct_series, free_port, peer, wait_until
from tests.support.running import RunningNode, roles, running_node

WHOLE = 20
"""Slices of a series that is complete when its association is released."""
CALLERS = '[receive]\nallowed_callers = ["CT1@127.0.0.1"]\n'


class File:
    """A settings file that changes, what is in force of it, and what took that."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        path.write_text(text)
        self.in_force = InForce(path, load(path))

    def becomes(self, text: str) -> Settings:
        self.path.write_text(text)
        self.in_force.reload()
        return self.in_force()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "node.in_force"]


def test_callers_come_into_force_and_a_port_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = File(tmp_path / "ichnode.toml", CALLERS)
    read = file.becomes('[receive]\nport = 11113\nallowed_callers = ["CT2@127.0.0.1"]\n')
    assert (read.receive.allowed_callers, read.receive.port) == (("CT2@127.0.0.1",), 11112)
    events = [getattr(record, "event", {}) for record in caplog.records]
    assert {"action": "reloaded", "changed": "receive.allowed_callers"} in events
    assert {"action": "awaits_restart", "settings": "receive.port"} in events


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[receive", "Expected"),
        ("[receive]\nport = 70000", r"receive.port"),
        ('[receive]\ninsecure = true\nallowed_callers = ["CT2@ct2.local"]', "CT2@ct2.local"),
        (
            '[receive]\nallowed_callers = ["CT2"]\ntls = {certificate = "a", key = "b"}',
            "in force only after a restart: receive: .*in clear",
        ),
    ],
)
def test_a_faulty_file_is_said_in_a_line_and_changes_nothing(
    text: str, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = File(tmp_path / "ichnode.toml", CALLERS)
    before, turn = file.in_force(), file.in_force.turn(threading.Event())
    taken: list[Settings] = []
    with file.in_force.telling(taken.append):
        assert file.becomes(text) is before
    assert (taken, turn.is_set()) == ([before], False)
    (line,) = said(caplog)
    assert "\n" not in line
    assert re.search(says, line), line


def test_a_secret_that_the_process_does_not_have_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = File(tmp_path / "ichnode.toml", CALLERS)
    hook = 'webhook = {url = "https://hooks.example/x", secret_variable = "NO_SUCH_VARIABLE"}'
    text = f'{CALLERS}[[deliver.destinations]]\nname = "hook"\nhow = "webhook"\n{hook}\n'
    assert file.becomes(text).deliver.destinations
    assert sum("NO_SUCH_VARIABLE is not set" in line for line in said(caplog)) == 1
    file.becomes(text)
    assert sum("NO_SUCH_VARIABLE is not set" in line for line in said(caplog)) == 1, "said once"


def test_a_turn_ends_with_a_reload_and_with_the_node(tmp_path: Path) -> None:
    file, stop = File(tmp_path / "ichnode.toml", CALLERS), threading.Event()
    first = file.in_force.turn(stop)
    assert not first.wait(0.01)
    file.becomes(CALLERS)
    second = file.in_force.turn(stop)
    assert (first.wait(), second.is_set()) == (True, False)
    stop.set()
    assert second.wait()


def test_who_takes_settings_is_told_until_it_ends(tmp_path: Path) -> None:
    file, taken = File(tmp_path / "ichnode.toml", CALLERS), []
    with file.in_force.telling(lambda one: taken.append(one.receive.allowed_callers)):
        file.becomes("")
    file.becomes(CALLERS)
    assert taken == [("CT1@127.0.0.1",), ()]


def test_nobody_can_be_asked_to_reload_where_no_node_runs(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n')
    refused = CliRunner().invoke(app, ["reload", "--config", str(config)])
    assert refused.exit_code == 2 and "no `ichnode serve` runs all roles" in refused.output


SERVER = """
from node.in_force import InForce
from node.serve import reload_on_signal, stop_on_signal
from node.settings import Settings
stop = stop_on_signal()
reload_on_signal(InForce(None, Settings()), stop)
print("ready", flush=True)
while not stop.wait(0.1):
    pass
"""


def test_a_node_ends_with_its_terminal() -> None:
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-c", SERVER])
    with os.fdopen(terminal, "rb", buffering=0) as line:
        assert b"ready" in line.read(100)
        os.kill(child, signal.SIGHUP)  # the terminal is there: a reload
        time.sleep(0.5)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# A whole node


class Archive:
    """A peer that notes the SOP Instance UID of every C-STORE."""

    def __init__(self, name: str, port: int) -> None:
        self.got: Counter[str] = Counter()
        self.toml = f"""
[[deliver.destinations]]
name = "{name}"
ae_title = "{name}"
host = "127.0.0.1"
port = {port}
"""

    def take(self, event: evt.Event) -> int:
        self.got[str(event.request.AffectedSOPInstanceUID)] += 1
        return 0x0000


@contextmanager
def archive(name: str) -> Iterator[Archive]:
    port = free_port()
    one, ae = Archive(name, port), AE(name)
    handlers = [(evt.EVT_C_STORE, one.take)]
    contexts = contexts_archive()
    ae.start_server(("127.0.0.1", port), block=False, contexts=contexts, evt_handlers=handlers)
    try:
        yield one
    finally:
        ae.shutdown()


def toml(ports: tuple[int, int, int], callers: str, destinations: str) -> str:
    return f"""
[receive]
host = "127.0.0.1"
port = {ports[0]}
min_free_mb = 64
allowed_callers = {callers}
[assemble]
grace_s = 0.1
prior_after_days = 0
[web]
port = {ports[1]}
[health]
port = {ports[2]}
[deliver]
retry_s = 0.5
timeout_s = 5.0
{destinations}"""


def rewrite(node: RunningNode, text: str) -> None:
    node.config.write_text(f'data_dir = "{node.settings.data_dir}"\n{text}')


def sent(node: RunningNode, files: list[Path], caller: str) -> Iterator[Sent]:
    settings = Settings(receive=Receive(ae_title=caller))
    return send_files(files, peer("ICHNODE", node.settings.receive.port), settings)


class Load(threading.Thread):
    """A caller that sends a study after the other until it is told to stop."""

    def __init__(self, folder: Path, send: Callable[[list[Path]], Iterator[Sent]]) -> None:
        super().__init__()
        self.folder, self.send, self.enough = folder, send, threading.Event()
        self.answers: list[Sent] = []
        self.studies: set[str] = set()

    def run(self) -> None:
        while not self.enough.wait(0.5):  # or results could not go out as fast
            number = len(self.studies)
            files = ct_series(self.folder / str(number), WHOLE, seed=f"{self.folder.name}{number}")
            self.studies.add(study_of(files))
            self.answers += self.send(files)

    def has_sent(self, studies: int) -> bool:
        return len(self.studies) > studies


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_node_under_load_gets_a_destination_and_loses_a_caller(
    networks: Path, tmp_path: Path
) -> None:
    ports = (free_port(), free_port(), free_port())
    with archive("ONE") as one, archive("TWO") as two:
        text = toml(ports, '["CT1", "CT2"]', one.toml)
        with running_node(tmp_path / "node", text, networks) as node:
            node.wait_until_listening()
            load = Load(tmp_path / "load", lambda files: sent(node, files, "CT1"))
            load.start()
            try:
                wait_until(lambda: load.has_sent(3) and one.got, 120)
                answers = _reloaded_while_sending(node, tmp_path, ports, one.toml + two.toml)
                begun = len(load.studies)
                wait_until(lambda: load.has_sent(begun + 3), 60)
            finally:
                load.enough.set()
                load.join()
            studies = load.studies | answers
            node.wait_for(
                lambda rows: (
                    {row.study_instance_uid for row in rows if row.delivered_at} == studies
                ),
                120,
            )
            page = httpx.get(f"http://127.0.0.1:{ports[1]}/admin", timeout=30)
        assert all(answer.stored for answer in load.answers), "no connection refused, none failed"
        assert two.got and set(two.got) < set(one.got)
        assert max(one.got.values()) == max(two.got.values()) == 1, "delivered once"
        read = Counter(row.study_instance_uid for row in node.rows())
        assert read == Counter(studies), "read once"
    assert "TWO" in page.text
    assert "awaits_restart" in node.log.read_text()


def _reloaded_while_sending(
    node: RunningNode, folder: Path, ports: tuple[int, int, int], destinations: str
) -> set[str]:
    """Reload while CT2 sends, who may then no more; return the studies that it has sent."""
    before = roles(node)
    files = ct_series(folder / "open", WHOLE, seed="open")
    answers = sent(node, files, "CT2")
    assert next(answers).stored
    rewrite(node, toml((*ports[:2], free_port()), '["CT1"]', destinations))
    done = CliRunner().invoke(app, ["reload", "--config", str(node.config)])
    assert done.exit_code == 0, done.output
    studies, other = {study_of(files)}, ct_series(folder / "other", WHOLE, seed="other")
    while all(one.stored for one in sent(node, other, "CT2")):  # until the receiver knows
        studies.add(study_of(other))
    assert all(answer.stored for answer in answers), "an open association goes on"
    assert roles(node) == before, "no process was started again"
    return studies


def study_of(files: list[Path]) -> str:
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


@pytest.mark.slow
def test_a_faulty_file_leaves_the_node_as_it_is(networks: Path, tmp_path: Path) -> None:
    ports = (free_port(), free_port(), free_port())
    with running_node(tmp_path / "node", toml(ports, '["CT1"]', ""), networks) as node:
        node.wait_until_listening()
        rewrite(node, "[receive]\nport = 70000\n")
        os.kill(node.pid, signal.SIGHUP)
        wait_until(lambda: "not reloaded" in node.log.read_text(), 30)
        lines = [line for line in node.log.read_text().splitlines() if "not reloaded" in line]
        assert len(lines) == 1 and "receive.port" in lines[0]
        assert all(one.stored for one in sent(node, ct_series(tmp_path / "sent"), "CT1"))
