"""The copies of what an object store has: bounded in size and age, the longest unused go first."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from node.log import event

logger = logging.getLogger(__name__)

YOUNG_S = 600.0
"""A copy that was used within this time stays: a stage may be reading it. Chosen."""
OLD_S = 7 * 86400.0
"""A copy that was not used for this long goes, whatever the room: its study may have been purged
from another machine. Chosen."""
NOTED_S = 60.0
"""How often it is noted that a copy is used; chosen, since a note is a write."""
SHARE = 0.05
"""Share of the bound that a process adds before it looks again what must go."""


class _Copy(NamedTuple):
    used_at: float
    size: int
    file: Path


class Copies:
    """Files that may go at any time, in some folders; threads and processes share them.

    Parameters
    ----------
    bound
        How many bytes may lie there.
    """

    def __init__(self, folders: Sequence[Path], bound: int) -> None:
        self._folders, self._bound = folders, bound
        self._lock = threading.Lock()
        self._added = bound  # the first copy looks at what an earlier process left
        self._tidying: threading.Thread | None = None

    def used(self, file: Path) -> bool:
        """Return whether a copy is there, and note that it is used."""
        try:
            if time.time() - file.stat().st_mtime > NOTED_S:
                os.utime(file)
        except OSError:
            return False
        return True

    def added(self, file: Path) -> None:
        """Count a copy; from time to time the oldest go, in a thread of its own."""
        with self._lock:
            self._added += file.stat().st_size
            busy = self._tidying is not None and self._tidying.is_alive()
            if busy or self._added < SHARE * self._bound:
                return
            self._added = 0
            self._tidying = threading.Thread(target=self.tidy, name="copies", daemon=True)
            self._tidying.start()

    def tidy(self) -> int:
        """Remove what is too old or too much; return how many files."""
        now = time.time()
        found = sorted(self._found())
        over = sum(one.size for one in found) - self._bound
        removed = 0
        for one in found:
            unused_s = now - one.used_at
            if unused_s < YOUNG_S or (over <= 0 and unused_s < OLD_S):
                break
            with suppress(OSError):
                one.file.unlink()
                over -= one.size
                removed += 1
        if removed:
            logger.info("copies removed", extra=event("copies_removed", files=removed))
        return removed

    def _found(self) -> Iterator[_Copy]:
        for folder in self._folders:
            for where, _, names in os.walk(folder):
                for name in names:
                    with suppress(OSError):
                        file = Path(where, name)
                        status = file.stat()
                        yield _Copy(status.st_mtime, status.st_size, file)
