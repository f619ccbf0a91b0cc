"""The node's roles as processes that a test kills: at any moment, or at a durable step.

They are forked from a process that has imported them and has read a head, so that a life costs
little. The worker has the predictor without networks, and decodes in its own process.

A durable step is what outlives the process or is seen outside it: a file is synced or renamed, a
transaction that changed something is committed, an answer or an object goes out. Each has a place:
what is done, with which file or in which function.
"""

import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pynetdicom.association import Association

from node.cases import decoding, detector
from node.cli import app
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.read.pixels import load_volume
from node.in_force import InForce
from node.log import configure
from node.roles import Role, run_role
from node.settings import Settings
from node.worklist.schema.database import Database
from tests.support.peers import listening, wait_until
from tests.support.working import Predictor

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "tests.support.mortal",
        "tests.support.rehearsed",
        *(f"node.arrive.{name}" for name in ("storage_scp", "query_scp", "commitment_scp")),
        *("node.arrive.index", "node.arrive.asking", "node.cases.worker", "node.cases.pipeline"),
        *("node.deliver", "node.jobs"),
    ]
)
STATES = 'SELECT DISTINCT state FROM "case" ORDER BY state'
ROOT = Path(__file__).resolve().parents[2]


class Life:
    """One process of a role, from its start to its death."""

    def __init__(self, process: Any) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def is_over(self) -> bool:
        return not self._process.is_alive()

    def kill(self) -> None:
        """Kill the process (SIGKILL), and return once it is dead."""
        self._process.kill()
        self._process.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the process do nothing while the block runs."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: self.is_over or set(self._states()) == {"T"})
        try:
            yield
        finally:
            if not self.is_over:
                os.kill(self.pid, signal.SIGCONT)

    def _states(self) -> Iterator[str]:
        """The state of each thread (proc_pid_stat(5))."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                yield (thread / "stat").read_text().rpartition(")")[2].split()[0]


class Mortals:
    """Starts roles on a node's settings; notes, in a folder, at which steps they died."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._lives: list[Life] = []
        folder.mkdir()

    def start(self, role: Role, *, doomed: bool = False, forgetful: bool = False) -> Life:
        """Start a role.

        Parameters
        ----------
        doomed
            It dies at the first durable step at whose place none of its role has died.
        forgetful
            It syncs no file, though the database does.
        """
        return self._begun(_live, role, self.settings, self._fate(role, doomed=doomed), forgetful)

    def command(self, *words: str, doomed: bool = False) -> Life:
        """Start a command of `ichnode` on the node's database; `doomed` as of `start`."""
        config = self.folder / "ichnode.toml"
        lines = {"data_dir": self.settings.data_dir, "database_url": self.settings.database_url}
        config.write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
        fate = self._fate(words[0], doomed=doomed)
        return self._begun(_run, words, config, self.settings.data_dir, fate)

    def _fate(self, name: str, *, doomed: bool) -> Path | None:
        return self.folder / f"{name}.deaths" if doomed else None

    def _begun(self, target: Callable[..., None], *arguments: object) -> Life:
        process = FORKED.Process(target=target, args=(self.folder, *arguments))
        process.start()
        self._lives.append(Life(process))
        return self._lives[-1]

    def end(self) -> None:
        """Kill all that was started."""
        for life in self._lives:
            life.kill()

    def deaths(self, role: str) -> list[str]:
        """Return the places at which processes of a role or a command died, in their order."""
        return _noted(self.folder / f"{role}.deaths")

    def wait_until_listening(self, life: Life) -> None:
        """Return once the storage SCP takes connections, or is dead."""
        port = self.settings.receive.port
        wait_until(lambda: life.is_over or listening(port), 60)

    def logs(self) -> str:
        """Return the end of what each role logged."""
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.folder.glob("*.log")))


def session_name(pid: int) -> str:
    """Return what PostgreSQL calls the sessions of a process that was started here."""
    return f"life {pid}"


