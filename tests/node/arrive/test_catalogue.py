"""The archive's index is made of what is there, and an answer waits until it is whole."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.arrive import catalogue as module
from node.arrive.catalogue import Catalogue, Unready
from node.arrive.intake import Intake
from node.depot import Depot
from node.settings import Receive, Settings
from node.worklist import Level, Query, Worklist
from tests.support.databases import new_database
from tests.support.peers import ct_series, wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data_dir=tmp_path / "data", receive=Receive(min_free_mb=0))
    new_database(found.url)
    return found


@pytest.fixture
def worklist(settings: Settings, tmp_path: Path) -> Iterator[Worklist]:
    """A worklist with six objects that no query has asked for."""
    with Worklist(settings.url) as opened:
        intake = Intake(settings, opened.arrivals, lambda: datetime.now(UTC))
        for path in ct_series(tmp_path / "sent", 6):
            intake.take(path.name, path.read_bytes())
        yield opened


def test_an_index_that_takes_too_long_is_told_and_goes_on(
    settings: Settings, worklist: Worklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    catalogue = Catalogue(worklist.archive, Depot(settings.data_dir))
    for left in (4, 2):
        with pytest.raises(Unready, match="again later"):
            catalogue.require_current(within_s=0)
        assert len(worklist.archive.unlisted(10)) == left
    catalogue.require_current()
    assert len(worklist.archive.find(Query(Level.IMAGE))) == 6


def test_a_file_that_is_gone_keeps_no_other_out(settings: Settings, worklist: Worklist) -> None:
    gone, damaged, *_ = worklist.archive.unlisted(10)
    (settings.data_dir / gone.path).unlink()
    (settings.data_dir / damaged.path).write_bytes(b"no DICOM")
    Catalogue(worklist.archive, Depot(settings.data_dir)).require_current()
    assert len(worklist.archive.find(Query(Level.IMAGE))) == 4


def test_what_comes_is_described_without_a_query(settings: Settings, worklist: Worklist) -> None:
    stop = threading.Event()
    catalogue = Catalogue(worklist.archive, Depot(settings.data_dir))
    keeping = threading.Thread(target=catalogue.keep_current, args=(stop, 0.01))
    keeping.start()
    try:
        wait_until(lambda: not worklist.archive.unlisted(1))
    finally:
        stop.set()
        keeping.join()
    assert len(worklist.archive.find(Query(Level.IMAGE))) == 6
