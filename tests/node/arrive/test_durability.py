"""A 0000 means: the bytes and their directory entry are on disk, and the row is committed.

`Disk` notes what was synced, as a power cut would leave it: bytes that no fsync of their file
followed, and entries that no fsync of their folder followed, are lost.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from node.arrive import spool
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.association import Status
from node.dicom.net.store_scu import Sent, send_files
from node.errors import Outage, Permanent
from node.worklist.arriving import arrivals, filing, lookup
from node.worklist.schema import database
from tests.support.peers import ct_series, wait_until
from tests.support.receiving import Node, dataset_bytes, listening_node
from training.datasets.series import Identity

SEEDS = "abcdefgh"
NO_SPACE = OSError(28, "No space left on device")


class Disk:
    """What fsync has made durable: files by inode, and the entries of folders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._files: set[int] = set()
        self._entries: dict[Path, dict[str, int]] = {}
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self._note)

    def _note(self, descriptor: int) -> None:
        self._sync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._entries[path] = {each.name: each.inode() for each in os.scandir(path)}
        else:
            self._files.add(os.fstat(descriptor).st_ino)

    def holds(self, path: Path) -> bool:
        """Return whether the file is found, whole, after a power cut."""
        inode = self._entries.get(path.parent, {}).get(path.name)
        return path.exists() and inode in self._files and inode == path.stat().st_ino


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def node(tmp_path):
    with listening_node(tmp_path) as node:
        yield node


@contextmanager
def one_fault(monkeypatch: pytest.MonkeyPatch, holder: object, name: str, fault: Exception, at=5):
    """Let the call of this number fail, and no other."""
    real, lock, calls = getattr(holder, name), threading.Lock(), [0]

    def sometimes(*args, **kwargs):
        with lock:
            calls[0] += 1
            now = calls[0] == at
        if now:
            raise fault
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, sometimes)
        yield
    assert calls[0] >= at, "the fault was never met"


def rows(node: Node) -> dict[str, tuple[str, str]]:
    """Return path and digest of what is committed, by SOPInstanceUID, as another process sees."""
    engine = sa.create_engine(node.settings.url)
    with engine.connect() as db:
        query = sa.text("SELECT sop_instance_uid, path, sha256 FROM instance")
        found = {uid: (path, sha256) for uid, path, sha256 in db.execute(query)}
    engine.dispose()
    return found


def send_all(node: Node, folder: Path, slices: int = 3) -> list[Sent]:
    """Send a series of each of the seeds at once."""
    series = [ct_series(folder / seed, slices, seed=seed) for seed in SEEDS]

    def send(files: list[Path]) -> list[Sent]:
        return list(send_files(files, node.peer, node.settings))

    with ThreadPoolExecutor(len(series)) as pool:
        return [sent for answers in pool.map(send, series) for sent in answers]


@pytest.fixture
def acknowledged(node, disk, monkeypatch):
    """The objects that were answered 0000, each True if a power cut at its answer spares it."""
    spared: dict[str, bool] = {}
    answer = IncomingAssociation.answer

    def witnessed(self, request, status, comment="", error_id=0):
        if status == Status.SUCCESS:
            uid = request.sop_instance_uid
            path, _ = rows(node).get(uid, ("nowhere", ""))
            spared[uid] = disk.holds(node.settings.data_dir / path)
        answer(self, request, status, comment, error_id)

    monkeypatch.setattr(IncomingAssociation, "answer", witnessed)
    return spared


def require_whole(node: Node, answers: list[Sent], acknowledged: dict[str, bool]) -> None:
    """Fail if anything that was answered 0000 would have been lost, or is not what was sent."""
    stored = [sent for sent in answers if sent.status == Status.SUCCESS]
    uids = {dcmread(sent.path).SOPInstanceUID: sent.path for sent in stored}
    assert {uid: acknowledged[uid] for uid in uids} == dict.fromkeys(uids, True)
    committed = rows(node)
    for uid, path in uids.items():
        kept = node.settings.data_dir / committed[uid][0]
        assert dataset_bytes(kept) == dataset_bytes(path)


FAULTS: dict[str, tuple[object, str, Exception]] = {
    "the file is not written": (spool, "_write_and_sync", NO_SPACE),
    "the file is not synced": (spool.os, "fsync", NO_SPACE),
    "the file is not renamed": (Path, "rename", NO_SPACE),
    "the folder is not synced": (spool, "sync_folder", NO_SPACE),
    "the database is locked": (lookup, "look_up", Outage("locked")),
    "the row is refused": (filing, "keep", Permanent("refused")),
    "the row clashes": (filing, "keep", database.Clash("raced")),
    "an error of our own": (filing, "keep", ZeroDivisionError("bug")),
    "the commit fails": (
        sa.engine.Transaction,
        "commit",
        sa.exc.OperationalError("", {}, NO_SPACE),
    ),
}

