"""The pulse of a role: it tells systemd and the worklist that the process runs and gets on.

A role's main loop asks again and again whether to stop. As long as it asks, it gets on. A loop
that has not asked for `STALLED_S` hangs: the process says where, and ends, so that the supervisor
or systemd starts it again and another worker takes up its case.
"""

import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from node.errors import IchnodeError
from node.log import event
from node.outages import waits_for
from node.worklist import Process, Processes, claimant

logger = logging.getLogger(__name__)

BEAT_S = 10.0
"""How often the pulse is told. A sixth of systemd's WatchdogSec in our units."""
STALLED_S = 900.0
"""Silence of a main loop that means it hangs. It must exceed the longest stage: decoding may take
`decode.timeout_s`, a reading on two cores some minutes. An estimate."""
STALLED_STATUS = 70
"""The exit status of a process that hung: EX_SOFTWARE (sysexits.h)."""


class StopEvent(threading.Event):
    """An event that notes when the main thread last asked for it, in monotonic seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = time.monotonic()

    def is_set(self) -> bool:
        """Return whether it is set."""
        self._note()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; return whether it is."""
        self._note()
        return super().wait(timeout)

    def _note(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.asked = time.monotonic()


class Pulse:
    """What a process says of itself."""

    def __init__(
        self,
        role: str,
        processes: Processes,
        clock: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        self._processes, self._clock, self._stop = processes, clock, stop
        self._name, self._role, self._started_at = claimant(), role, clock()
        self._ready_at: datetime | None = None
        self._ended = threading.Event()
        self._tell: Callable[[], None] = lambda: None

    def tell_if_hangs(self, tell: Callable[[], None]) -> None:
        """Call this before the process ends because its main loop hangs."""
        self._tell = tell

    def ready(self) -> None:
        """Say that the role does its work from now on."""
        self._ready_at = self._clock()
        notify("READY=1")
        self._beat()

    def keep(self) -> None:
        """Say every `BEAT_S` that the process runs, until `end`."""
        while True:
            self._require_progress()
            notify("WATCHDOG=1")
            self._beat()
            if self._ended.wait(BEAT_S):
                return

    def end(self) -> None:
        """Have `keep` return."""
        self._ended.set()

    def say_ended(self) -> None:
        """Say that the process stops as it was told to; after the last beat."""
        notify("STOPPING=1")
        with suppress(IchnodeError):
            self._processes.ended(self._name)

    def _beat(self) -> None:
        with suppress(IchnodeError):  # the database is out of reach, which the role itself says
            times = (self._started_at, self._ready_at, self._clock())
            self._processes.beat(Process(self._name, self._role, *times, waits_for()))
            step = self._processes.reckon(self._processes.time(self._clock()))
            if step:
                say = event("clock_set_back", by_s=round(step.total_seconds()))
                logger.warning("the clock was set back: times are reckoned anew", extra=say)

    def _require_progress(self) -> None:
        if not isinstance(self._stop, StopEvent) or self._ready_at is None:
            return
        silent_s = time.monotonic() - self._stop.asked
        if silent_s > STALLED_S:
            say = event("role_stalled", role=self._role, silent_s=round(silent_s))
            logger.critical("hangs, ending the process; it stood here:", extra=say)
            faulthandler.dump_traceback()
            with suppress(IchnodeError):
                self._tell()
            os._exit(STALLED_STATUS)


@contextmanager
def pulse(
    role: str, processes: Processes, clock: Callable[[], datetime], stop: threading.Event
) -> Iterator[Pulse]:
    """Tell that this process runs a role while the block runs."""
    one = Pulse(role, processes, clock, stop)
    thread = threading.Thread(target=one.keep, name="pulse", daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.end()
        thread.join()
        one.say_ended()


def notify(state: str) -> None:
    """Tell systemd the state of the service, if it started this process (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, suppress(OSError):
        line.sendto(state.encode(), address.replace("@", "\0", 1))
