"""Runs a codec in a process apart, so that one that crashes, hangs or eats memory costs one answer.

Codecs are C and C++ code that gets whatever a peer sent.
"""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from node.errors import BadObject
from node.limits import end_with_parent, forbid_core_dump, limit_memory
from node.log import configure
from node.settings import Decode

P = ParamSpec("P")
T = TypeVar("T")


class Apart:
    """One process that decodes, started when it is first needed, and again when it died.

    Parameters
    ----------
    limits
        What one call may take.
    """

    def __init__(self, limits: Decode) -> None:
        self._limits = limits
        self._turn = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns there; it must be importable by its name.

        Raises
        ------
        BadObject
            If the process ended, or the limits of time or memory were reached.
        """
        with self._turn:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1, get_context("spawn"), _begin, (self._limits.memory_mb,)
                )
            pool = self._pool
        try:
            return pool.submit(_timed, self._limits.timeout_s, function, args, kwargs).result()
        except BrokenProcessPool as error:
            with self._turn:
                self._pool = None if self._pool is pool else self._pool
            raise BadObject("decoding the pixels ended its process, or took too long") from error
        except MemoryError as error:
            raise BadObject("decoding the pixels took more memory than it may") from error

    def close(self) -> None:
        """End the process."""
        with self._turn:
            if self._pool is not None:
                self._pool.shutdown()
            self._pool = None


def _begin(memory_mb: int) -> None:
    """Limit the process, which ends with its parent and by no signal to the group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    forbid_core_dump()
    configure("WARNING", as_json=False)  # libraries quote headers; nothing goes out as it is
    limit_memory(memory_mb)


def _timed(
    seconds: float, function: Callable[..., T], args: tuple[object, ...], named: dict[str, object]
) -> T:
    """Return what the function returns; a function that takes too long ends the process."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(*args, **named)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
