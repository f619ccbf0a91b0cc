"""Copies of the database: made by the clock, checked, and restored with a study under way."""

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node.cases.worker import work_once
from node.cli import app
from node.errors import BadConfiguration
from node.jobs.copying import copy_database
from node.settings import Backup, Deliver, Destination, Settings
from node.states import State
from node.worklist import Actor, Deed, Worklist, backup, restore
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work

pytestmark = pytest.mark.sqlite

PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)


def command(folder: Path, *words: str) -> Result:
    config = folder.parent / f"{folder.name}.toml"
    config.write_text(f'data_dir = "{folder}"')
    return CliRunner().invoke(app, [*words, "--config", str(config)])


def test_so_many_copies_are_kept_and_each_is_whole(
    node: WatchedNode, clock: Clock, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    kept = Backup(folder=str(folder), keep=3)
    settings = node.settings.model_copy(update={"backup": kept})
    made = []
    for _ in range(5):
        made.append(copy_database(settings, clock.now))
        clock.now += timedelta(days=1)
    assert sorted(folder.iterdir()) == made[2:]
    assert [file.stat().st_mode & 0o777 for file in made[2:]] == [0o600] * 3
    restore(f"sqlite:///{tmp_path}/new/ichnode.sqlite", made[4])


def test_a_copy_that_fails_removes_none(node: WatchedNode, clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    kept = Backup(folder=str(folder), keep=1)
    settings = node.settings.model_copy(update={"backup": kept})
    first = copy_database(settings, clock.now)
    elsewhere = settings.model_copy(update={"database_url": "postgresql://nowhere/db"})
    clock.now += timedelta(days=1)
    with pytest.raises(BadConfiguration, match="pg_dump"):
        copy_database(elsewhere, clock.now)
    assert list(folder.iterdir()) == [first]


def test_a_study_under_way_goes_on_from_a_copy_on_an_empty_machine(
    node: WatchedNode, clock: Clock, predictor: Predictor, tmp_path: Path
) -> None:
    receive(node)
    clock.wait(300)
    assert work_once(node, "worker")
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.state is State.ASSEMBLED
    backup(node.settings.url, tmp_path / "copy")
    other = tmp_path / "other"
    shutil.copytree(node.root / "received", other / "received")
    shutil.copytree(node.root / "cases", other / "cases")
    told = command(other, "db", "restore", str(tmp_path / "copy"))
    assert told.exit_code == 0 and "all files of rows are there: 30 received" in told.output
    settings = Settings(data_dir=other, deliver=Deliver(destinations=(PACS,)))
    with Worklist(settings.url) as worklist:
        restored = WatchedNode.on(worklist, settings, lambda: predictor, clock)
        work(restored, clock)
        (done,) = worklist.views.worklist(clock.now)
        kinds = sorted(line.kind for line in done.deliveries)
    assert (done.state, done.case_id) == (State.REPORTED, row.case_id)
    assert kinds == ["capture", "seg", "sr", "text"]
    assert command(other, "db", "check").exit_code == 0


def test_a_database_is_restored_onto_an_empty_folder_alone(
    node: WatchedNode, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    backup(node.settings.url, copy)
    told = command(node.root, "db", "restore", str(copy))
    assert told.exit_code == 2 and "restore onto an empty data folder" in told.output


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "of a newer version"),
        ("DROP TABLE alembic_version", "no database of the worklist"),
    ],
)
def test_a_copy_that_cannot_be_taken_is_refused(
    harm: str, words: str, node: WatchedNode, tmp_path: Path
) -> None:
    copy, other = tmp_path / "copy", tmp_path / "other"
    backup(node.settings.url, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute(harm)
    told = command(other, "db", "restore", str(copy))
    assert told.exit_code == 2 and words in told.output
    assert not (other / "ichnode.sqlite").exists()
    (tmp_path / "text").write_text("no database at all, and long enough to be read as one" * 100)
    assert command(other, "db", "restore", str(tmp_path / "text")).exit_code == 2


def test_a_check_names_files_that_are_gone_or_cut_short(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    work(node, clock)
    sound = command(node.root, "db", "check")
    assert sound.exit_code == 0 and "30 received" in sound.output
    gone, short, *_ = sorted((node.root / "received").rglob("*.dcm"))
    gone.unlink()
    short.write_bytes(b"")
    told = command(node.root, "db", "check")
    assert told.exit_code == 1
    assert f"received: {gone.relative_to(node.root)}: No such file" in told.output
    assert f"{short.relative_to(node.root)}: 0 bytes, its row says" in told.output


def test_a_check_names_rows_of_the_audit_trail_that_were_changed(
    node: WatchedNode, clock: Clock
) -> None:
    node.worklist.audit.record(Actor("admin", "terminal"), Deed.ECHOED, clock.now, about="PACS")
    with closing(sqlite3.connect(node.root / "ichnode.sqlite")) as db, db:
        db.execute("UPDATE audit SET who = 'nobody'")
    told = command(node.root, "db", "check")
    assert told.exit_code == 1 and "audit trail: row 1 was changed" in told.output


def test_a_restored_database_takes_no_log_of_the_one_before(
    node: WatchedNode, clock: Clock, tmp_path: Path
) -> None:
    copy, other = tmp_path / "copy", tmp_path / "other"
    backup(node.settings.url, copy)
    other.mkdir()
    receive(node)
    log = (node.root / "ichnode.sqlite-wal").read_bytes()
    assert log
    (other / "ichnode.sqlite-wal").write_bytes(log)
    assert command(other, "db", "restore", str(copy)).exit_code == 0
    with Worklist(Settings(data_dir=other).url) as worklist:
        assert not worklist.views.worklist(clock.now)
    assert "is in use" in command(tmp_path / "third", "db", "restore", _live(node)).output


def _live(node: WatchedNode) -> str:
    return str(node.root / "ichnode.sqlite")
