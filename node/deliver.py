"""The outbox: what is owed to a destination is sent until its peer says that it has it.

A report's SOP Instance UIDs follow from what it reports on, so an object sent twice (the peer died
before its answer, the node before it noted one) is one object in the archive. Every failure is
tried again, with growing waits; none is given up before `deliver.max_attempts`. An object refused
for what it is (0117, 0122, A9xx, Cxxx, no presentation context) waits the longest at once: only a
change at the peer can help, and then it goes out by itself. An object that is not of the patient
and study whose images it was made from never goes out.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
    refused_by_peer,
    stored_by_peer,
)
from node.dicom.identity import read_identity
from node.dicom.outgoing import associated, tune
from node.errors import BadObject, IchnodeError, Retryable
from node.log import event as log_event
from node.records import Delivery, Identity
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
    stopped: bool = False
    """Whether it was kept back: it must never be sent as it is."""

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


def _associated(
    peer: Destination, contexts: list[Any], settings: Settings
) -> AbstractContextManager[Any]:
    """Return `node.dicom.outgoing.associated` with a destination, as the settings say."""
    return associated(
        peer,
        contexts,
        ae_title=settings.receive.ae_title,
        timeout_s=settings.deliver.timeout_s,
    )


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
        for owed, sent in _send_batch(batch, settings, store):
            arrived += sent.stored
            _note(owed, sent, settings, store, clock(), worker)
            if clock() > valid_until:  # what is left goes out when its lease has run out
                break


def _send_batch(
    batch: Sequence[Delivery], settings: Settings, store: Store
) -> Iterator[tuple[Delivery, Sent]]:
    """Send deliveries of one destination, those of high priority first."""
    name = batch[0].destination
    sources = {case: store.identities(case) for case in {owed.case_id for owed in batch}}
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
        for path, delivery in list(owed.items()):
            if against := _contradiction(path, delivery, sources[delivery.case_id]):
                yield owed.pop(path), Sent(path, None, against, stopped=True)
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


def _contradiction(path: Path, delivery: Delivery, sources: frozenset[Identity]) -> str | None:
    """Return why an object is not the one of the images in the worklist, or None.

    The images of a series may have got another identity since its report was written; and no file
    is believed to be what it was then.
    """
    try:
        held, sop_instance_uid = read_identity(path)
    except BadObject as error:
        return f"not sent: {error}; replay the case from report"
    agrees = {
        "SOPInstanceUID": sop_instance_uid == delivery.object.sop_instance_uid,
        "StudyInstanceUID": {held.study_instance_uid} == {s.study_instance_uid for s in sources},
        "PatientID": {held.patient_id} == {s.patient_id for s in sources},
        "PatientBirthDate": {held.patient_birth_date} == {s.patient_birth_date for s in sources},
    }
    other = [keyword for keyword, same in agrees.items() if not same]
    if not other:
        return None
    return (
        f"not sent: its {' and '.join(other)} is not that of the images in the worklist; "
        "find out whose they are, then replay the case from assemble"
    )


def _note(
    owed: Delivery, sent: Sent, settings: Settings, store: Store, now: datetime, worker: str
) -> None:
    """Record the answer in the outbox."""
    say = log_event(
        "delivered" if sent.stored else "never_sent" if sent.stopped else "not_delivered",
        case=owed.case_id,
        destination=owed.destination,
        status=None if sent.status is None else f"{sent.status:04X}",
    )
    try:
        if sent.stored:
            store.delivered(owed, worker, sent.status or 0, now)
            logger.info("delivered", extra=say)
            return
        if sent.stopped:
            logger.error("%s", sent.message, extra=say)
            store.never_send(owed, worker, sent.message, now)
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
        evt_handlers=[(evt.EVT_CONN_OPEN, tune), (evt.EVT_C_STORE, keep)],
    )
    try:
        yield server.server_address[1]
    finally:
        ae.shutdown()
