"""Two workers on one worklist: each case is read once, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from node.cases.worker import work
from node.clock import utc_now
from node.settings import Settings
from node.states import State
from node.worklist import Worklist
from tests.support.builder import HEAD
from tests.support.peers import wait_until
from tests.support.postgresql import cluster
from tests.support.watched import WatchedNode
from tests.support.working import Predictor, receive, working_node

STUDIES = 8


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
    else:
        with cluster() as url:
            yield url


def test_two_workers_share_the_cases_and_read_each_once(tmp_path: Path, database_url: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url)
    stop, predictors = threading.Event(), [Predictor(), Predictor()]
    with ExitStack() as stack:
        node = stack.enter_context(working_node(settings, utc_now, Predictor()))
        for number in range(STUDIES):
            receive(node, scan=HEAD(name=f"S{number}", study=f"S{number}", patient=f"P{number}"))
        threads = [
            threading.Thread(target=work, args=(_node(stack, settings, one), f"w{number}", stop))
            for number, one in enumerate(predictors)
        ]
        stack.callback(stop.set)
        for thread in threads:
            thread.start()
        wait_until(lambda: node.worklist.views.counts().get(State.DELIVERED) == STUDIES, 120)
        stop.set()
        for thread in threads:
            thread.join()
        rows = node.worklist.views.worklist(utc_now())
        events = [node.worklist.views.events(row.study_instance_uid) for row in rows]
    begun = [[one.case_id for one in each if one.what == "reading begun"] for each in events]
    assert sorted(begun) == [[case] for case in range(1, STUDIES + 1)]
    assert sum(len(one.read_volumes) for one in predictors) == STUDIES


def _node(stack: ExitStack, settings: Settings, predictor: Predictor) -> WatchedNode:
    """Return a worker's own view of the worklist, as a process of its own would have it."""
    worklist = stack.enter_context(Worklist(settings.url))
    return WatchedNode.on(worklist, settings, lambda: predictor, utc_now)
