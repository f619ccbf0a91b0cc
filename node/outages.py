"""What the node stands on fails for a while: disk, memory, database.

Such an outage is no fault of a case. A role that meets one waits until it is over, says so once,
and goes on by itself.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS, ESTALE
from pathlib import Path
from uuid import uuid4
from weakref import WeakSet

from node.errors import Outage
from node.log import event

logger = logging.getLogger(__name__)

FAULTS = (ENOSPC, EDQUOT, EROFS, EIO, ESTALE, ENOMEM, EMFILE, ENFILE)
"""What the operating system says where the machine, and not the file, cannot do what was asked."""
AGAIN_S = 5.0
"""How long a role waits before it looks whether an outage is over; chosen."""
FRESH_S = 60.0
"""An outage that nobody met again for so long is not known to last; chosen."""
ROOM = 32 << 20
"""Bytes that must be free for an outage of the disk to be over: what a large case writes."""


def outage_of(error: BaseException) -> Outage | None:
    """Return the outage that an error, or what caused it, tells of; None if it tells of none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Outage):
            return cause
        if isinstance(cause, OSError) and cause.errno in FAULTS:
            return Outage(str(cause))
        cause = cause.__cause__
    return None


def require_room(folder: Path) -> None:
    """Return if a folder takes the files of a case.

    Raises
    ------
    Outage
        If it is not there, cannot be written, or has less than `ROOM` bytes free.
    """
    probe = folder / f".room-{uuid4().hex}"
    try:
        with probe.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
            os.fsync(file.fileno())
    except OSError as error:
        raise Outage(f"{folder}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            probe.unlink()


class Outages:
    """What a role says of outages: once that it waits, once that it goes on.

    Threads share it: the role waits from the first of its jobs that meets an outage until the last.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._since = self._met = 0.0
        self._why = ""
        _EVERY.add(self)

    def met(self, job: str, outage: Outage) -> None:
        """Note that a job cannot be done now."""
        with self._lock:
            if not self._waiting:
                self._since = time.monotonic()
                say = event("role_waits", role=self._role)
                logger.error("waits, and goes on by itself: %s", outage, extra=say)
            self._waiting.add(job)
            self._met, self._why = time.monotonic(), str(outage)

    @property
    def why(self) -> str:
        """What the role waits for; "" if it is not known to wait."""
        with self._lock:
            lasts = self._waiting and time.monotonic() - self._met < FRESH_S
            return self._why if lasts else ""

    def over(self, job: str) -> None:
        """Note that a job was done."""
        with self._lock:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
            if not self._waiting:
                waited_s = round(time.monotonic() - self._since)
                say = event("role_goes_on", role=self._role, waited_s=waited_s)
                logger.warning("goes on", extra=say)


_EVERY: WeakSet[Outages] = WeakSet()
"""Those of this process, which is one role's."""


def waits_for() -> str:
    """Return what this process waits for, in words; "" if it gets on."""
    return next(filter(None, (one.why for one in list(_EVERY))), "")


def sit_out(
    outage: Outage, role: str, require_over: Callable[[], None], stop: threading.Event
) -> None:
    """Return once an outage is over, or `stop` is set.

    Parameters
    ----------
    require_over
        Raises an Outage as long as it lasts.
    """
    outages = Outages(role)
    outages.met(role, outage)
    while not stop.wait(AGAIN_S):
        try:
            require_over()
        except Outage as lasting:
            outages.met(role, lasting)
            continue
        outages.over(role)
        return
