"""The storage SCP: bytes to the spool, a row to the worklist, and only then the status.

Success (0000) means that the bytes and their folder are fsynced and the row is committed. Whatever
is answered otherwise, an object that arrived whole is kept, in quarantine, with the reason.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from socketserver import BaseServer
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.transport import ThreadedAssociationServer

from node.dicom.association import (
    Status,
    answer,
    application_entity,
    contexts_in,
    part10,
    prepare,
)
from node.dicom.series import read_header
from node.errors import BadConfiguration, BadObject, IchnodeError, Permanent, Retryable
from node.log import event as log_event
from node.records import Header
from node.settings import Settings
from node.spool import Spool
from node.worklist.store import Arrival, Store

logger = logging.getLogger(__name__)

SPARE_CONNECTIONS = 64
"""TCP connections beyond `max_associations` that may be open, so that a peer over the limit is told
so and a silent one takes no association's place (chosen)."""
ASSOCIATE_TIMEOUT_S = 10.0
"""A connection that asks for no association within this time is closed (chosen)."""
STOP_TIMEOUT_S = 10.0
"""How long `stop` waits for the objects at hand to be stored (chosen)."""
CHUNK_BYTES = 1 << 20

# A-ASSOCIATE-RJ: result, source, reason (PS3.8 table 9-21).
UNKNOWN_CALLER = (1, 1, 3)
UNKNOWN_CALLED = (1, 1, 7)
LOCAL_LIMIT = (2, 3, 2)


class Mismatch(BadObject):
    """The dataset's SOP class or instance UID contradicts the request's."""


def ingest(
    source: bytes | Path,
    store: Store,
    spool: Spool,
    *,
    caller: str,
    now: datetime,
    announced: tuple[str, str] | None = None,
) -> tuple[Header, Arrival]:
    """File one Part 10 object: spooled for good, then its row committed.

    Parameters
    ----------
    source
        The object's bytes, or a file that holds them.
    caller
        Who sent it: an AE title, or "" for a file.
    announced
        SOP class and instance UID of the C-STORE request, which the dataset must bear out.

    Raises
    ------
    BadObject
        If it cannot be filed; nothing was written.
    Retryable
        If the spool or the database cannot take it now.
    """
    header = read_header(source)
    held = (header.sop_class_uid, header.sop_instance_uid)
    if announced is not None and held != announced:
        raise Mismatch("SOP class or instance UID differs from the request's")
    stored = spool.put(_chunks(source), "received")
    return header, store.add(header, stored, caller=caller, now=now)


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may associate with us: the callers known, and how we are called."""

    ae_title: str
    callers: tuple[tuple[str, IPv4Network | IPv6Network | None], ...]
    """AE title and network of each caller; None is any address. Empty admits this machine only."""

    @classmethod
    def of(cls, ae_title: str, allowed: Iterable[str]) -> Self:
        """Read `receive.allowed_callers`: "AE_TITLE" or "AE_TITLE@ADDRESS" (or a network).

        Raises
        ------
        BadConfiguration
            If an address is none.
        """
        callers = []
        for caller in allowed:
            title, at, address = caller.partition("@")
            try:
                callers.append((title.strip(), ip_network(address) if at else None))
            except ValueError as error:
                raise BadConfiguration(f"receive.allowed_callers: {caller!r}: {error}") from error
        return cls(ae_title.strip(), tuple(callers))

    def knows_address(self, address: str) -> bool:
        """Return whether any caller may connect from this address."""
        ip = _ip(address)
        if not self.callers:
            return ip.is_loopback
        return any(network is None or ip in network for _, network in self.callers)

    def refusal(self, calling: str, called: str, address: str) -> tuple[int, int, int] | None:
        """Return why the association is rejected, or None to accept it."""
        if called.strip() != self.ae_title:
            return UNKNOWN_CALLED
        ip = _ip(address)
        if not self.callers:
            return None if ip.is_loopback else UNKNOWN_CALLER
        for title, network in self.callers:
            if title == calling.strip() and (network is None or ip in network):
                return None
        return UNKNOWN_CALLER


def _ip(address: str) -> IPv4Address | IPv6Address:
    """Return the address; an IPv4 peer of an IPv6 socket is the IPv4 peer."""
    ip = ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Closes connections from strangers, and those beyond the limit, before they cost a thread."""

    request_queue_size = 128
    admission: Admission
    max_connections: int

    def verify_request(self, request: Any, client_address: tuple[str, int]) -> bool:
        del request
        if not self.admission.knows_address(client_address[0]):
            return False
        return bool(len(self.active_associations) < self.max_connections)

    def shutdown(self) -> None:
        BaseServer.shutdown(self)
        self.server_close()