OUTAGES = {"the database is locked", "the commit fails"}


@pytest.mark.parametrize("where", FAULTS)
def test_nothing_that_was_acknowledged_is_missing_whatever_step_fails(
    node, acknowledged, tmp_path, monkeypatch, where
):
    holder, name, fault = FAULTS[where]
    with one_fault(monkeypatch, holder, name, fault):
        answers = send_all(node, tmp_path)
    require_whole(node, answers, acknowledged)
    failed = [sent for sent in answers if sent.status != Status.SUCCESS]
    # An outage concerns all of a group. Else its objects are tried again alone; the fault may have
    # gone by then.
    assert len(failed) <= (len(SEEDS) if where in OUTAGES else 1)
    again = [sent for one in failed for sent in node.send(one.path)]
    require_whole(node, again, acknowledged)
    assert [sent.status for sent in again] == [Status.SUCCESS] * len(failed)
    assert len(rows(node)) == 3 * len(SEEDS)


# A group that is known: one transaction is held until all others wait behind it


@contextmanager
def gathered(monkeypatch: pytest.MonkeyPatch, node: Node, others: int):
    """Hold the first object in its transaction until the others wait; yield the transactions."""
    transactions: list[int] = []
    add_all = arrivals.Arrivals.add_all
    commits = node.worklist.arrivals._commits

    def held(objects):
        transactions.append(len(objects))
        if len(transactions) == 1:
            wait_until(lambda: len(commits._queue) == others)
        return add_all(node.worklist.arrivals, objects)

    monkeypatch.setattr(commits, "_commit", held)
    yield transactions


def test_associations_that_wait_share_a_transaction(node, acknowledged, tmp_path, monkeypatch):
    with gathered(monkeypatch, node, len(SEEDS) - 1) as transactions:
        answers = send_all(node, tmp_path, slices=1)
    assert transactions == [1, len(SEEDS) - 1]
    assert [sent.status for sent in answers] == [Status.SUCCESS] * len(SEEDS)
    require_whole(node, answers, acknowledged)


def with_fault(seed: str, fault: Exception) -> Callable[..., object]:
    real, uid = lookup.look_up, Identity.of(seed).study_instance_uid

    def look_up(db, header):
        if header.study_instance_uid == uid:
            raise fault
        return real(db, header)

    return look_up


@pytest.mark.parametrize("fault", [Permanent("refused"), ZeroDivisionError("bug")])
def test_an_object_that_fails_in_a_group_fails_alone(
    node, acknowledged, tmp_path, monkeypatch, fault
):
    files = {seed: ct_series(tmp_path / seed, 1, seed=seed) for seed in SEEDS}
    first, *others = SEEDS
    monkeypatch.setattr(lookup, "look_up", with_fault(others[2], fault))
    with (
        gathered(monkeypatch, node, len(others)) as transactions,
        ThreadPoolExecutor(len(SEEDS)) as pool,
    ):
        sending = {first: pool.submit(node.send, *files[first])}
        wait_until(lambda: transactions)
        sending |= {seed: pool.submit(node.send, *files[seed]) for seed in others}
        answers = {seed: future.result()[0] for seed, future in sending.items()}
    assert transactions == [1, len(others)] + [1] * len(others)
    failed = [seed for seed, sent in answers.items() if sent.status != Status.SUCCESS]
    assert failed == [others[2]]
    require_whole(node, list(answers.values()), acknowledged)
    assert len(rows(node)) == len(SEEDS) - 1


def test_a_database_that_is_away_is_met_once_and_not_by_each_in_turn(
    node, acknowledged, tmp_path, monkeypatch
):
    files = {seed: ct_series(tmp_path / seed, 1, seed=seed) for seed in SEEDS}
    first, *others = SEEDS
    with (
        gathered(monkeypatch, node, len(others)) as transactions,
        ThreadPoolExecutor(len(SEEDS)) as pool,
    ):
        sending = [pool.submit(node.send, *files[first])]
        wait_until(lambda: transactions)
        away = Outage("the worklist database: locked")
        monkeypatch.setattr(lookup, "look_up", lambda *_: (_ for _ in ()).throw(away))
        sending += [pool.submit(node.send, *files[seed]) for seed in others]
        answers = [future.result()[0] for future in sending]
    assert len(transactions) == 2
    assert {sent.status for sent in answers[1:]} == {Status.OUT_OF_RESOURCES}
    require_whole(node, answers, acknowledged)
