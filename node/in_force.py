"""The settings in force: read from the file when a process starts, and anew when it is asked to.

Who may call, where results go and where studies are fetched from change while the node runs. All
other settings wait for a restart: ports are listened on, networks are loaded, files are open.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

from node.errors import BadConfiguration
from node.faults import faults
from node.log import event
from node.settings import Settings, load, with_changes

logger = logging.getLogger(__name__)

RELOADED = (
    "receive.allowed_callers",
    "receive.callers",
    "receive.insecure",
    "assemble.ask",
    "shadow",
    "deliver",
    "pull",
    "alarms.to",
)
"""The settings, and whole sections, that a reload brings into force."""
SLICE_S = 0.2
"""How often one who waits for the end of a turn looks whether the node stops. Chosen."""

Take = Callable[[Settings], None]


class Turn(threading.Event):
    """The time for which settings are in force; it is set when that is over, or the node stops."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def is_set(self) -> bool:
        """Return whether the turn is over."""
        return self._stop.is_set() or super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end, at most `timeout` seconds; return whether it is over."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = SLICE_S if until is None else until - time.monotonic()
            if left <= 0:
                return False
            super().wait(min(left, SLICE_S))
        return True


class InForce:
    """The settings in force, which `reload` changes; threads share it.

    Parameters
    ----------
    file
        What is read anew; None if the settings came from the environment alone.
    said_by_another
        Whether another process tells of each reload, so that this one only does so for debugging.
    """

    def __init__(
        self, file: Path | None, settings: Settings, *, said_by_another: bool = False
    ) -> None:
        self._file, self._settings = file, settings
        self._level = logging.DEBUG if said_by_another else logging.INFO
        self._lock = threading.Lock()
        self._takers: list[Take] = []
        self._turns: WeakSet[Turn] = WeakSet()

    def __call__(self) -> Settings:
        """Return the settings in force now."""
        return self._settings

    def turn(self, stop: threading.Event) -> Turn:
        """Return what is set with `stop`, or by the next reload; ask for it before the settings."""
        turn = Turn(stop)
        with self._lock:
            self._turns.add(turn)
        return turn

    @contextmanager
    def telling(self, take: Take) -> Iterator[None]:
        """Call `take` with the settings now, and after each reload while the block runs."""
        with self._lock:
            take(self._settings)
            self._takers.append(take)
        try:
            yield
        finally:
            with self._lock:
                self._takers.remove(take)

    def reload(self) -> None:
        """Read the file anew; what is wrong with it is said, and then nothing changes."""
        with self._lock:
            try:
                read = load(self._file)
                settings = with_changes(self._settings, read, RELOADED)
            except BadConfiguration as error:
                say = event("not_reloaded")
                logger.error("settings not reloaded, nothing changes: %s", error, extra=say)
                return
            changed = list(_differences(self._settings.model_dump(), settings.model_dump()))
            waiting = list(_differences(settings.model_dump(), read.model_dump()))
            self._say(changed, waiting)
            for fault in (one for one in faults(settings) if one not in faults(self._settings)):
                logger.log(self._level, "in the new settings: %s", fault, extra=event("fault"))
            self._settings = settings
            for take in self._takers:
                take(settings)
            for turn in self._turns:
                turn.set()
            self._turns.clear()

    def _say(self, changed: list[str], waiting: list[str]) -> None:
        say = event("reloaded", changed=", ".join(changed) or "nothing")
        logger.log(self._level, "settings reloaded", extra=say)
        if waiting:
            say = event("awaits_restart", settings=", ".join(waiting))
            logger.log(self._level, "changed in the file, in force after a restart", extra=say)


def _differences(old: dict[str, Any], new: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the keys of settings that differ, without their values."""
    for name, value in new.items():
        if isinstance(value, dict):
            yield from _differences(old[name], value, f"{above}{name}.")
        elif old[name] != value:
            yield f"{above}{name}"
