"""A process says that it runs and gets on, and ends itself when it hangs."""

import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node import outages
from node.errors import Outage
from node.health import StopEvent, notify, pulse
from node.outages import Outages
from node.worklist import Process, Worklist
from tests.support.databases import new_database

NOW = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = f"sqlite:///{tmp_path / 'ichnode.sqlite'}"
    new_database(url)
    with Worklist(url) as found:
        yield found


def test_a_process_is_listed_from_its_start_to_its_end(worklist: Worklist) -> None:
    with pulse("work", worklist.processes, lambda: NOW, threading.Event()) as alive:
        alive.ready()
        (one,) = worklist.processes.listed()
        assert (one.role, one.ready_at, one.seen_at) == ("work", NOW, NOW)
    assert worklist.processes.listed() == []


def test_a_killed_process_stays_listed_for_a_day(worklist: Worklist) -> None:
    for hours in (0, 23, 25):
        at = NOW + timedelta(hours=hours)
        worklist.processes.beat(Process(f"after {hours}", "work", at, at, at))
    assert [one.name for one in worklist.processes.listed()] == ["after 23", "after 25"]


def test_a_process_says_what_it_waits_for_until_that_is_over(worklist: Worklist) -> None:
    gc.collect()  # a role of another test, which nobody holds any more, waits no longer
    met = Outages("work")
    met.met("work", Outage("No space left on device"))
    with pulse("work", worklist.processes, lambda: NOW, threading.Event()) as alive:
        alive.ready()
        assert [one.waits for one in worklist.processes.listed()] == ["No space left on device"]
        met.over("work")
        alive.ready()
        assert [one.waits for one in worklist.processes.listed()] == [""]


def test_an_outage_that_nobody_met_again_is_not_known_to_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Outages("receive")
    found.met("store", Outage("No space left on device"))
    assert found.why == "No space left on device"
    monkeypatch.setattr(outages, "FRESH_S", 0.0)
    assert found.why == ""


def test_systemd_is_told(
    worklist: Worklist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with pulse("web", worklist.processes, lambda: NOW, threading.Event()) as alive:
            alive.ready()
        assert {systemd.recv(64) for _ in range(3)} == {b"WATCHDOG=1", b"READY=1", b"STOPPING=1"}
    notify("READY=1")  # a socket that is gone does no harm


HANGS = """
import sys, threading, time
from node.clock import utc_now
from node.health import StopEvent, pulse
import node.health.heartbeat as module
from node.worklist import Worklist
module.STALLED_S, module.BEAT_S = 0.3, 0.05
stop = StopEvent()
with Worklist(sys.argv[1]) as worklist, pulse("work", worklist.processes, utc_now, stop) as alive:
    alive.ready()
    alive.tell_if_hangs(lambda: print("is told", flush=True))
    for _ in range(20):
        stop.wait(0.05)
    print("gets on", flush=True)
    threading.Event().wait(60)  # hangs: it never asks whether to stop
"""


def test_a_role_that_hangs_says_where_and_ends(worklist: Worklist, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, f"sqlite:///{tmp_path / 'ichnode.sqlite'}"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 70 and done.stdout == "gets on\nis told\n"
    assert "hangs, ending the process" in done.stderr and "threading.py" in done.stderr
    (one,) = worklist.processes.listed()
    assert one.role == "work"


def test_only_the_main_thread_counts_as_progress() -> None:
    stop = StopEvent()
    before = stop.asked
    other = threading.Thread(target=stop.is_set)
    other.start()
    other.join()
    assert stop.asked == before
    stop.wait(0)
    assert stop.asked > before
