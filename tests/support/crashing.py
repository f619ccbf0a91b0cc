"""A node whose roles are killed, and the reckoning: its books against those of its peers."""

import copy
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from pydicom import dcmread

from node.case_folder import CaseFolder, case_folder
from node.cases.worker import work_once
from node.clock import utc_now
from node.roles import Role
from node.settings import Assemble, Deliver, Receive, Settings, Work
from node.states import State
from node.worklist import Worklist, upgrade
from tests.support.builder import HEAD, encoded
from tests.support.databases import new_database
from tests.support.ledgers import Archive, Modality, archive, dataset_of
from tests.support.mortal import Life, Mortals, session_name
from tests.support.peers import free_port, wait_until
from tests.support.watched import WatchedNode
from tests.support.working import Predictor, receive_files

RESULT = ("Segmentation", "Comprehensive 3D SR", "Basic Text SR", "Secondary Capture Image")
"""What is owed of a head that bleeds, to each destination."""
ROLES: tuple[Role, ...] = ("receive", "work", "deliver")
BACKLOG = 5
"""Studies that are under way at a time."""
LATEST = 600.0
"""Seconds that no lease and no wait for further images reaches here: a node goes on because it
knows, and a lease runs out because the test says so."""


def head(number: int) -> list[bytes]:
    """Return the files of a study of its own, which bleeds."""
    return [encoded(ds) for ds in HEAD(study=f"study {number}", patient=f"P{number}").build()]


@cache
def _engine(url: str) -> sa.Engine:
    """Return what connects to a database anew each time; it asks who answers there but once."""
    return sa.create_engine(url, poolclass=sa.NullPool)


class Crashing:
    """A node whose roles are started and killed, and its peers."""

    def __init__(
        self, folder: Path, archives: Sequence[Archive], data_dir: Path, database_url: str
    ) -> None:
        self.archives = archives
        self.settings = Settings(
            data_dir=data_dir,
            database_url=database_url,
            receive=Receive(host="127.0.0.1", port=free_port(), min_free_mb=0),
            assemble=Assemble(grace_s=0, idle_s=LATEST, prior_after_days=0),
            work=Work(poll_s=0.02, lease_s=LATEST, max_interruptions=10_000),
            deliver=Deliver(
                timeout_s=LATEST / 2,
                retry_s=0.1,
                max_retry_s=0.2,
                destinations=tuple(one.destination for one in archives),
            ),
        )
        self.modality = Modality(self.settings.receive.port)
        self.mortals = Mortals(self.settings, folder / "roles")

    def rows(self, query: str, **values: object) -> list[Any]:
        """Return what a query finds in the worklist."""
        with self._worklist() as db:
            return [tuple(row) for row in db.execute(sa.text(query), values)]

    @contextmanager
    def _worklist(self) -> Iterator[sa.Connection]:
        """Open a transaction on the worklist's database."""
        with _engine(self.settings.url).begin() as db:
            yield db

    def on(self, data_dir: Path, folder: Path) -> Self:
        """Return the node as it goes on from another data folder, with the same peers."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"data_dir": data_dir})
        other.mortals = Mortals(other.settings, folder)
        return other

    def set(self, **sections: Any) -> None:
        """Change sections of the settings, before a role is started."""
        self.settings = self.mortals.settings = self.settings.model_copy(update=sections)

    def start(self) -> dict[Role, Life]:
        """Start all roles."""
        return {role: self.mortals.start(role) for role in ROLES}

    def kill(self, life: Life) -> None:
        """Kill a process, and let the leases that it had run out."""
        life.kill()
        if self.settings.url.startswith("postgresql"):
            wait_until(lambda: not self._sessions(life), 60)
        self.let_leases_run_out(f"%-{life.pid}-%")

    def _sessions(self, life: Life) -> list[Any]:
        """Return the server's sessions of a process: they may commit after it is dead."""
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = :name"
        return self.rows(query, name=session_name(life.pid))

    def let_leases_run_out(self, claimed_by: str = "%") -> None:
        """Let the time pass that a dead process's claims last."""
        over = "SET lease_until = '2000-01-01 00:00:00.000000' WHERE claimed_by LIKE :who"
        with self._worklist() as db:
            for table in ("delivery", '"case"'):
                db.execute(sa.text(f"UPDATE {table} {over}"), {"who": claimed_by})

    def wait_until_delivered(self, studies: int, within_s: float = 120) -> None:
        """Return once so many cases are DELIVERED; fail with the roles' logs if they are not."""
        try:
            wait_until(lambda: self.states()["DELIVERED"] >= studies, within_s)
        except BaseException as late:
            raise AssertionError(f"{self.states()}\n{self.mortals.logs()}") from late

    def states(self) -> Counter[str]:
        """Return how many cases are in each state."""
        return Counter(state for (state,) in self.rows('SELECT state FROM "case"'))

    @property
    def delivered(self) -> int:
        """How many studies' results the first archive has."""
        return len(self.archives[0].got) // len(RESULT)

    @property
    def in_flight(self) -> int:
        """How many objects may be on their way when the deliverer dies: one a thread."""
        return 2 * len(self.archives) + 1

    @property
    def repeats(self) -> int:
        """How often an archive got an object that it had."""
        return sum(one.repeats for one in self.archives)


