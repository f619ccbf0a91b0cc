"""The open connections of a listener, and who leaves when there are too many."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Visit:
    """One connection, served by one thread.

    Attributes
    ----------
    line
        What is read and written; by TLS once that is set.
    is_associated
        Whether it has an association. Until then it may have to leave.
    made_room
        Whether it had to.
    """

    thread: threading.Thread
    line: socket.socket
    is_associated: bool = False
    made_room: bool = False

    def end(self) -> None:
        """Let its thread read nothing more; what it writes still leaves, by TLS if that is on."""
        with suppress(OSError):  # the peer closed it first
            # Not the line's own `shutdown`: that would turn TLS off, and go on in clear.
            socket.socket.shutdown(self.line, socket.SHUT_RD)


class Connections:
    """The visits at a time; `most` of them, or a few more while some leave."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._visits: list[Visit] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visits)

    @contextmanager
    def visit(self, connection: socket.socket) -> Iterator[Visit]:
        """Yield the visit of a connection that this thread serves while the block runs."""
        visit = Visit(threading.current_thread(), connection)
        with self._lock:
            self._visits.append(visit)
        try:
            yield visit
        finally:
            with self._lock:
                self._visits.remove(visit)

    def make_room(self) -> bool:
        """Return whether one more connection may come.

        If there are too many, the one that has been without an association for longest leaves. So
        connections on which nobody speaks keep out nobody, however many they are.
        """
        with self._lock:
            staying = [visit for visit in self._visits if not visit.made_room]
            if len(staying) < self._most:
                return True
            for visit in staying:
                if not visit.is_associated:
                    visit.made_room = True
                    visit.end()
                    return True
        return False

    def end(self, timeout_s: float) -> None:
        """End all; return once their threads have, or this time is over for one of them."""
        for visit in list(self._visits):
            visit.end()
            visit.thread.join(timeout_s)
