"""What the node knows that no row of the list shows: studies that never came."""

import threading
from collections.abc import Callable
from datetime import datetime

from node.settings import Settings
from node.worklist import CoverageStanding, Worklist

SHARED_S = 5
"""For how long open pages share one answer of the database."""
ROWS = 20
"""Studies that are listed above the list; the rest is counted, and `ichnode coverage` has it."""


class Watching:
    """What stands above the list, read once for all pages; threads share it."""

    def __init__(
        self, worklist: Worklist, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._worklist, self._settings, self._clock = worklist, settings, clock
        self._lock = threading.Lock()
        self._read: tuple[int, CoverageStanding] | None = None

    def coverage(self) -> CoverageStanding:
        """Return which studies never came, and of which sources that is not known.

        Raises
        ------
        IchnodeError
            If the database cannot be read.
        """
        now = self._clock()
        turn = int(now.timestamp() // SHARED_S)
        with self._lock:
            if self._read is None or self._read[0] != turn:
                found = self._worklist.coverage.standing(self._settings.coverage, now)
                self._read = turn, found
            return self._read[1]
