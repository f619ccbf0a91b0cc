"""The outbox: what is owed to a destination is sent until its peer says that it has it.

A report's SOP Instance UIDs follow from what it reports on, so an object sent twice (the peer died
before its answer, the node before it noted one) is one object in the archive. Every failure is
tried again, with growing waits; none is given up before `deliver.max_attempts`. An object refused
for what it is (0117, 0122, A9xx, Cxxx, no presentation context) waits the longest at once: only a
change at the peer can help, and then it goes out by itself.
"""

import logging
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import evt

from node.dicom.association import (
    application_entity,
    contexts_archive,
    contexts_echo,
    contexts_out,
    limit_time,
    refused_by_peer,
    stored_by_peer,
)
from node.errors import BadObject, IchnodeError, Retryable
from node.log import event as log_event
from node.records import Delivery
from node.settings import Destination, Settings
from node.worklist.store import LeaseLost, Store, claimant

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often the outbox is looked at (chosen)."""
BATCH = 8
"""Objects sent before the outbox is asked again what comes first (chosen)."""
PRIORITY_MEDIUM, PRIORITY_HIGH = 0, 1
"""DIMSE Priority (PS3.7 E.1)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How sending one file ended."""

    path: Path
    status: int | None
    """The peer's status verbatim; None where it gave none."""
    message: str = ""
    refused: bool = False
    """Whether the same object will be refused again, until something changes at the peer."""

    @property
    def stored(self) -> bool:
        """Whether the peer said that it has the object; a warning says so too."""
        return self.status is not None and stored_by_peer(self.status)


@dataclass(frozen=True, slots=True)
class _Item:
    """One file to send, as its file meta information describes it."""

    path: Path
    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID

    @classmethod
    def of(cls, path: Path) -> "_Item":
        try:
            meta = read_file_meta_info(path)
            return cls(
                path,
                meta.MediaStorageSOPClassUID,
                meta.MediaStorageSOPInstanceUID,
                meta.TransferSyntaxUID,
            )
        except (InvalidDicomError, AttributeError) as error:
            raise BadObject(f"{path.name} is no complete DICOM file") from error
        except OSError as error:
            raise BadObject(f"{path.name} cannot be read: {error.strerror}") from error


def echo(peer: Destination, settings: Settings) -> int:
    """Return the peer's status of a C-ECHO.

    Raises
    ------
    Retryable
        If there is no association with it, or no answer.
    """
    with _associated(peer, contexts_echo(), settings) as assoc:
        response = assoc.send_c_echo()
        if "Status" not in response:
            raise Retryable(f"{peer.name} did not answer the C-ECHO")
        return int(response.Status)


def send_files(
    files: Iterable[Path], peer: Destination, settings: Settings, *, high_priority: bool = False
) -> Iterator[Sent]:
    """Send files to a peer over one association; yield how each ended, in their order.

    Nothing is raised for a peer that is down or a file that is no DICOM: the results say so.
    """
    left = deque(_item(path) for path in files)
    kinds = {(i.sop_class_uid, i.transfer_syntax_uid) for i in left if isinstance(i, _Item)}
    why = ""
    try:
        if kinds:
            with _associated(peer, contexts_out(kinds), settings) as assoc:
                while left:
                    sent = _send(left[0], assoc, high_priority)
                    left.popleft()
                    yield sent
    except Retryable as error:
        why = str(error)
    yield from (i if isinstance(i, Sent) else Sent(i.path, None, why) for i in left)


def _item(path: Path) -> _Item | Sent:
    try:
        return _Item.of(path)
    except BadObject as error:
        return Sent(path, None, str(error), refused=True)


