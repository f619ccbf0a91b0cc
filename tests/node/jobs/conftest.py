"""A node that works without networks, and its clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.settings import Retention, Rule, Settings
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, working_node


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def predictor() -> Predictor:
    return Predictor()


@pytest.fixture
def node(tmp_path: Path, clock: Clock, predictor: Predictor) -> Iterator[WatchedNode]:
    """A node that purges pixels after 10 days and results after 100."""
    rules = (Rule(remove="pixels", after_days=10), Rule(remove="all", after_days=100))
    settings = Settings(
        data_dir=tmp_path / "data", retention=Retention(unacknowledged_days=30, rules=rules)
    )
    with working_node(settings, clock, predictor) as found:
        yield found
