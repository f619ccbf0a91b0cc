"""An association with a peer, from its request to its end, and why there is none."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom import evt

from node.dicom.net.association import application_entity, limit_time
from node.errors import Retryable


class Peer(Protocol):
    """What has to be known of a peer: a destination's or a source's settings."""

    @property
    def name(self) -> str:
        """How messages call it."""

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
        Our own.
    roles
        SCP/SCU role selections to negotiate (PS3.7 D.3.3.4).
    handlers
        pynetdicom's (event, function) pairs, for what the peer asks of us.

    Raises
    ------
    Retryable
        If there is none: the message says which of the ways to fail it was.
    """
    ae = application_entity(ae_title, timeout_s=timeout_s)
    sockets: list[socket.socket] = []  # pynetdicom drops one that did not connect without closing
    connected = threading.Event()

    def connect(event: evt.Event) -> None:
        sockets.append(event.assoc.dul.socket.socket)

    def opened(event: evt.Event) -> None:
        tune(event, timeout_s)
        connected.set()

    try:
        assoc = ae.associate(
            peer.host,
            peer.port,
            contexts,
            ae_title=peer.ae_title,
            max_pdu=ae.maximum_pdu_size,
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_ACSE_SENT, connect), (evt.EVT_CONN_OPEN, opened), *handlers],
        )
    except OSError as error:
        raise Retryable(f"{peer.name}: {peer.host}: {error.strerror}") from error
    try:
        if not assoc.is_established:
            raise Retryable(f"{peer.name}: {_why_not(assoc, peer, connected.is_set())}")
        _keep_answers(assoc)
        yield assoc
    except Retryable:
        if assoc.is_established:  # perhaps not for long: a release would wait for its answer
            assoc.abort()
        raise
    finally:
        if assoc.is_established:
            assoc.release()
        sockets[0].close()


def _keep_answers(assoc: Any) -> None:
    """Let nobody but the one who asked take what the peer sends.

    pynetdicom's own thread looks for requests, and is stopped while an answer is waited for; but
    just after an answer it may be taken for stopped, take the next one and drop it (its issue 875).
    What a peer asks of us during a C-GET is read by who sent the C-GET.
    """
    get_msg = assoc.dimse.get_msg
    assoc.dimse.get_msg = lambda block=False: get_msg(block) if block else (None, None)


def _why_not(assoc: Any, peer: Peer, connected: bool) -> str:
    """Return why there is no association, in words that say where to look."""
    if not connected:
        return f"no connection to {peer.host}:{peer.port}"
    response = assoc.acceptor.primitive
    if assoc.is_rejected:
        return f"association rejected: {response.reason_str}"
    if response is not None:
        return "accepts none of the SOP classes and transfer syntaxes offered"
    return "connected, but the peer aborted or did not answer the association request"


def tune(event: evt.Event, timeout_s: float = 10.0) -> None:
    """Make a connection send at once, and let no read or write of it last for ever."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    limit_time(connection, timeout_s)