def _noted(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def _run(
    folder: Path, words: Sequence[str], config: Path, data_dir: Path, notes: Path | None
) -> None:
    """Run a command in this process."""
    _named(folder / f"{words[0]}.log")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if notes is not None:
        _Fate(notes, data_dir).impose()
    app([*words, "--config", str(config)])


def _live(
    folder: Path, role: Role, settings: Settings, notes: Path | None, forgetful: bool
) -> None:
    """Run a role in this process; nothing but its death ends it."""
    _named(folder / f"{role}.log")
    configure("INFO", as_json=False)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    detector.load_detector = lambda _: Predictor()  # type: ignore[assignment,return-value]
    decoding.decoding_process = lambda _: nullcontext(load_volume)  # type: ignore[assignment]
    if notes is not None:
        _Fate(notes, settings.data_dir).impose()
    if forgetful:
        os.fsync = lambda _: None
    run_role(role, InForce(None, settings), threading.Event())


def _named(log: Path) -> None:
    """Tell this process's sessions from others', and let it write into a log."""
    os.environ["PGAPPNAME"] = session_name(os.getpid())
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())


class _Fate:
    """Kills this process at the first step whose place is not noted, and notes it."""

    def __init__(self, notes: Path, data_dir: Path) -> None:
        self._notes, self._data_dir = notes, data_dir
        self._known = set(_noted(notes))
        self._lock = threading.Lock()

    def impose(self) -> None:
        """Watch the durable steps of this process from now on."""
        self._watch(os, "fsync", lambda file: self._name(Path(f"/proc/self/fd/{file}").readlink()))
        self._watch(os, "rename", lambda _, to: self._name(Path(to)), after=True)
        self._watch(Association, "send_c_store", lambda *_, **__: _function(), after=True)
        self._watch(IncomingAssociation, "answer", lambda *_, **__: "", after=True)
        self._watch_commits()

    def _watch(
        self, holder: Any, name: str, place: Callable[..., str], *, after: bool = False
    ) -> None:
        """Let each call be a step; a second one after it, where that differs."""
        real = getattr(holder, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            where = place(*args, **kwargs)
            self._step(f"before {name} {where}".rstrip())
            result = real(*args, **kwargs)
            if after:
                self._step(f"after {name} {where}".rstrip())
            return result

        setattr(holder, name, watched)

    def _watch_commits(self) -> None:
        """Let the commit of each transaction that changed something be two steps."""
        real = Database.write

        @contextmanager
        def write(database: Database) -> Iterator[Any]:
            where = _function()
            with real(database) as db:
                before = _changes(db)
                yield db
                changed = _changes(db) != before
                if where.startswith(("cases.", "outbox.")):
                    where += f" {','.join(db.exec_driver_sql(STATES).scalars())}"
                if changed:
                    self._step(f"before commit {where}")
            if changed:
                self._step(f"after commit {where}")

        Database.write = write  # type: ignore[method-assign,assignment]

    def _name(self, path: Path) -> str:
        """Return the file's name in the data folder, with no number that differs by chance."""
        if not path.is_relative_to(self._data_dir):
            return path.name
        first, *others = path.relative_to(self._data_dir).parts or ("data_dir",)
        by_chance = re.compile(r"^([0-9a-f]{2}|[0-9a-f]{32}.*|[0-9]+)$")
        return "/".join((first, *(by_chance.sub("*", one) for one in others)))

    def _step(self, place: str) -> None:
        with self._lock:
            if place in self._known:
                return
            with self._notes.open("a") as notes:
                notes.write(f"{place}\n")
            os.kill(os.getpid(), signal.SIGKILL)


def _changes(db: sa.Connection) -> Any:
    """Return what differs once a transaction has changed something."""
    if db.dialect.name == "sqlite":
        connection: Any = db.connection.dbapi_connection
        return connection.total_changes
    return db.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()").scalar_one()


def _function() -> str:
    """Return the innermost function of the node that is being run, but for the database's own."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT / "node") and file.name != "database.py":
            return f"{file.stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"
