"""Listens for HL7 messages in MLLP frames."""

import logging
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Any, Self

from node.errors import BadConfiguration
from node.hl7 import END, START
from node.log import event
from node.settings import Adt

logger = logging.getLogger(__name__)

MAX_MESSAGE = 1 << 20
"""Longest message that is taken, bytes. An ADT or a report has a few thousand; chosen."""
MAX_CONNECTIONS = 16
"""Connections at once; an interface engine opens one or two. Chosen."""


class MllpListener:
    """Answers each framed message; a context manager that listens while it is open.

    A connection may carry any number of messages. One that carries something else is closed.
    """

    def __init__(self, adt: Adt, timeout_s: float, answer: Callable[[bytes], bytes]) -> None:
        self._adt = adt
        self._timeout_s = timeout_s
        self._answer = answer
        self._places = threading.Semaphore(MAX_CONNECTIONS)

    def __enter__(self) -> Self:
        listener = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                listener.serve(self.request)

        class Server(ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

            def verify_request(self, request: Any, client_address: Any) -> bool:
                del request
                return listener.admits(client_address[0])

        family = socket.AF_INET6 if ":" in self._adt.host else socket.AF_INET
        Server.address_family = family
        try:
            self._server = Server((self._adt.host, self._adt.port), Handler)
        except OSError as error:
            raise BadConfiguration(
                f"cannot listen for HL7 on {self._adt.host}:{self._adt.port}: {error.strerror}"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="hl7")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def admits(self, address: str) -> bool:
        """Return whether a peer at this address may send; logged if not."""
        allowed = self._adt.allowed_addresses
        admitted = address in allowed if allowed else ip_address(address).is_loopback
        if not admitted:
            logger.warning("HL7: refused", extra=event("hl7_refused", address=address))
        return admitted

    def serve(self, connection: socket.socket) -> None:
        """Answer the messages of a connection until it ends."""
        if not self._places.acquire(blocking=False):
            logger.warning("HL7: too many connections", extra=event("hl7_refused"))
            return
        try:
            self._converse(connection)
        except OSError as error:
            said = type(error).__name__
            logger.info("HL7: the connection ended: %s", said, extra=event("hl7_lost"))
        finally:
            self._places.release()

    def _converse(self, connection: socket.socket) -> None:
        connection.settimeout(self._timeout_s)
        got = b""
        while part := connection.recv(65536):
            got += part
            while END in got:
                message, got = got.split(END, 1)
                if not message.startswith(START):
                    break
                connection.sendall(START + self._answer(message[len(START) :]) + END)
            if (got and not got.startswith(START)) or len(got) > MAX_MESSAGE:
                logger.error("HL7: no MLLP frame", extra=event("hl7_malformed", size=len(got)))
                return
