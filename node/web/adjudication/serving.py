"""The server of one desk: on loopback, until the person ends it."""

import secrets
import socket
from collections.abc import Callable
from datetime import datetime

from node.archive.adjudication import Desk
from node.archive.proof import Proof
from node.errors import Retryable
from node.web.adjudication.heads import Heads
from node.web.adjudication.pages import adjudication_app
from node.web.connections import served

HOST = "127.0.0.1"


def serve_desk(
    proof: Proof,
    desk: Desk,
    port: int,
    clock: Callable[[], datetime],
    ready: Callable[[str], None],
) -> None:
    """Serve the page of a desk on this machine until Ctrl-C.

    Parameters
    ----------
    port
        0 takes a free one.
    ready
        Called with the address to open, which is good once.

    Raises
    ------
    Retryable
        If the port cannot be listened on.
    """
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise Retryable(
            f"the page cannot listen on {HOST}:{port}: {error.strerror}; --port 0 takes a free one"
        ) from error
    with listening:
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(32)
        app = adjudication_app(desk, Heads(proof), token, port, clock)
        server = served(app, lifespan="off", timeout_graceful_shutdown=1)
        ready(f"http://{HOST}:{port}/?token={token}")
        server.run([listening])