class Receiver:
    """The node's C-STORE and C-ECHO SCP; a context manager that listens while it is open."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], datetime]) -> None:
        self._settings = settings.receive
        self._store = store
        self._clock = clock
        self._spool = Spool(settings.data_dir, settings.receive.min_free_mb)
        self._admission = Admission.of(settings.receive.ae_title, settings.receive.allowed_callers)
        self._carried: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()

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
        """Listen; `port` is bound when this returns."""
        s = self._settings
        self._ae = application_entity(
            s.ae_title,
            timeout_s=min(ASSOCIATE_TIMEOUT_S, s.network_timeout_s),
            idle_s=s.network_timeout_s,
            max_pdu_bytes=s.max_pdu_bytes,
        )
        self._ae.maximum_associations = s.max_associations + SPARE_CONNECTIONS
        self._server = self._ae.make_server(
            (s.host, s.port),
            contexts=contexts_in(),
            evt_handlers=[
                (evt.EVT_CONN_OPEN, self._connected),
                (evt.EVT_CONN_CLOSE, self._closed),
                (evt.EVT_REQUESTED, self._admit),
                (evt.EVT_PDU_RECV, self._bound),
                (evt.EVT_C_STORE, self._c_store),
                (evt.EVT_RELEASED, self._released),
                (evt.EVT_ABORTED, self._aborted),
            ],
            server_class=_Server,
        )
        self._server.admission = self._admission
        self._server.max_connections = s.max_associations + SPARE_CONNECTIONS
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="receive", daemon=True
        )
        self._thread.start()
        logger.info("listening", extra=log_event("listening", port=self.port, ae=s.ae_title))

    def stop(self) -> None:
        """Stop listening and abort what is open; an object at hand is stored, not answered."""
        self._server.shutdown()
        self._thread.join()
        open_associations = self._ae.active_associations
        for assoc in open_associations:
            if assoc.is_established:
                assoc.abort()
            else:  # it has no association to abort yet
                _hang_up(assoc)
        for assoc in open_associations:
            assoc.join(STOP_TIMEOUT_S)

    def _connected(self, event: evt.Event) -> None:
        prepare(event.assoc, self._settings.network_timeout_s)

    def _closed(self, event: evt.Event) -> None:
        """Wake the thread of a connection that closed without asking for an association."""
        event.assoc.dul.to_user_queue.put(None)

    def _admit(self, event: evt.Event) -> None:
        """Reject an association that is not for us; pynetdicom negotiates the others."""
        refusal: tuple[int, int, int] | None = UNKNOWN_CALLER
        try:  # pynetdicom swallows an error in here, which must not admit anybody
            refusal = self._refusal(event.assoc)
        finally:
            if refusal is not None:
                event.assoc.acse.send_reject(*refusal)
                say = log_event("rejected", reason=refusal, **_peer(event.assoc))
                logger.warning("association rejected", extra=say)
                event.assoc.kill()

    def _refusal(self, assoc: Any) -> tuple[int, int, int] | None:
        request = assoc.requestor.primitive
        refusal = self._admission.refusal(
            request.calling_ae_title,
            request.called_ae_title,
            assoc.requestor.address_info.address,
        )
        established = sum(a.is_established for a in self._ae.active_associations)
        if refusal is None and established >= self._settings.max_associations:
            return LOCAL_LIMIT
        return refusal

    def _bound(self, event: evt.Event) -> None:
        """Abort a peer that sends more than one object may hold, or does not await our answer."""
        message = event.assoc.dimse.message
        if message is None:
            return
        size = message.data_set.tell() + message.encoded_command_set.tell()
        if size > self._settings.max_object_mb << 20 or event.assoc.dimse.msg_queue.qsize() > 1:
            logger.error("too much at once", extra=log_event("too_large", bytes=size))
            event.assoc.abort()

    def _c_store(self, event: evt.Event) -> Dataset:
        """Answer one C-STORE request, once its object is filed or quarantined."""
        try:
            return self._file(event)
        except Retryable as error:
            logger.error("not stored: %s", error, extra=log_event("out_of_resources"))
            return answer(Status.OUT_OF_RESOURCES, str(error))
        except Exception:
            logger.exception("not stored", extra=log_event("store_failed"))
            return answer(Status.PROCESSING_FAILURE, "internal error, see the node's log")

    def _file(self, event: evt.Event) -> Dataset:
        data, caller, now = part10(event), _caller(event), self._clock()
        request = event.request
        announced = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        try:
            header, arrival = ingest(
                data, self._store, self._spool, caller=caller, now=now, announced=announced
            )
        except Permanent as error:
            status = Status.MISMATCH if isinstance(error, Mismatch) else Status.CANNOT_UNDERSTAND
            self._quarantine(data, status, str(error), caller, now)
            return answer(status, str(error))
        if arrival is Arrival.CONFLICT:
            return answer(Status.IDENTITY_CONFLICT, "study has another patient, kept apart")
        self._carried.setdefault(event.assoc, set()).add(header.series_instance_uid)
        return answer(Status.SUCCESS)

    def _quarantine(
        self, data: bytes, status: Status, reason: str, caller: str, now: datetime
    ) -> None:
        stored = self._spool.put([data], "quarantine")
        self._store.quarantine(stored, code=status.name, reason=reason, caller=caller, now=now)
        logger.warning("quarantined: %s", reason, extra=log_event("quarantined", code=status.name))

    def _released(self, event: evt.Event) -> None:
        """Note that the peer has sent what it wanted to; an abort says nothing of the kind."""
        series = self._carried.pop(event.assoc, None)
        if not series:
            return
        try:
            self._store.release(series, self._clock())
        except IchnodeError as error:  # completeness then waits for `assemble.idle_s`
            logger.error("release not noted: %s", error, extra=log_event("release_failed"))

    def _aborted(self, event: evt.Event) -> None:
        logger.warning("association aborted", extra=log_event("aborted", **_peer(event.assoc)))


def _hang_up(assoc: Any) -> None:
    with suppress(OSError, AttributeError):  # the peer was faster
        assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def _caller(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title).strip()


def _peer(assoc: Any) -> dict[str, str]:
    """Return who asked, for the log; a stranger's AE title may hold anything."""
    request = assoc.requestor.primitive
    return {
        "caller": ascii(request.calling_ae_title),
        "called": ascii(request.called_ae_title),
        "address": assoc.requestor.address_info.address,
    }
