"""The storage SCP: writes the bytes to the spool and a row to the worklist, then answers.

Success (0000) means that the bytes and their folder are fsynced and the row is committed. An object
that is refused for its content (A900, C000, C100) is kept in quarantine, with the reason.
"""

import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Any, BinaryIO, Self

from node.arrive.admission import Admission, Refusal
from node.arrive.announcing import Answer, note
from node.arrive.commitment_scp import AssociationCommitments, CommitmentScp
from node.arrive.connections import Connections, Visit
from node.arrive.filing import file_or_set_aside
from node.arrive.pace import Pace
from node.arrive.places import Places
from node.arrive.query_scp import QueryScp
from node.arrive.spool import Spool
from node.audit import Trail
from node.depot import depot_of
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.associate_request import AssociateRequest
from node.dicom.net.association import AssociationLost, Status
from node.dicom.net.incoming import (
    AttributesRequest,
    CommitmentRequest,
    QueryRequest,
    ReportAnswer,
    StoreRequest,
)
from node.dicom.net.message import Command
from node.dicom.net.tls import Certificate, Renewing, by_tls, shake_hands, shown_by
from node.errors import BadConfiguration, IchnodeError, Retryable
from node.log import event
from node.outages import Outages, outage_of
from node.settings import Settings
from node.worklist import Actor, Announcements, Arrivals, Deed

logger = logging.getLogger(__name__)

SPARE_CONNECTIONS = 64
"""TCP connections that may be open beyond `max_associations`: so a peer over the limit is told so,
and a silent peer takes no association's place. An estimate; nothing was measured."""
ASSOCIATE_TIMEOUT_S = 10.0
"""A connection that makes no TLS handshake, or then requests no association, within this time each
is closed. It must exceed some network round trips."""
RIGHTS: dict[int, str] = {
    Command.C_FIND_RQ: "find",
    Command.C_MOVE_RQ: "move",
    Command.C_GET_RQ: "get",
}
"""Which right of `receive.callers` each request needs; all others need "store"."""
STOP_TIMEOUT_S = 10.0
"""How long `stop` waits until the objects being received are stored. It must exceed the writing of
one object."""


