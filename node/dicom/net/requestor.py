"""An association that we request of a peer, or the reason why there is none."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom import AE, evt

from node.dicom.net.association import application_entity, limit_time
from node.errors import Retryable


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
    Retryable
        If there is no association; the message says why.
    """
    ae = application_entity(ae_title, timeout_s=timeout_s)
    connection = _Connection(timeout_s)
    assoc = _request(ae, peer, contexts, list(roles), [*connection.handlers, *handlers])
    try:
        if not assoc.is_established:
            raise Retryable(f"{peer.name}: {_why_not(assoc, peer, connection.is_open)}")
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


def _request(ae: AE, peer: Peer, contexts: list[Any], roles: list[Any], handlers: list[Any]) -> Any:
    """Return the association once the peer has answered the request, or has not in time."""
    try:
        return ae.associate(
            peer.host,
            peer.port,
            contexts,
            ae_title=peer.ae_title,
            max_pdu=ae.maximum_pdu_size,
            ext_neg=roles,
            evt_handlers=handlers,
        )
    except OSError as error:
        raise Retryable(f"{peer.name}: {peer.host}: {error.strerror}") from error


class _Connection:
    """The TCP connection of an association, as pynetdicom tells of it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._sockets: list[socket.socket] = []
        self._opened = threading.Event()
        self.handlers = [(evt.EVT_ACSE_SENT, self._requested), (evt.EVT_CONN_OPEN, self._connected)]

    @property
    def is_open(self) -> bool:
        """Whether the peer took the connection."""
        return self._opened.is_set()

    def close(self) -> None:
        """Close the socket: pynetdicom leaves one open that did not connect."""
        self._sockets[0].close()

    def _requested(self, event: evt.Event) -> None:
        self._sockets.append(event.assoc.dul.socket.socket)

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


def _why_not(assoc: Any, peer: Peer, connected: bool) -> str:
    """Return why there is no association, so that an admin knows where to look."""
    if not connected:
        return f"no connection to {peer.host}:{peer.port}"
    response = assoc.acceptor.primitive
    if assoc.is_rejected:
        return f"association rejected: {response.reason_str}"
    if response is not None:
        return "accepts none of the SOP classes and transfer syntaxes offered"
    return "connected, but the peer aborted or did not answer the association request"


def tune(event: evt.Event, timeout_s: float = 10.0) -> None:
    """Turn Nagle's algorithm off for a connection, and limit each read and write of it."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    limit_time(connection, timeout_s)
