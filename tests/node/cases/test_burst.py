"""A burst of studies and one worker: a bleed leaves before the next unread study is begun."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from models.findings import Findings
from models.volume import Volume
from node.cases.worker import work_once
from node.cli.pacs import archive
from node.clock import utc_now
from node.deliver.loop import deliver
from node.settings import Deliver, Destination, Settings
from node.states import Priority
from node.worklist import Event
from tests.support.builder import HEAD, INTERCEPT, Scan, encoded, pixels
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive_files, working_node

READING_S = 6.0
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


class TickingClock(Clock):
    """Goes on by a millisecond whenever somebody looks at it: no two events have one time."""

    def __call__(self) -> datetime:
        self.wait(0.001)
        return self.now


class RealClock(Clock):
    """The time that it is."""

    def __init__(self) -> None:
        super().__init__()
        self.now = utc_now()

    def __call__(self) -> datetime:
        self.now = utc_now()
        return self.now

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
        self.now = utc_now()


class SlowPredictor(Predictor):
    """Reads as the fake does, and takes its time, by the clock alone."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def state_findings(self, volume: Volume, *rest: object) -> Findings:
        self.clock.wait(READING_S)
        return super().state_findings(volume, *rest)


@pytest.fixture
def clock() -> Clock:
    return TickingClock()


@pytest.fixture
def node(tmp_path: Path, clock: Clock) -> Iterator[WatchedNode]:
    settings = Settings(data_dir=tmp_path / "data", deliver=Deliver(destinations=(PACS,)))
    with working_node(settings, clock, SlowPredictor(clock)) as found:
        yield found


def study(number: int) -> Scan:
    return HEAD(study=f"study {number}", patient=f"P{number:02}")


def without_clot(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 72 - INTERCEPT, 40 - INTERCEPT, stored).astype(stored.dtype)


def push(node: WatchedNode, clock: Clock, studies: int, *bleeding: int) -> None:
    """Receive the studies within five seconds, each over an association of its own."""
    for number in range(1, studies + 1):
        images = [study(number).enhanced(shared_rescale=True)]
        if number not in bleeding:
            images = pixels(without_clot)(images)
        receive_files([encoded(ds) for ds in images], node)
        clock.wait(5 / studies)


def work(node: WatchedNode, clock: Clock) -> None:
    """Work until nothing is left to do."""
    for _ in range(10):
        while work_once(node, "worker"):
            pass
        clock.wait(0.5)


def told(node: WatchedNode, clock: Clock) -> list[Event]:
    """Return what happened to all studies, in the order of time."""
    rows = node.worklist.views.worklist(clock.now)
    events = [node.worklist.views.events(row.study_instance_uid) for row in rows]
    return sorted((one for of_study in events for one in of_study), key=lambda event: event.at)


def of(node: WatchedNode, clock: Clock, priority: Priority) -> dict[str, int]:
    """Return the cases of that priority by the PatientID of their studies."""
    rows = node.worklist.views.worklist(clock.now)
    return {row.patient_id: row.case_id for row in rows if row.priority is priority}


def test_each_bleed_is_owed_to_the_pacs_before_the_next_study_is_begun(
    node: WatchedNode, clock: Clock
) -> None:
    push(node, clock, 12, 4, 9, 12)
    work(node, clock)
    bleeds = of(node, clock, Priority.SUSPECTED)
    assert set(bleeds) == {"P04", "P09", "P12"}
    events = told(node, clock)
    begun = [e.at for e in events if e.what == "reading begun"]
    assert len(begun) == 12
    for case in bleeds.values():
        (flagged,) = (e.at for e in events if e.case_id == case and e.detail.get("priority"))
        (owed,) = (
            e.at for e in events if e.case_id == case and e.detail.get("state") == "REPORTED"
        )
        assert flagged < owed
        assert not [at for at in begun if flagged < at < owed]


@pytest.mark.slow
def test_a_bleed_is_in_the_pacs_within_two_seconds_also_the_last_of_a_burst(
    tmp_path: Path, predictor: Predictor
) -> None:
    (tmp_path / "pacs").mkdir()
    stop = threading.Event()
    with archive("PACS", tmp_path / "pacs") as port:
        pacs = PACS.model_copy(update={"port": port})
        deliver_to = Deliver(destinations=(pacs,))
        settings = Settings(data_dir=tmp_path / "data", deliver=deliver_to)
        clock = RealClock()
        with working_node(settings, clock, predictor) as node:
            sending = threading.Thread(target=deliver, args=(settings, node.outbox, utc_now, stop))
            sending.start()
            push(node, clock, 12, 3, 7, 12)
            work(node, clock)
            clock.wait(2)
            stop.set()
            sending.join()
            bleeds = of(node, clock, Priority.SUSPECTED)
            events = told(node, clock)
            rows = node.worklist.views.worklist(clock())
    assert set(bleeds) == {"P03", "P07", "P12"}
    for case in bleeds.values():
        (owed,) = (
            e.at for e in events if e.case_id == case and e.detail.get("state") == "REPORTED"
        )
        stored = [e.at for e in events if e.case_id == case and e.what == "answered"]
        assert len(stored) == 4 and (max(stored) - owed).total_seconds() < 2
    waits = [row.door_to_pacs_s for row in rows if row.priority is Priority.SUSPECTED]
    assert all(wait and wait > 0 for wait in waits)


def test_the_unread_go_in_the_order_of_the_worklist_and_the_reports_of_negatives_last(
    node: WatchedNode, clock: Clock
) -> None:
    push(node, clock, 4, 3)
    work(node, clock)
    events = told(node, clock)
    begun = [e.case_id for e in events if e.what == "reading begun"]
    reported = [e.case_id for e in events if e.detail.get("state") == "REPORTED"]
    assert (begun, reported) == ([1, 2, 3, 4], [3, 1, 2, 4])
