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
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from node.dicom.net.store_scu import Part10File, Sent, send_files
from node.dicom.read.identity import read_identity
from node.errors import BadObject, IchnodeError
from node.identity import Identity
from node.log import event as log_event
from node.records import Delivery
from node.settings import Settings
from node.worklist.store import LeaseLost, Store, claimant

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often the outbox is looked at (chosen)."""
BATCH = 8
"""Objects sent before the outbox is asked again what comes first (chosen)."""


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
        item = Part10File.of(path)
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
    changed = sop_instance_uid != delivery.object.sop_instance_uid
    other = [*(("SOPInstanceUID",) if changed else ()), *held.unlike(sources)]
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
