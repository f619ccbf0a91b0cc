"""The data folder's lock: one `ichnode serve` supervises a folder; a second one is refused.

The kernel lets the lock go when its process ends, however it ends. The lock file stays, and names
the last process that held it. Single roles and other commands need no lock: they meet in the
database alone.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.errors import BadConfiguration
from node.log import event

logger = logging.getLogger(__name__)

LOCK_FILE = "serve.lock"
PATIENCE_S = 1.0
"""How long a lock may be held before it counts as taken: `ichnode doctor` holds it for an instant
while it looks."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a data folder while the block runs.

    On a file system without locks a warning is logged, and the block runs all the same.

    Raises
    ------
    BadConfiguration
        If another process holds the lock, or the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadConfiguration(f"data_dir: {error}") from error
    try:
        _take(descriptor, folder)
        with suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(folder: Path) -> str | None:
    """Return the number of the process that holds the lock; None if no process does."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(descriptor)
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
    return None


class Turn:
    """The lock of one kind of work on a data folder, which one process has until it ends.

    Parameters
    ----------
    name
        Of the lock file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / name
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._mine = False

    def taken(self) -> bool:
        """Return whether this process has the lock; it takes one that is free.

        On a file system without locks every process has it.
        """
        with self._lock:
            self._mine = self._mine or self._try()
            return self._mine

    def leave(self) -> None:
        """Let the lock go."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor, self._mine = None, False

    def _try(self) -> bool:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            logger.warning("no lock: %s", error.strerror, extra=event("no_lock"))
        return True


def _take(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise BadConfiguration(
                f"another ichnode serve (process {_named(descriptor)}) uses {folder}: stop it, or "
                "give this node another data_dir"
            ) from None
        except OSError as error:
            logger.warning(
                "no lock: %s", error.strerror, extra=event("no_lock", folder=str(folder))
            )
            return


def _named(descriptor: int) -> str:
    """Return the process number in the lock file, "unknown" if it holds none."""
    text = os.pread(descriptor, 20, 0)
    return text.decode() if text.isdigit() else "unknown"
