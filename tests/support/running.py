"""A whole node as a process group of its own, to be watched and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from node.dicom.net.store_scu import Sent, send_files
from node.settings import Settings, load
from node.worklist import Row, Worklist
from tests.support.databases import new_database
from tests.support.peers import free_port, listening, peer, wait_until


class RunningNode:
    """`ichnode serve` on settings in a folder; `kill` is `kill -9` of all its processes."""

    def __init__(self, folder: Path, toml: str, networks: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "ichnode.toml"
        self.config.write_text(f'data_dir = "{folder / "data"}"\n{toml}')
        self.settings: Settings = load(self.config)
        self.settings.data_dir.mkdir(exist_ok=True)
        if networks is not None:
            (self.settings.data_dir / "cache").symlink_to(networks)
        self.log = folder / "node.log"
        new_database(self.settings.url)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start all roles."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "serve", "--config", str(self.config)],
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill every process of the node at once, as a power cut would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not listening(self.settings.receive.port))  # its children die as well

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """Stop the node as systemd would; return its status."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def wait_until_listening(self) -> None:
        """Return once the storage SCP takes connections."""
        wait_until(lambda: listening(self.settings.receive.port), 60)

    def send(self, files: Sequence[Path]) -> Iterator[Sent]:
        """Send files to the node over one association; yield each answer as it comes."""
        receive = self.settings.receive
        return send_files(files, peer(receive.ae_title, receive.port), self.settings)

    def received(self) -> set[str]:
        """SOP Instance UIDs that the worklist has, each with its bytes whole on disk."""
        found = set()
        with Worklist(self.settings.url) as worklist:
            for row in worklist.views.worklist(datetime.now(UTC)):
                for series in worklist.arrivals.study(row.study_instance_uid):
                    for instance in series.instances:
                        data = (self.settings.data_dir / instance.stored.path).read_bytes()
                        assert sha256(data).hexdigest() == instance.stored.sha256
                        found.add(instance.header.sop_instance_uid)
        return found

    def rows(self) -> list[Row]:
        """The worklist now."""
        with Worklist(self.settings.url) as worklist:
            return worklist.views.worklist(datetime.now(UTC))

    def wait_for(self, reached: Callable[[list[Row]], bool], timeout_s: float = 120) -> list[Row]:
        """Return the worklist once it has got there; fail with the node's log if it does not."""
        deadline = time.monotonic() + timeout_s
        with Worklist(self.settings.url) as worklist:
            while time.monotonic() < deadline:
                rows = worklist.views.worklist(datetime.now(UTC))
                if reached(rows):
                    return rows
                time.sleep(0.05)
        raise AssertionError(f"{self.rows()}\n{self.log.read_text()[-8000:]}")


@contextmanager
def running_node(folder: Path, toml: str, networks: Path | None = None) -> Iterator[RunningNode]:
    """Run a node while the block runs; `networks` is where it keeps its converted networks."""
    node = RunningNode(folder, toml, networks)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def roles(node: RunningNode) -> dict[str, int]:
    """Process id of each role's process that is alive now."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue
        if "--role" in words and str(node.config) in words:
            found[words[words.index("--role") + 1]] = int(entry.name)
    return found


def receiving() -> str:
    """Return the settings of a storage SCP on a free port of this machine."""
    return f"""
[receive]
host = "127.0.0.1"
port = {free_port()}
min_free_mb = 64
"""
