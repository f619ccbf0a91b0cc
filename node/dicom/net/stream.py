"""The bytes of a connection, in clear or by TLS, each read and write within a time limit."""

import select
import socket
import ssl
import time
from contextlib import suppress
from typing import Protocol

from node.dicom.net.association import limit_time

CLOSE_S = 2.0
"""How long a peer may take to close its side after our last bytes (the ARTIM timer). It must exceed
a network round trip."""


class Stream(Protocol):
    """A connection that bytes are read from and written to."""

    def limit_time(self, seconds: float) -> None:
        """Let each read and each write end within this time."""

    def receive(self, buffer: bytearray) -> int:
        """Fill the buffer; return how many bytes came: fewer if the peer closed.

        Raises
        ------
        TimeoutError
            If not all came in time.
        OSError
            If the connection is lost.
        """

    def send(self, data: bytes) -> None:
        """Send all the bytes; raises as `receive`."""

    def is_waiting(self) -> bool:
        """Return whether the peer has sent something, or closed the connection."""

    def finish(self) -> None:
        """Wait until the peer has read our last bytes and closes: closing first may cut them."""


def stream_of(connection: socket.socket) -> Stream:
    """Return the stream of a connected socket; the caller closes it."""
    if isinstance(connection, ssl.SSLSocket):
        return _Secured(connection)
    return _Clear(connection)


def drain(connection: socket.socket) -> None:
    """Say that nothing more comes, and wait for the peer to close."""
    try:
        connection.shutdown(socket.SHUT_WR)
        for _ in range(16):  # whatever else it still sends
            if not connection.recv(1 << 16):
                return
    except OSError:
        return


class _Clear:
    """A connection in clear; the kernel keeps the time limits and fills a buffer in one call."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def limit_time(self, seconds: float) -> None:
        limit_time(self._socket, seconds)

    def receive(self, buffer: bytearray) -> int:
        _acknowledge_at_once(self._socket)
        try:
            return self._socket.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
        except BlockingIOError as error:
            raise TimeoutError("the peer was silent too long") from error

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def is_waiting(self) -> bool:
        return _is_readable(self._socket)

    def finish(self) -> None:
        self.limit_time(CLOSE_S)
        drain(self._socket)


class _Secured:
    """A connection by TLS. It comes in records of 16 KB at most, each a read of its own."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection
        self._seconds = CLOSE_S

    def limit_time(self, seconds: float) -> None:
        self._seconds = seconds

    def receive(self, buffer: bytearray) -> int:
        left, until = memoryview(buffer), time.monotonic() + self._seconds
        while left:
            self._wait_until(until)
            _acknowledge_at_once(self._socket)
            got = self._socket.recv_into(left)
            if not got:
                break
            left = left[got:]
        return len(buffer) - len(left)

    def send(self, data: bytes) -> None:
        left, until = memoryview(data), time.monotonic() + self._seconds
        while left:
            self._wait_until(until)
            left = left[self._socket.send(left) :]

    def is_waiting(self) -> bool:
        return bool(self._socket.pending()) or _is_readable(self._socket)

    def finish(self) -> None:
        self._socket.settimeout(CLOSE_S)
        with suppress(OSError):  # whatever it says to our close_notify
            self._socket.unwrap()
        drain(self._socket)

    def _wait_until(self, until: float) -> None:
        """Let the next call end by this time of the monotonic clock."""
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the peer was silent too long")
        self._socket.settimeout(left_s)


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Have the kernel acknowledge what comes next; it forgets the option, so set it each time.

    Most senders leave Nagle's algorithm on, and would wait 40 ms for it before they send an
    object's last bytes.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _is_readable(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable)
