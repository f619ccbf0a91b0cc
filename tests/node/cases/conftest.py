"""The clock, the predictor and the node that work without networks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.settings import Settings
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
    """A node with the default settings; a file that needs others has a fixture of its own."""
    with working_node(Settings(data_dir=tmp_path / "data"), clock, predictor) as found:
        yield found
