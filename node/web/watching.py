"""What no row of the list shows: studies that never came, and a node that does not read."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from node.settings import Settings
from node.worklist import CanaryStanding, CoverageStanding, Worklist

SHARED_S = 5
"""For how long open pages share one answer of the database."""
ROWS = 20
"""Studies that are listed above the list; the rest is counted, and `ichnode coverage` has it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What stands above the list."""

    coverage: CoverageStanding
    canary: CanaryStanding


class Watching:
    """What stands above the list, read once for all pages; threads share it."""

    def __init__(
        self, worklist: Worklist, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._worklist, self._settings, self._clock = worklist, settings, clock
        self._lock = threading.Lock()
        self._read: tuple[int, Watched] | None = None

    def take(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def now(self) -> Watched:
        """Return what a person must know beside the list.

        Raises
        ------
        IchnodeError
            If the database cannot be read.
        """
        now = self._clock()
        turn = int(now.timestamp() // SHARED_S)
        with self._lock:
            if self._read is None or self._read[0] != turn:
                self._read = turn, self._look(now)
            return self._read[1]

    def _look(self, now: datetime) -> Watched:
        return Watched(
            self._worklist.coverage.standing(self._settings.coverage, now),
            self._worklist.canaries.standing(self._settings.canary, now),
        )
