"""What many tests need: the real head CT, peers from Debian, and the shipped networks."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import BUNDLE
from tests.support.sharing import shared

if TYPE_CHECKING:
    from models.detector import Detector

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

MARKED = {"data": "data", "networks": "networks", "detector": "networks"}
"""The marker of each test that uses a fixture."""


def pytest_configure() -> None:
    """Let no request of a test lose its answer."""
    from tests.support.checkpoint import install

    install()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the nodes of the tests stand on PostgreSQL (`make test-postgresql`)."""
    what = "the nodes of the tests keep their worklist in PostgreSQL, each test in a new database"
    parser.addoption("--postgresql", action="store_true", help=what)


@pytest.fixture(autouse=True)
def _log_of_no_command() -> None:
    """Forget the log level that a command of an earlier test set for this process."""
    logging.getLogger("node").setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _on_postgresql(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Set the variable that every node takes its database from, where that is asked for.

    The database is removed after the test, which fails if it left a session open there.
    """
    if not request.config.getoption("postgresql"):
        yield
        return
    from tests.support.postgresql import remove

    databases: Iterator[str] = request.getfixturevalue("new_databases")
    url = next(databases)
    monkeypatch.setenv("ICHNODE_DATABASE_URL", url)
    yield
    remove(url)


@pytest.fixture(scope="session")
def new_databases() -> Iterator[Iterator[str]]:
    """Addresses of databases of the newest schema in a PostgreSQL cluster, without rows."""
    from tests.support.postgresql import cluster, copies

    with cluster() as url:
        yield copies(url)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark a test by the fixtures that it uses, and put the files with networks first.

    They take longest: where files are dealt to several processes, short ones should come last.
    """
    for item in items:
        for fixture in MARKED.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKED[fixture])
    long = {item.path for item in items if item.get_closest_marker("networks")}
    items.sort(key=lambda item: item.path not in long)


def require(found: bool, what: str) -> None:
    """Skip without `what` on a developer's machine; fail in CI, where it must be there."""
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not on this machine")


def require_program(*names: str) -> None:
    """Need each of these programs on PATH (.ci/run installs them)."""
    for name in names:
        require(shutil.which(name) is not None, f"the program {name}")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real head CT, ../shared/data from the project's root."""
    require(DATA.is_dir(), f"real head CT at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of the shipped networks, converted once for all tests of a run."""
    from models.bundle import load_detector

    with shared(tmp_path_factory, "networks") as folder:
        if not any(folder.iterdir()):
            load_detector(BUNDLE, "auto", folder)
        return folder


@pytest.fixture(scope="session")
def detector(networks: Path) -> "Detector":
    """The shipped networks, loaded once, which read no batch twice."""
    from models.bundle import load_detector
    from tests.support.remembering import remembering

    loaded = load_detector(BUNDLE, "auto", networks)
    slices = loaded.predict_slices and remembering(loaded.predict_slices)
    return replace(loaded, predict=remembering(loaded.predict), predict_slices=slices)
