"""Folders for what a process needs while it works; they may hold images of patients.

A process that is killed cannot remove its own. So each holds the lock of its folder, and whoever
begins removes the folders whose locks are free.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir, mkdtemp

from node.folder_lock import Turn

PREFIX = "ichnode-archive-"
_LOCK = "ichnode.lock"
_YOUNG_S = 60.0
"""A folder that is younger may not have its lock yet."""


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a new folder of this user's own, which is gone in the end, or when the next begins."""
    _sweep()
    folder = Path(mkdtemp(prefix=PREFIX))
    turn = Turn(folder, _LOCK)
    turn.taken()
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)
        turn.leave()


def _sweep() -> None:
    """Remove the folders of processes that are gone."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            turn = Turn(folder, _LOCK)
            if turn.taken():
                rmtree(folder, ignore_errors=True)
            turn.leave()