class Receiver:
    """The node's SCP of all services; a context manager that listens while it is open.

    Parameters
    ----------
    queries
        Serves C-FIND, C-MOVE and C-GET; without it nobody is allowed any of them.
    trail
        Takes note of who stores what; without it nobody does.
    commitment
        Serves storage commitment; without it nobody is allowed that either.
    """

    def __init__(
        self,
        settings: Settings,
        arrivals: Arrivals,
        announcements: Announcements,
        clock: Callable[[], datetime],
        queries: QueryScp | None = None,
        trail: Trail | None = None,
        commitment: CommitmentScp | None = None,
    ) -> None:
        self._trail = trail
        self._queries = queries
        self._commitment = commitment
        self._settings = settings.receive
        self._arrivals = arrivals
        self._announcements = announcements
        self._clock = clock
        depot = depot_of(settings)
        self._spool = Spool(depot.root, settings.receive.min_free_mb, depot)
        receive = settings.receive
        self._admission = Admission.of(receive.ae_title, receive.allowed_callers, receive.callers)
        self._tls = Renewing(receive.tls) if receive.tls.is_on else None
        self._places = Places(receive.max_associations, receive.max_associations_of_caller)
        self._connections = Connections(receive.max_associations + SPARE_CONNECTIONS)
        self._pace = Pace(receive.max_connections_a_minute)
        self._stopping = threading.Event()
        self._outages = Outages("receive")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; `port` is bound when this returns.

        Raises
        ------
        BadConfiguration
            If the address cannot be listened on, for example because another receiver does.
        """
        host, port = self._settings.host, self._settings.port
        try:
            self._server = _Server(self, (host, port))
        except OSError as error:
            raise BadConfiguration(
                f"cannot listen on {host}:{port}: {error.strerror}; end the program that does, or "
                "set another receive.port"
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))
        self._thread.start()
        say = event("listening", port=self.port, ae_title=self._settings.ae_title)
        logger.info("listening", extra=say)

    def stop(self) -> None:
        """Stop listening and close every connection; an object being stored is answered first."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._connections.end(STOP_TIMEOUT_S)

    def take(self, settings: Settings) -> None:
        """Go by other callers, rights and peers from now on; open associations keep theirs."""
        receive = settings.receive
        self._admission = Admission.of(receive.ae_title, receive.allowed_callers, receive.callers)
        if self._queries is not None:
            self._queries.take(settings)
        if self._commitment is not None:
            self._commitment.settings = settings

    @property
    def connections(self) -> int:
        """How many connections are open, with an association or without."""
        return len(self._connections)

    def may_connect(self, address: str) -> bool:
        """Return whether a connection from this address is served at all."""
        if not self._admission.knows_address(address):
            logger.warning("stranger", extra=event("stranger", address=address))
            return False
        if not self._pace.allows(address):
            if self._pace.is_news(address):
                say = event("too_often", address=address)
                logger.warning("it connects too often (max_connections_a_minute)", extra=say)
            return False
        if not self._connections.make_room():
            logger.warning("too many connections", extra=event("crowded", address=address))
            return False
        return True

    def serve(self, connection: socket.socket, address: str) -> None:
        """Serve one connection to its end, in its own thread."""
        say = {"address": address}
        with self._connections.visit(connection) as visit:
            try:
                with self._line(connection) as visit.line:
                    self._associate(visit, say)
            except (AssociationLost, OSError) as error:
                why = "too many connections, and this one had no association"
                said = why if visit.made_room else str(error)
                logger.warning("association lost: %s", said, extra=event("lost", **say))

    def _line(self, connection: socket.socket) -> AbstractContextManager[socket.socket]:
        """Return the connection, for TLS where that is set."""
        return by_tls(connection, self._tls.context()) if self._tls else nullcontext(connection)

    def _associate(self, visit: Visit, say: dict[str, str]) -> None:
        """Serve a connection; `say` is what its log lines tell of it."""
        shown = None
        if isinstance(visit.line, ssl.SSLSocket):
            shake_hands(visit.line, ASSOCIATE_TIMEOUT_S)
            shown = shown_by(visit.line)
        incoming = IncomingAssociation(
            visit.line,
            associate_s=ASSOCIATE_TIMEOUT_S,
            idle_s=self._settings.network_timeout_s,
            max_pdu_bytes=self._settings.max_pdu_bytes,
            max_object_bytes=self._settings.max_object_mb << 20,
            scratch=self._spool.scratch,
        )
        request = incoming.requested()
        caller, address = request.calling, say["address"]
        say |= {"caller": ascii(caller), "called": ascii(request.called)}
        refusal = self._refusal(request, address, shown)
        if refusal is not None:
            say_why = event("rejected", reason=tuple(refusal.rejection), **say)
            logger.warning("association rejected: %s", refusal.words, extra=say_why)
            if self._trail is not None:
                certificate = shown.subject if shown else None
                stranger = Actor(caller or "a caller without a title", address, None, certificate)
                self._trail.rejected(stranger, Refusal.of(refusal.rejection).words)
            incoming.reject(refusal.rejection)
            return
        visit.is_associated = True
        sender = Actor(caller, address, certificate=shown.subject if shown else None)
        began, done = time.monotonic(), Counter[str]()
        try:
            incoming.accept(request)
            may = self._admission.rights(caller, address, shown)
            self._take_all(incoming, sender, may, done)
        finally:
            self._places.leave((caller, address))
            say_done = event("association", **say, **done, s=round(time.monotonic() - began, 1))
            logger.log(logging.INFO if done else logging.DEBUG, "association", extra=say_done)

    def _refusal(
        self, request: AssociateRequest, address: str, shown: Certificate | None
    ) -> Refusal | None:
        """Return why a request is rejected; None if it is not, and has taken a place."""
        if request.rejection is not None:
            return Refusal.of(request.rejection)
        caller = request.calling
        refusal = self._admission.refusal(caller, request.called, address, shown)
        return refusal or self._places.take((caller, address))

    def _take_all(
        self,
        incoming: IncomingAssociation,
        sender: Actor,
        may: frozenset[str],
        done: Counter[str],
    ) -> None:
        """Answer requests until the peer releases: a release says that it sent all it wanted to.

        Parameters
        ----------
        done
            Is told how many requests of each kind were answered.
        """
        series: set[str] = set()
        with self._serving_commitment(incoming, sender, may) as commitment:
            for request in incoming.requests():
                if isinstance(request, QueryRequest):
                    done["queries"] += 1
                    self._query(request, incoming, sender, may)
                elif isinstance(request, (CommitmentRequest, ReportAnswer)):
                    done["commitments"] += 1
                    _commit(request, incoming, commitment)
                else:
                    self._answer(request, incoming, sender, may, series, done)
                if self._stopping.is_set():
                    incoming.abort()
                    return
                if commitment is not None:
                    commitment.report()
        self._release(series)
        incoming.release()

    def _answer(
        self,
        request: StoreRequest | AttributesRequest,
        incoming: IncomingAssociation,
        sender: Actor,
        may: frozenset[str],
        series: set[str],
        done: Counter[str],
    ) -> None:
        """Store or note what a request brings, if its sender may, and answer it."""
        if "store" not in may:
            incoming.answer(request, Status.NOT_AUTHORISED, _may_not("store"))
        elif isinstance(request, StoreRequest):
            status, comment = self._take(request, sender, series)
            done["stored" if status is Status.SUCCESS else "not_stored"] += 1
            incoming.answer(request, status, comment)
        else:
            done["notes"] += 1
            incoming.answer(request, *self._note(request))

    def _serving_commitment(
        self, incoming: IncomingAssociation, caller: Actor, may: frozenset[str]
    ) -> AbstractContextManager[AssociationCommitments | None]:
        if self._commitment is None:
            return nullcontext()
        return self._commitment.on(incoming, caller, may)

    def _query(
        self,
        request: QueryRequest,
        incoming: IncomingAssociation,
        caller: Actor,
        may: frozenset[str],
    ) -> None:
        """Serve a C-FIND, C-MOVE or C-GET to its last response."""
        right = RIGHTS[request.command]
        if self._queries is None or right not in may:
            say = event("not_allowed", caller=ascii(caller.name), right=right)
            logger.warning("not allowed", extra=say)
            incoming.answer_query(request, Status.NOT_AUTHORISED, comment=_may_not(right))
            return
        self._queries.serve(request, incoming, caller, self._stopping.is_set)

    def _take(self, request: StoreRequest, sender: Actor, series: set[str]) -> tuple[Status, str]:
        """File or quarantine the object of a C-STORE; return its status and Error Comment."""
        try:
            if request.file is None:
                return Status.OUT_OF_RESOURCES, request.dropped
            return self._file(request, request.file, sender, series)
        except Retryable as error:
            self._say(error)
            return Status.OUT_OF_RESOURCES, str(error)
        except Exception:  # whatever it is, the peer must learn that we do not have the object
            logger.exception("not stored", extra=event("store_failed"))
            return Status.PROCESSING_FAILURE, "internal error, see the node's log"

    def _say(self, error: Retryable) -> None:
        """Log why an object is not stored now; an outage once, whatever comes in it."""
        if (outage := outage_of(error)) is not None:
            self._outages.met("store", outage)
        else:
            logger.error("not stored: %s", error, extra=event("out_of_resources"))

    def _note(self, request: AttributesRequest) -> Answer:
        """Note what an N-CREATE or N-SET tells; return its status, Error Comment and Error ID."""
        try:
            answer = note(request, self._announcements, self._clock())
        except IchnodeError as error:
            logger.error("not noted: %s", error, extra=event("note_failed"))
            return Answer(Status.PROCESSING_FAILURE, str(error))
        except Exception:  # as for C-STORE
            logger.exception("not noted", extra=event("note_failed"))
            return Answer(Status.PROCESSING_FAILURE, "internal error, see the node's log")
        if answer.status is not Status.SUCCESS:
            say = event("not_noted", status=answer.status.name)
            logger.warning("not noted: %s", answer.comment, extra=say)
        return answer

    def _file(
        self, request: StoreRequest, file: BinaryIO, sender: Actor, series: set[str]
    ) -> tuple[Status, str]:
        announced = (request.sop_class_uid, request.sop_instance_uid)
        filed = file_or_set_aside(
            file,
            self._arrivals,
            self._spool,
            caller=sender.name,
            now=self._clock(),
            announced=announced,
            longest_header=self._settings.max_header_mb << 20,
        )
        self._outages.over("store")
        if filed.header is not None and filed.status is Status.SUCCESS:
            series.add(filed.header.series_instance_uid)
            if self._trail is not None:
                study_uid = filed.header.study_instance_uid
                self._trail.note(sender, Deed.STORED, study_uid=study_uid, about="C-STORE")
        return filed.status, "" if filed.status is Status.SUCCESS else filed.comment

    def _release(self, series: set[str]) -> None:
        if not series:
            return
        try:
            self._arrivals.release(series, self._clock())
        except IchnodeError as error:  # completeness then waits for `assemble.idle_s`
            logger.error("release not noted: %s", error, extra=event("release_failed"))


def _commit(
    request: CommitmentRequest | ReportAnswer,
    incoming: IncomingAssociation,
    commitment: AssociationCommitments | None,
) -> None:
    """Serve storage commitment, if the node does."""
    if commitment is not None:
        commitment.serve(request)
    elif isinstance(request, CommitmentRequest):
        incoming.answer(request, Status.NOT_AUTHORISED, _may_not("commit"))


def _may_not(right: str) -> str:
    return f"this caller may not {right} (receive.callers)"


class _Server(ThreadingTCPServer):
    """Serves each connection in a thread of its own; an unknown address gets none."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._receiver = receiver
        super().__init__(address, BaseRequestHandler)

    def verify_request(self, _request: object, client_address: tuple[Any, ...]) -> bool:
        """Return whether to serve a connection that was just accepted."""
        return self._receiver.may_connect(client_address[0])

    def finish_request(self, request: Any, client_address: tuple[Any, ...]) -> None:
        """Serve a connection; this runs in the connection's thread."""
        self._receiver.serve(request, client_address[0])

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Log what ended a connection's thread; the connection is closed."""
        logger.exception("connection failed", extra=event("connection_failed"))
