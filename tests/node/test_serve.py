"""The supervisor: what dies is started again, and what it started ends with it."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.peers import free_port, listening, wait_until
from tests.support.running import RunningNode, running_node

pytestmark = pytest.mark.slow


def settings() -> str:
    """A node without a reader, so that its worker dies at once, again and again."""
    return f"""
[receive]
host = "127.0.0.1"
port = {free_port()}
min_free_mb = 64
[triage]
bundle = "/nowhere"
[web]
port = {free_port()}
"""


def roles(node: RunningNode) -> dict[str, int]:
    """Process id of each role's process that is alive now."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue
        if "--role" in words and str(node.config) in words:
            found[words[words.index("--role") + 1]] = int(entry.name)
    return found


def test_role_that_dies_is_started_again_while_the_others_go_on(tmp_path: Path) -> None:
    with running_node(tmp_path, settings()) as node:
        node.wait_until_listening()
        before = roles(node)
        os.kill(before["receive"], signal.SIGKILL)
        wait_until(lambda: roles(node).get("receive") not in (None, before["receive"]), 30)
        node.wait_until_listening()
        assert roles(node)["deliver"] == before["deliver"]


def test_damaged_installation_is_named_in_the_log(tmp_path: Path) -> None:
    with running_node(tmp_path, settings()) as node:
        wait_until(lambda: "/nowhere is no bundle" in node.log.read_text(), 60)
        node.wait_until_listening()


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
