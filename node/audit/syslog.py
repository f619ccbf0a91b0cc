"""Syslog over TLS: messages of RFC 5424 in the frames of RFC 5425, as PS3.15 A.6 wants them."""

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
from collections.abc import Sequence
from datetime import UTC, datetime

from node.errors import BadConfiguration, Retryable
from node.settings import Audit

MSGID = "DICOM+RFC3881"
"""PS3.15 A.6."""
FACILITY = 10
"""Security and authorization messages (PS3.15 A.6)."""
NOTICE, WARNING = 5, 4
"""Severities: normal but significant, and a warning condition (PS3.15 A.6)."""
TIMEOUT_S = 15.0
"""Longest silence of a collector; chosen."""
RESET_S = 0.2
"""How long a reset may follow an answered close; chosen."""
LEFT = "it left before it had everything"
OFTEN = "so that nothing tells whether it has the events: if it always does, see audit.await_close"


def syslog_message(content: bytes, at: datetime, severity: int) -> bytes:
    """Return the message of RFC 5424 that holds a text in UTF-8."""
    host = socket.gethostname().encode("ascii", "replace").decode()[:255] or "-"
    time = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    header = f"<{FACILITY * 8 + severity}>1 {time} {host} ichnode {os.getpid()} {MSGID} - "
    return header.encode("ascii") + b"\xef\xbb\xbf" + content


def context(settings: Audit) -> ssl.SSLContext:
    """Return how a collector is spoken to: TLS 1.2 or later, its certificate and name checked.

    Raises
    ------
    BadConfiguration
        If a file of the settings cannot be used.
    """
    try:
        made = ssl.create_default_context(cafile=settings.ca_file or None)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate:
            made.load_cert_chain(settings.certificate, settings.key, password="")  # never asks
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"audit: ca_file, certificate or key: {error}") from error
    return made


def send(messages: Sequence[bytes], settings: Audit, tls: ssl.SSLContext) -> None:
    """Send messages over a connection of their own; a collector has all of them when this returns.

    Syslog has no acknowledgement. But who has read everything answers our close_notify, as RFC 5425
    4.4 demands; a peer that leaves by itself says so before it has ours, or its host resets the
    connection since something was not read.

    Raises
    ------
    Retryable
        If the collector is away, is not who it must be, or leaves before it has all.
    """
    where = (settings.host, settings.port)
    try:
        with (
            socket.create_connection(where, TIMEOUT_S) as plain,
            tls.wrap_socket(
                plain, server_hostname=settings.host, suppress_ragged_eofs=False
            ) as connection,
        ):
            for message in messages:
                connection.sendall(b"%d %b" % (len(message), message))
            _require_taken(connection, settings)
    except OSError as error:
        raise Retryable(f"{settings.host}:{settings.port}: {error}") from error


def reach(settings: Audit) -> None:
    """Return if the collector speaks TLS with us and answers our close; it is sent nothing.

    Raises
    ------
    BadConfiguration, Retryable
        As `context` and `send`.
    """
    send((), settings, context(settings))


def _require_taken(connection: ssl.SSLSocket, settings: Audit) -> None:
    """Close, and raise OSError unless the peer has read everything."""
    connection.settimeout(0)
    _require_here(connection)
    try:
        if not _send_close(connection):
            connection.settimeout(TIMEOUT_S)
            connection.recv(1)  # raises what it may say instead, as that it refuses us
    except ssl.SSLZeroReturnError:
        pass
    except ssl.SSLEOFError as error:
        if settings.await_close:
            raise ConnectionAbortedError(f"it left without an answer, {OFTEN}") from error
    watch = select.poll()
    watch.register(connection, 0)  # errors alone
    if watch.poll(1000 * RESET_S) or _unacknowledged(connection):
        raise ConnectionAbortedError(LEFT)


def _require_here(connection: ssl.SSLSocket) -> None:
    """Raise OSError if the peer has closed, or said what is wrong, before we close."""
    try:
        if not connection.recv(4096):
            raise ConnectionAbortedError(LEFT)
    except ssl.SSLWantReadError:
        pass


def _send_close(connection: ssl.SSLSocket) -> bool:
    """Send a close_notify; return whether it was answered at once.

    Of an answer that comes later `unwrap` would not tell whether it is another alert.
    """
    while True:
        try:
            connection.unwrap()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            select.select([], [connection], [], TIMEOUT_S)
        else:
            return True


def _unacknowledged(connection: socket.socket) -> int:
    """Return how many bytes the peer's TCP has not acknowledged (SIOCOUTQ, tcp(7))."""
    (count,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))
    return int(count)