@contextmanager
def _associated(peer: Destination, contexts: list[Any], settings: Settings) -> Iterator[Any]:
    """Yield an association with the peer; release it at the end.

    Raises
    ------
    Retryable
        If there is none: the message says which of the ways to fail it was.
    """
    timeout_s = settings.deliver.timeout_s
    ae = application_entity(settings.receive.ae_title, timeout_s=timeout_s)
    sockets: list[socket.socket] = []  # pynetdicom drops one that did not connect without closing
    connected = threading.Event()

    def connect(event: evt.Event) -> None:
        sockets.append(event.assoc.dul.socket.socket)

    def opened(event: evt.Event) -> None:
        _tune(event, timeout_s)
        connected.set()

    try:
        assoc = ae.associate(
            peer.host,
            peer.port,
            contexts,
            ae_title=peer.ae_title,
            max_pdu=ae.maximum_pdu_size,
            evt_handlers=[(evt.EVT_ACSE_SENT, connect), (evt.EVT_CONN_OPEN, opened)],
        )
    except OSError as error:
        raise Retryable(f"{peer.name}: {peer.host}: {error.strerror}") from error
    try:
        if not assoc.is_established:
            raise Retryable(f"{peer.name}: {_why_not(assoc, peer, connected.is_set())}")
        yield assoc
    except Retryable:
        if assoc.is_established:  # perhaps not for long: a release would wait for its answer
            assoc.abort()
        raise
    finally:
        if assoc.is_established:
            assoc.release()
        sockets[0].close()


def _why_not(assoc: Any, peer: Destination, connected: bool) -> str:
    """Return why there is no association, in words that say where to look."""
    if not connected:
        return f"no connection to {peer.host}:{peer.port}"
    response = assoc.acceptor.primitive
    if assoc.is_rejected:
        return f"association rejected: {response.reason_str}"
    if response is not None:
        return "accepts none of the SOP classes and transfer syntaxes offered"
    return "connected, but the peer aborted or did not answer the association request"


