"""Retrieval by C-MOVE: the archive sends to an AE title and a port of the reading alone.

So its studies do not come to the running node, and into its worklist.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer

from node.arrive.archive import Archive
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.associate_request import AssociateRequest
from node.dicom.net.association import AssociationLost, Rejection, Status
from node.dicom.net.incoming import QueryRequest, ReportAnswer, Request, StoreRequest
from node.dicom.net.retrieve import Take, dimse_archive
from node.errors import BadConfiguration
from node.settings import Settings, Source

ASSOCIATE_S = 10.0


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Where an archive sends by C-MOVE: it must know this AE title, and this machine by it."""

    ae_title: str
    port: int


def move_to(text: str) -> MoveTo | None:
    """Return what "AE_TITLE:PORT" names; None for "".

    Raises
    ------
    BadConfiguration
        If it is none.
    """
    found = re.fullmatch(r"([!-~]{1,16}):(\d{1,5})", text)
    if not text:
        return None
    if not found or not 0 < int(found[2]) < 1 << 16:
        raise BadConfiguration(f"--move-to: {text!r} is no AE title and port: ICHNODE_PROOF:11113")
    return MoveTo(found[1], int(found[2]))


@contextmanager
def moving_archive(source: Source, to: MoveTo, settings: Settings, take: Take) -> Iterator[Archive]:
    """Yield an archive whose C-MOVE brings objects to `take`.

    Raises
    ------
    BadConfiguration
        If the port is in use.
    Retryable
        If there is no association with the archive.
    """
    timeout_s = settings.pull.timeout_s
    with (
        _listening(_Receiver(source.ae_title, to, settings, take)),
        dimse_archive(
            source, move=True, ae_title=to.ae_title, timeout_s=timeout_s, take=take
        ) as archive,
    ):
        yield archive


@contextmanager
def _listening(receiver: "_Receiver") -> Iterator[None]:
    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            receiver.serve(self.request)

    class Server(ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    try:
        server = Server(("", receiver.to.port), Handler)
    except OSError as error:
        raise BadConfiguration(f"--move-to: port {receiver.to.port}: {error.strerror}") from error
    with server:
        threading.Thread(target=server.serve_forever, name="moved", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@dataclass(frozen=True, slots=True)
class _Receiver:
    """Takes the objects that one archive sends, and nothing else of anybody."""

    sender: str
    to: MoveTo
    settings: Settings
    take: Take

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection to its end."""
        receive = self.settings.receive
        incoming = IncomingAssociation(
            connection,
            associate_s=ASSOCIATE_S,
            idle_s=receive.network_timeout_s,
            max_pdu_bytes=receive.max_pdu_bytes,
            max_object_bytes=receive.max_object_mb << 20,
        )
        with suppress(AssociationLost, OSError):  # the archive's answer to the C-MOVE tells it
            request = incoming.requested()
            rejection = self._rejection(request)
            if rejection is not None:
                incoming.reject(rejection)
                return
            incoming.accept(request)
            for asked in incoming.requests():
                self._answer(asked, incoming)
            incoming.release()

    def _rejection(self, request: AssociateRequest) -> Rejection | None:
        if request.called != self.to.ae_title:
            return Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED
        if request.calling != self.sender:
            return Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED
        return request.rejection

    def _answer(self, asked: Request, incoming: IncomingAssociation) -> None:
        if isinstance(asked, StoreRequest):
            status = Status.OUT_OF_RESOURCES
            if asked.file is not None:
                named = (asked.sop_class_uid, asked.sop_instance_uid)
                status = self.take(asked.file.read(), named)
            incoming.answer(asked, status, asked.dropped)
        elif isinstance(asked, QueryRequest):
            incoming.answer_query(asked, Status.NOT_AUTHORISED)
        elif not isinstance(asked, ReportAnswer):
            incoming.answer(asked, Status.NOT_AUTHORISED)
