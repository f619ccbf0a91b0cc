"""A whole node as a process group of its own, to be watched and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from node.settings import Settings, load
from node.worklist.store import Row, Store, upgrade


class RunningNode:
    """`ichnode serve` on settings in a folder; `kill` is `kill -9` of all its processes."""

    def __init__(self, folder: Path, toml: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "ichnode.toml"
        self.config.write_text(f'data_dir = "{folder / "data"}"\n{toml}')
        self.settings: Settings = load(self.config)
        self.settings.data_dir.mkdir(exist_ok=True)
        self.log = folder / "node.log"
        upgrade(self.settings.url)
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

    def stop(self) -> None:
        """Stop the node as systemd would, and see that it leaves nothing behind."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def rows(self) -> list[Row]:
        """The worklist now."""
        with Store(self.settings.url) as store:
            return store.worklist(datetime.now(UTC))

    def wait_for(self, reached: Callable[[list[Row]], bool], timeout_s: float = 120) -> list[Row]:
        """Return the worklist once it has got there; fail with the node's log if it does not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            rows = self.rows()
            if reached(rows):
                return rows
            time.sleep(0.05)
        raise AssertionError(f"{self.rows()}\n{self.log.read_text()[-8000:]}")


@contextmanager
def running_node(folder: Path, toml: str) -> Iterator[RunningNode]:
    """Run a node while the block runs."""
    node = RunningNode(folder, toml)
    node.start()
    try:
        yield node
    finally:
        node.stop()
