"""An association that we request of a peer, or the reason why there is none."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom import AE, evt

from node.dicom.net.association import application_entity, limit_time
from node.dicom.net.tls import WatchedSocket, client_context
from node.dicom.net.tls_failures import why
from node.errors import BadConfiguration, NoConnection, Retryable
from node.settings import ClientTls

REJECTED_TRANSIENT = 2
"""Result of an A-ASSOCIATE-RJ that may pass (PS3.8 9.3.4)."""


class Peer(Protocol):
    """What is needed to reach a peer: a destination's or a source's settings."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def ae_title(self) -> str:
        """Its AE title."""

    @property
    def host(self) -> str:
        """Its address."""

    @property
    def port(self) -> int:
        """Its port."""

    @property
    def tls(self) -> ClientTls:
        """Whether it is spoken to over TLS, and how."""


@contextmanager
def associated(
    peer: Peer,
    contexts: list[Any],
    *,
    ae_title: str,
    timeout_s: float,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Yield an association with the peer; release it at the end.

    Parameters
    ----------
    ae_title
        Our own AE title.
    roles
        SCP/SCU role selections to negotiate (PS3.7 D.3.3.4).
    handlers
        pynetdicom's (event, function) pairs, for what the peer requests of us.

    Raises
    ------
    NoConnection
        If there is no association; the message says why.
    Retryable
        If the peer accepts none of the contexts, or rejects the association for now.
    """
    ae = application_entity(ae_title, timeout_s=timeout_s)
    connection = _Connection(peer, timeout_s)
    assoc = _request(ae, peer, contexts, list(roles), list(handlers), connection)
    try:
        if not assoc.is_established:
            said = f"{peer.name}: {_why_not(assoc, peer, connection)}"
            raise NoConnection(said) if _is_down(assoc) else Retryable(said)
        _keep_answers(assoc)
        yield assoc
    except Retryable:
        if assoc.is_established:  # a release would wait for an answer that may not come
            assoc.abort()
        raise
    finally:
        if assoc.is_established:
            assoc.release()
        connection.close()


def _request(
    ae: AE,
    peer: Peer,
    contexts: list[Any],
    roles: list[Any],
    handlers: list[Any],
    connection: "_Connection",
) -> Any:
    """Return the association once the peer has answered the request, or has not in time."""
    try:
        return ae.associate(
            peer.host,
            peer.port,
            contexts,
            ae_title=peer.ae_title,
            max_pdu=ae.maximum_pdu_size,
            ext_neg=roles,
            evt_handlers=[*connection.handlers, *handlers],
            tls_args=(connection, peer.host) if peer.tls.is_on else None,
        )
    except OSError as error:
        raise NoConnection(f"{peer.name}: {peer.host}: {error.strerror}") from error


class _Connection:
    """The TCP connection of an association, as pynetdicom tells of it.

    Raises
    ------
    Retryable
        If a file of the peer's `tls` cannot be used: once it can, all goes on by itself.
    """

    def __init__(self, peer: Peer, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._sockets: list[socket.socket] = []
        self._opened = threading.Event()
        self.handlers = [(evt.EVT_ACSE_SENT, self._requested), (evt.EVT_CONN_OPEN, self._connected)]
        try:
            self._context = client_context(peer.tls) if peer.tls.is_on else None
        except BadConfiguration as error:
            raise Retryable(f"{peer.name}: {error}") from error

    @property
    def is_open(self) -> bool:
        """Whether the peer took the connection, by TLS where that is set."""
        return self._opened.is_set()

    @property
    def failure(self) -> OSError | None:
        """What went wrong with TLS, if anything did."""
        secured = [each for each in self._sockets if isinstance(each, WatchedSocket)]
        return secured[-1].failure if secured else None

    def wrap_socket(self, raw: socket.socket, *, server_hostname: str, **_: Any) -> ssl.SSLSocket:
        """Return pynetdicom's socket for TLS: it takes this object for a context."""
        assert self._context is not None
        secured = self._context.wrap_socket(raw, server_hostname=server_hostname)
        self._sockets.append(secured)
        return secured

    def close(self) -> None:
        """Close the socket: pynetdicom leaves one open that did not connect."""
        for each in self._sockets:
            each.close()

    def _requested(self, event: evt.Event) -> None:
        if (raw := event.assoc.dul.socket.socket) is not None:
            self._sockets.append(raw)

    def _connected(self, event: evt.Event) -> None:
        tune(event, self._timeout_s)
        self._opened.set()


def _keep_answers(assoc: Any) -> None:
    """Keep pynetdicom's own thread from taking the answers to our requests.

    That thread reads the peer's requests, and is paused while an answer is awaited. Just after an
    answer it may run although it counts as paused, take the next answer and drop it (pynetdicom's
    issue 875). A peer's C-STORE during a C-GET is read by the thread that sent the C-GET.
    """
    get_msg = assoc.dimse.get_msg
    assoc.dimse.get_msg = lambda block=False: get_msg(block) if block else (None, None)


def _why_not(assoc: Any, peer: Peer, connection: _Connection) -> str:
    """Return why there is no association, so that an admin knows where to look."""
    if connection.failure is not None:
        return f"no TLS with {peer.host}:{peer.port}: {why(connection.failure)}"
    if not connection.is_open:
        return f"no connection to {peer.host}:{peer.port}"
    if assoc.is_rejected:
        return f"association rejected: {assoc.acceptor.primitive.reason_str}"
    if _has_accepted(assoc):
        return "accepts none of the SOP classes and transfer syntaxes offered"
    hint = "" if peer.tls.is_on else "; if it speaks TLS alone, set tls.ca"
    return f"connected, but the peer aborted or did not answer the association request{hint}"


def _has_accepted(assoc: Any) -> bool:
    """Return whether the peer accepted the association, if none of its contexts."""
    return assoc.acceptor.primitive is not None and not assoc.is_rejected


def _is_down(assoc: Any) -> bool:
    """Return whether the peer takes no association at all.

    It does if it accepted one without our contexts, or rejects it for the moment only, which may be
    for another of ours (PS3.8 9.3.4: result 2).
    """
    return not _has_accepted(assoc) and not (
        assoc.is_rejected and assoc.acceptor.primitive.result == REJECTED_TRANSIENT
    )


def tune(event: evt.Event, timeout_s: float = 10.0) -> None:
    """Turn Nagle's algorithm off for a connection, and limit each read and write of it."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if isinstance(connection, ssl.SSLSocket):  # it repeats what the kernel ends
        connection.settimeout(timeout_s)
    else:
        limit_time(connection, timeout_s)