@contextmanager
def crashing_node(
    folder: Path, data_dir: Path | None = None, database_url: str = ""
) -> Iterator[Crashing]:
    """Make a node with an empty worklist and two destinations; all it started is killed."""
    with archive("FIRST") as first, archive("SECOND") as second:
        node = Crashing(folder, (first, second), data_dir or folder / "data", database_url)
        # A copied file is in memory alone: where the power fails, it is made as `db upgrade` does.
        (new_database if data_dir is None else upgrade)(node.settings.url)
        try:
            yield node
        finally:
            node.mortals.end()


def filled(node: Crashing, number: int, *, read: bool) -> None:
    """Let the node receive a study, and read and report it, without a death."""
    settings = node.settings
    with Worklist(settings.url) as worklist:
        working = WatchedNode.on(worklist, settings, Predictor, utc_now)
        receive_files(head(number), working)
        while read and work_once(working, "worker"):
            pass


class Load:
    """Studies that are sent while the block runs, each until all of it is taken.

    A study is begun when fewer than `BACKLOG` are under way: what is sent again is one of these.
    """

    def __init__(self, node: Crashing) -> None:
        self._node, self._over, self._lock = node, threading.Event(), threading.Lock()
        self._numbers = count(1)
        self.files: list[list[bytes]] = []
        """Of each study that was begun."""

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(2)
        self._senders = [self._pool.submit(self._send) for _ in range(2)]
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Begin no further study, and return once all is taken that was begun."""
        self._over.set()
        self._pool.shutdown()
        for sender in self._senders:
            sender.result()

    def _send(self) -> None:
        while not self._over.is_set():
            if len(self.files) - self._node.delivered > BACKLOG:
                self._over.wait(0.05)
                continue
            with self._lock:
                self.files.append(head(next(self._numbers)))
                files = self.files[-1]
            while not self._node.modality.send(files):
                threading.Event().wait(0.05)


def require_kept(node: Crashing, acknowledged: Mapping[str, str]) -> None:
    """Fail unless what was acknowledged is held: each object once, byte for byte."""
    held = node.rows("SELECT sop_instance_uid, path, sha256 FROM instance")
    digests = {}
    for uid, path, noted in held:
        file = (node.settings.data_dir / path).read_bytes()
        assert sha256(file).hexdigest() == noted
        digests[uid] = sha256(dataset_of(file)).hexdigest()
    assert {uid: digests.get(uid) for uid in acknowledged} == acknowledged
    assert len(held) == len(digests)
    assert node.rows("SELECT * FROM quarantine") == []


def require_no_second_copy(node: Crashing) -> None:
    """Fail if the spool holds a file that is no object of the worklist."""
    files = {
        path.relative_to(node.settings.data_dir).as_posix()
        for path in (node.settings.data_dir / "received").rglob("*.dcm")
    }
    assert files == {path for (path,) in node.rows("SELECT path FROM instance")}


def require_read_once(node: Crashing, studies: int) -> None:
    """Fail unless each study has one case, which came to its result once."""
    cases = node.rows('SELECT id, state, supersedes, attempts FROM "case"')
    assert len(cases) == studies
    assert {tuple(others) for _, *others in cases} == {(State.DELIVERED, None, 0)}
    moved = node.rows("SELECT case_id, CAST(detail AS TEXT) FROM event WHERE what = 'moved'")
    moves = Counter((case, json.loads(detail)["state"]) for case, detail in moved)
    states = (State.ASSEMBLED, State.TRIAGED, State.REPORTED)
    assert moves == {(case, str(state)): 1 for case, *_ in cases for state in states}


def require_delivered_once(node: Crashing, studies: int) -> None:
    """Fail unless each archive has one result of each study, and each object of it as one.

    An object that came more than once came under one UID with the same bytes, so that an archive
    holds it once (PS3.4 B.2.3: a C-STORE of an instance that is there).
    """
    owed = node.rows("SELECT destination, dedup_key, status FROM delivery")
    assert {status for _, _, status in owed} == {"SENT"}
    for one in node.archives:
        mine = [uid for name, uid, _ in owed if name == one.destination.name]
        assert sorted(mine) == sorted(one.got), "what is noted as sent is what the archive has"
        assert all(len(set(times)) == 1 for times in one.got.values()), "one UID, other bytes"
        kinds = Counter(
            (times[0].study_instance_uid, times[0].sop_class_uid) for times in one.got.values()
        )
        assert set(kinds.values()) == {1}, "a second result under other UIDs"
        assert len(kinds) == studies * len(RESULT)
    assert {frozenset(one.got) for one in node.archives} == {frozenset(node.archives[0].got)}


def require_whole(node: Crashing) -> None:
    """Fail unless the database is sound, and what its rows say of files is on disk."""
    if node.settings.url.startswith("sqlite"):
        assert node.rows("PRAGMA integrity_check") == [("ok",)]
        assert node.rows("PRAGMA foreign_key_check") == []
    root = node.settings.data_dir
    for case, state in node.rows('SELECT id, state FROM "case"'):
        folder = CaseFolder(root, case_folder(case))
        if state != State.RECEIVING:
            folder.require_plan()
        if state not in (State.RECEIVING, State.ASSEMBLED):
            folder.require_findings()
    for path, uid in node.rows("SELECT payload_path, dedup_key FROM delivery"):
        assert dcmread(root / path).SOPInstanceUID == uid
