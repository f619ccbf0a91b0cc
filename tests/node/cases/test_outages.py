"""What the worker stands on fails: it waits, says so once, and no case pays for it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path

import pytest

from models.volume import Volume
from node import outages
from node.cases.worker import work, work_once
from node.errors import Outage
from node.records import SeriesPlan
from node.settings import Settings
from node.states import State
from tests.support import working
from tests.support.builder import HEAD
from tests.support.disks import small_disk
from tests.support.peers import wait_until
from tests.support.postgresql import Cluster, running_cluster
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, working_node


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "AGAIN_S", 0.05)


@contextmanager
def worker_of(node: WatchedNode) -> Iterator[None]:
    """A worker that runs while the block does."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(node, "worker", stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of roles that wait and go on."""
    actions = [getattr(record, "event", {}).get("action", "") for record in caplog.records]
    return [one for one in actions if one.startswith("role_")]


def cases(node: WatchedNode) -> list[tuple[State, int, int]]:
    """Where each case stands, its attempts and its interruptions."""
    rows = node.worklist.views.worklist(node.clock())
    found = [node.worklist.cases.get(row.case_id) for row in rows]
    return [(one.state, one.attempts, one.interruptions) for one in found]


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_fails_for_a_while_costs_no_waiting_study_anything(
    fault: str, tmp_path: Path, clock: Clock, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    work_here = Settings().work.model_copy(update={"poll_s": 0.01})
    database = f"sqlite:///{tmp_path}/worklist.sqlite"
    settings = Settings(data_dir=tmp_path / "disk" / "data", database_url=database, work=work_here)
    with small_disk(tmp_path / "disk") as disk, working_node(settings, clock, predictor) as node:
        for number in range(4):
            receive(node, scan=HEAD(study=f"study {number}"))
        clock.wait(60)
        disk.fill() if fault == "full" else disk.forbid_writing()
        with worker_of(node):
            wait_until(lambda: "role_waits" in said(caplog))
            assert cases(node) == [(State.RECEIVING, 0, 0)] * 4
            disk.empty() if fault == "full" else disk.allow_writing()
            wait_until(lambda: cases(node) == [(State.DELIVERED, 0, 0)] * 4, 60)
    assert said(caplog) == ["role_waits", "role_goes_on"]


@pytest.mark.sqlite
def test_a_database_on_a_full_disk_is_waited_for(
    tmp_path: Path, clock: Clock, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    settings = Settings(data_dir=tmp_path / "disk" / "data")
    with small_disk(tmp_path / "disk") as disk, working_node(settings, clock, predictor) as node:
        receive(node)
        clock.wait(60)
        disk.fill()
        with worker_of(node):
            wait_until(lambda: "role_waits" in said(caplog))
            disk.empty()
            wait_until(lambda: cases(node) == [(State.DELIVERED, 0, 0)], 60)
    assert said(caplog) == ["role_waits", "role_goes_on"]


@pytest.fixture
def postgresql(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of the test's own, to be stopped; the address of another one would win over it."""
    monkeypatch.delenv("ICHNODE_DATABASE_URL", raising=False)
    with running_cluster() as found:
        yield found


def test_postgresql_that_restarts_is_waited_for(
    postgresql: Cluster,
    tmp_path: Path,
    clock: Clock,
    predictor: Predictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    settings = Settings(data_dir=tmp_path / "data", database_url=postgresql.url)
    with working_node(settings, clock, predictor) as node:
        receive(node)
        clock.wait(60)
        postgresql.stop()
        with worker_of(node):
            wait_until(lambda: "role_waits" in said(caplog))
            postgresql.start()
            wait_until(lambda: cases(node) == [(State.DELIVERED, 0, 0)], 60)
    assert said(caplog) == ["role_waits", "role_goes_on"]


@pytest.mark.parametrize("errno", [ENOSPC, EDQUOT, EIO, EROFS])
def test_a_stage_that_meets_an_outage_gives_its_case_back_and_raises_it(
    errno: int, node: WatchedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno, "the disk fails")

    receive(node)
    clock.wait(60)
    monkeypatch.setattr("node.cases.pipeline.write_report", fails)
    monkeypatch.setattr("node.outages.os.posix_fallocate", fails)
    with pytest.raises(Outage, match="the disk fails"):
        while work_once(node, "worker"):
            pass
    assert cases(node) == [(State.TRIAGED, 0, 0)]
    assert node.worklist.cases.claim([State.TRIAGED], "another", 60, clock.now)


def test_a_fault_of_one_file_stops_no_other_case_and_ends(node: WatchedNode, clock: Clock) -> None:
    def decode(plan: SeriesPlan, root: Path) -> Volume:
        if plan.study_instance_uid == torn:
            raise OSError(EIO, "Input/output error")
        return node.decode(plan, root)

    receive(node, scan=HEAD(study="torn"))
    (torn,) = {row.study_instance_uid for row in node.worklist.views.worklist(clock.now)}
    receive(node)
    few = node.settings.work.model_copy(update={"max_interruptions": 2})
    settings = node.settings.model_copy(update={"work": few})
    working.work(replace(node, decode=decode, settings=settings), clock)
    rows = {row.study_instance_uid == torn: row for row in node.worklist.views.worklist(clock.now)}
    assert rows[False].state is State.DELIVERED
    assert rows[True].state is State.FAILED and "Input/output error" in str(rows[True].reason)
