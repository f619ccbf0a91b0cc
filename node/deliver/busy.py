"""Which destinations are being sent to, so that none of them holds more than one thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from node.records import Delivery


class Busy:
    """The destinations that a thread sends to, so that no second one takes what they are owed.

    A peer that hangs then holds one thread, whatever it is owed. Urgent parcels have threads of
    their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: frozenset[str] = frozenset()

    @contextmanager
    def claimed(self, claim: Callable[..., list[Delivery]]) -> Iterator[list[Delivery]]:
        """Yield what `claim` returns; its destination is busy while the block runs.

        Parameters
        ----------
        claim
            Returns deliveries of one destination, which is not among those `besides`.
        """
        with self._lock:
            batch = claim(besides=self._names)
            names = frozenset(owed.destination for owed in batch)
            self._names |= names
        try:
            yield batch
        finally:
            with self._lock:
                self._names -= names
