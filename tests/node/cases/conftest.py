"""The clock, the predictor and the node that work without networks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.settings import Settings
from tests.support.databases import OwnDatabase
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


@pytest.fixture(scope="module")
def own_database(request: pytest.FixtureRequest) -> OwnDatabase:
    """For a test that opens several nodes: the address in the environment is the test's own."""
    if not request.config.getoption("postgresql"):
        return lambda folder: Settings(data_dir=folder)
    urls: Iterator[str] = request.getfixturevalue("new_databases")

    def settings(folder: Path) -> Settings:
        return Settings(data_dir=folder).model_copy(update={"database_url": next(urls)})

    return settings