def _send(item: _Item | Sent, assoc: Any, high_priority: bool) -> Sent:
    """Send one object, as it lies on disk where the peer accepts that.

    Raises
    ------
    Retryable
        If the association is gone; whether the peer has the object is not known.
    """
    if isinstance(item, Sent):
        return item
    accepted = {(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in assoc.accepted_contexts}
    source: Any = item.path
    if (item.sop_class_uid, item.transfer_syntax_uid) not in accepted:
        if (item.sop_class_uid, ImplicitVRLittleEndian) not in accepted:
            kind = f"{item.sop_class_uid.name} in {item.transfer_syntax_uid.name}"
            return Sent(item.path, None, f"the peer does not accept {kind}", refused=True)
        source = dcmread(item.path)  # pynetdicom re-encodes a dataset, and sends a path as it is
    try:
        response = assoc.send_c_store(
            source, priority=PRIORITY_HIGH if high_priority else PRIORITY_MEDIUM
        )
    except RuntimeError as error:
        raise Retryable("the association ended") from error
    if "Status" not in response:
        raise Retryable("the association ended before an answer")
    status = int(response.Status)
    return Sent(item.path, status, str(response.get("ErrorComment", "")), refused_by_peer(status))


def drain(settings: Settings, store: Store, clock: Callable[[], datetime], worker: str) -> int:
    """Send what is due now; return how many objects arrived."""
    lease_s = 2 * settings.deliver.timeout_s
    arrived = 0
    while True:
        now = clock()
        batch = store.claim_deliveries(worker, lease_s, now, BATCH)
        if not batch:
            return arrived
        valid_until = now + timedelta(seconds=lease_s / 2)
        for owed, sent in _send_batch(batch, settings):
            arrived += sent.stored
            _note(owed, sent, settings, store, clock(), worker)
            if clock() > valid_until:  # what is left goes out when its lease has run out
                break


def _send_batch(batch: Sequence[Delivery], settings: Settings) -> Iterator[tuple[Delivery, Sent]]:
    """Send deliveries of one destination, those of high priority first."""
    name = batch[0].destination
    peers = {peer.name: peer for peer in settings.deliver.destinations}
    for high in (True, False):
        owed = {
            settings.data_dir / delivery.object.path: delivery
            for delivery in batch
            if delivery.high_priority is high
        }
        if name not in peers:
            for path, delivery in owed.items():
                yield delivery, Sent(path, None, f"no destination {name!r} is set", refused=True)
            continue
        for path in [path for path, delivery in owed.items() if not _is_owed(path, delivery)]:
            reason = "the file is missing, or is not the object owed: replay the case from report"
            yield owed.pop(path), Sent(path, None, reason, refused=True)
        for sent in send_files(owed, peers[name], settings, high_priority=high):
            yield owed[sent.path], sent


def _is_owed(path: Path, delivery: Delivery) -> bool:
    """Return whether the file holds the object that the outbox says."""
    try:
        item = _Item.of(path)
    except BadObject:
        return False
    wanted = delivery.object
    return (item.sop_class_uid, item.sop_instance_uid) == (
        wanted.sop_class_uid,
        wanted.sop_instance_uid,
    )


def _note(
    owed: Delivery, sent: Sent, settings: Settings, store: Store, now: datetime, worker: str
) -> None:
    """Record the answer in the outbox."""
    say = log_event(
        "delivered" if sent.stored else "not_delivered",
        case=owed.case_id,
        destination=owed.destination,
        status=None if sent.status is None else f"{sent.status:04X}",
    )
    try:
        if sent.stored:
            store.delivered(owed, worker, sent.status or 0, now)
            logger.info("delivered", extra=say)
            return
        logger.warning("not delivered: %s", sent.message, extra=say)
        retry_at = _retry_at(owed.attempts, sent.refused, settings, now)
        store.delivery_failed(owed, worker, sent.status, sent.message, retry_at, now)
    except LeaseLost as error:
        logger.warning("%s", error, extra=say)


def _retry_at(attempts: int, refused: bool, settings: Settings, now: datetime) -> datetime | None:
    """Return when to try again after `attempts` earlier failures, or None to give up.

    The wait doubles; up to a quarter is left out at random, so that a peer that comes back is not
    met by everything at once.
    """
    limits = settings.deliver
    if attempts + 1 >= limits.max_attempts:
        return None
    wait_s = min(limits.retry_s * 2.0 ** min(attempts, 30), limits.max_retry_s)
    if refused:
        wait_s = limits.max_retry_s
    return now + timedelta(seconds=wait_s * random.uniform(0.75, 1.0))


def deliver(
    settings: Settings, store: Store, clock: Callable[[], datetime], stop: threading.Event
) -> None:
    """Empty the outbox until `stop` is set; a peer that hangs does not keep the others waiting."""
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # it warns when a job is late
    threads = len(settings.deliver.destinations) + 1
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(threads)}, timezone=UTC
    )
    scheduler.add_job(
        _drain_or_say,
        "interval",
        args=(settings, store, clock),
        seconds=POLL_S,
        max_instances=threads,
        coalesce=True,
    )
    scheduler.start()
    while not stop.wait(1.0):  # not for ever: a signal's handler runs between two waits
        pass
    scheduler.shutdown(wait=True)


def _drain_or_say(settings: Settings, store: Store, clock: Callable[[], datetime]) -> None:
    try:
        drain(settings, store, clock, claimant())
    except IchnodeError as error:
        logger.error("the outbox waits: %s", error, extra=log_event("outbox_failed"))


@contextmanager
def archive(ae_title: str, folder: Path) -> Iterator[int]:
    """Run a storage SCP on loopback that files what it gets in `folder`; yield its port.

    It stands for a PACS where there is none (`ichnode demo`): an object sent twice is one file.
    """

    def keep(event: evt.Event) -> int:
        name = sha256(event.request.AffectedSOPInstanceUID.encode()).hexdigest()[:16]
        (folder / f"{name}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    ae = application_entity(ae_title, timeout_s=10.0)
    ae.require_called_aet = True
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        contexts=contexts_archive(),
        evt_handlers=[(evt.EVT_CONN_OPEN, _tune), (evt.EVT_C_STORE, keep)],
    )
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()


def _tune(event: evt.Event, timeout_s: float = 10.0) -> None:
    """Make a connection send at once, and let no read or write of it last for ever."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    limit_time(connection, timeout_s)
