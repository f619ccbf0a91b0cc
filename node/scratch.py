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

_LOCK = "ichnode.lock"
_YOUNG_S = 60.0
"""A folder that is younger may not have its lock yet."""


@contextmanager
def scratch(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of this user's own, which is gone in the end, or when the next begins.

    Parameters
    ----------
    prefix
        What its name begins with, and no other folder's there.
    within
        Where it is made; None takes the machine's folder of temporary files.
    """
    within = within or Path(gettempdir())
    _sweep(within, prefix)
    folder = Path(mkdtemp(prefix=prefix, dir=within))
    turn = Turn(folder, _LOCK)
    turn.taken()
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)
        turn.leave()


def _sweep(within: Path, prefix: str) -> None:
    """Remove the folders of processes that are gone."""
    for folder in within.glob(f"{prefix}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            turn = Turn(folder, _LOCK)
            if turn.taken():
                rmtree(folder, ignore_errors=True)
            turn.leave()
