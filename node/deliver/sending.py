"""Empties the outbox: a parcel is sent to its destination until the peer says that it has it.

A report's SOP Instance UIDs follow from what it reports on. So an object that is sent twice
(because the peer died before its answer, or the node before it noted one) is one object in the
archive. The node tries again after every failure, with growing waits, `deliver.max_attempts` times.
A destination with which there is no connection is tried by itself, and what it is owed waits with
it: that costs no parcel a try, and all of it goes once the peer answers.
A parcel that the peer refuses for what it is (DICOM: 0117, 0122, A9xx, Cxxx, no presentation
context) waits the longest time at once, since only a change at the peer can help. An object of
another patient or study than the images it was made from is never sent.

A message about a study goes the same way. One that its peer rejects for good (HL7: AR, HTTP: 4xx,
SMTP: 5yz) is given up at once: a person must look.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from node.deliver.answer import Answer, Verdict
from node.deliver.busy import Busy
from node.deliver.channels import CHANNELS
from node.errors import Outage
from node.log import event as log_event
from node.records import Delivery
from node.settings import Settings
from node.worklist import LeaseLost, Outbox, lease_kept

logger = logging.getLogger(__name__)

UNREACHABLE_S = 60.0
"""Longest wait before a destination is tried again with which there is no connection; chosen, since
one try for all that it is owed costs little, and what waits may be a bleed."""
NOTE_AGAIN_S = 1.0
"""How long to wait before an answer is noted again that an outage kept from being noted; chosen."""
BATCH = 8
"""Parcels sent before the outbox is asked again what is most urgent."""


def drain(
    settings: Settings,
    outbox: Outbox,
    clock: Callable[[], datetime],
    worker: str,
    urgent_to: str | None = None,
    busy: Busy | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """Send what is due now, until `is_over`; return how many parcels arrived.

    Parameters
    ----------
    urgent_to
        Send only what suspected current cases owe to this destination; None sends all.
    busy
        Nothing is sent to a destination to which another who shares this one sends.
    """
    timeout_s = settings.deliver.timeout_s
    lease_s = 2 * timeout_s
    busy = Busy() if busy is None else busy
    arrived = 0
    while not is_over():
        now = clock()
        claim = partial(outbox.claim, worker, lease_s, now, BATCH, urgent_to=urgent_to)
        with busy.claimed(claim) as batch:
            if not batch:
                break
            with lease_kept(lambda: outbox.renew(worker, lease_s, clock()), lease_s, "lease"):
                enough_at = now + timedelta(seconds=timeout_s)
                arrived += _send(batch, settings, outbox, clock, worker, enough_at, is_over)
    return arrived


def _send(
    batch: Sequence[Delivery],
    settings: Settings,
    outbox: Outbox,
    clock: Callable[[], datetime],
    worker: str,
    enough_at: datetime,
    is_over: Callable[[], bool],
) -> int:
    """Send deliveries of one destination and record the answers; return how many arrived.

    Parameters
    ----------
    enough_at
        What has not left until then is given back: others may be more urgent, or the node stops.
    """
    arrived = 0
    failed: Counter[str] = Counter()
    for owed, answer in _sent(batch, settings, outbox, worker):
        if answer.verdict is Verdict.DOWN:
            _wait_for(owed.destination, answer.message, settings, outbox, clock(), worker)
            break
        arrived += answer.verdict is Verdict.STORED
        note = partial(_note, owed, answer, settings, outbox, worker=worker)
        is_held = _noted(note, clock, settings.deliver.timeout_s, is_over)
        if answer.verdict in (Verdict.AGAIN, Verdict.REFUSED, Verdict.FINAL):
            failed[f"{_log_words(answer)} (status {_hex(answer.status)})"] += 1
        if not is_held or clock() > enough_at:
            outbox.give_back(worker)
            break
    for why, objects in failed.items():
        say = log_event("not_delivered", destination=batch[0].destination, objects=objects)
        logger.warning("not delivered: %s", why, extra=say)
    return arrived


def _sent(
    batch: Sequence[Delivery], settings: Settings, outbox: Outbox, worker: str
) -> Iterator[tuple[Delivery, Answer]]:
    """Send a batch; what an outage keeps from being sent is given back, which is no attempt."""
    try:
        yield from CHANNELS[batch[0].parcel.channel].send(batch, settings, outbox)
    except Outage:
        with suppress(Outage):
            outbox.give_back(worker)
        raise


def _noted(
    note: Callable[..., bool],
    clock: Callable[[], datetime],
    timeout_s: float,
    is_over: Callable[[], bool],
) -> bool:
    """Note an answer, again and again in an outage for so long: what is not noted is sent twice."""
    enough_at = time.monotonic() + timeout_s
    while True:
        try:
            return note(now=clock())
        except Outage:
            if is_over() or time.monotonic() > enough_at:
                raise
        time.sleep(NOTE_AGAIN_S)


def _wait_for(
    destination: str, why: str, settings: Settings, outbox: Outbox, now: datetime, worker: str
) -> None:
    """Record that a destination does not answer; say so when it begins."""
    limits = settings.deliver
    waits_s = limits.retry_s, min(limits.max_retry_s, UNREACHABLE_S)
    down = outbox.not_reached(destination, worker, why, waits_s, now)
    if down.tries == 1:
        say = log_event(
            "unreachable",
            destination=destination,
            owed=down.owed,
            next_try=down.next_try_at.isoformat(timespec="seconds"),
        )
        logger.error("no connection; what is owed goes once it answers: %s", why, extra=say)


ACTIONS = {Verdict.STORED: "delivered", Verdict.STOPPED: "never_sent"}


def _hex(status: int | None) -> str:
    return "none" if status is None else f"{status:04X}"


def _note(
    owed: Delivery,
    answer: Answer,
    settings: Settings,
    outbox: Outbox,
    now: datetime,
    worker: str,
) -> bool:
    """Record the answer in the outbox; return whether the worker held the delivery until then."""
    verdict, status = answer.verdict, answer.status
    about = {"case": owed.case_id, "destination": owed.destination, "kind": owed.parcel.kind}
    say = log_event(
        ACTIONS.get(verdict, "not_delivered"),
        **about,
        status=None if status is None else _hex(status),
    )
    again = False
    try:
        if verdict is Verdict.STORED and _must_commit(owed, settings):
            send_again_at = _send_again_at(owed, settings, now)
            again = outbox.stored(owed, worker, status or 0, send_again_at, now)
        elif verdict is Verdict.STORED:
            again = outbox.delivered(owed, worker, status or 0, now)
        elif verdict is Verdict.CANCELLED:
            outbox.let_go(owed, worker)
            return True
        elif verdict is Verdict.STOPPED:
            logger.error("%s", answer.message, extra=say)
            outbox.never_send(owed, worker, answer.message, now)
        else:
            again_at = retry_at(owed.attempts, verdict, settings, now)
            again = outbox.failed(owed, worker, status, answer.message, again_at, now)
    except LeaseLost as error:
        logger.warning("%s", error, extra=say)
        return False
    if again:
        logger.warning(
            "answers again", extra=log_event("answers_again", destination=owed.destination)
        )
    if verdict is Verdict.STORED:
        awaits = _must_commit(owed, settings)
        logger.info("stored, commitment awaited" if awaits else "delivered", extra=say)
    return True


def _must_commit(owed: Delivery, settings: Settings) -> bool:
    """Return whether a delivery counts only once its destination has committed itself to it."""
    named = (one for one in settings.deliver.archives if one.name == owed.destination)
    return any(one.commitment for one in named)


def _send_again_at(owed: Delivery, settings: Settings, now: datetime) -> datetime | None:
    """Return when to send a stored object again that was not committed; None for no more."""
    if owed.attempts >= settings.deliver.max_attempts:
        return None
    return now + timedelta(seconds=settings.deliver.send_again_s)


def _log_words(answer: Answer) -> str:
    """Return what the log says of a failure: of a peer's words only that there are some."""
    if answer.status is None or not answer.message:
        return answer.message or "the peer says no more"
    return "the peer says why: see `ichnode deliveries list`"


def retry_at(attempts: int, verdict: Verdict, settings: Settings, now: datetime) -> datetime | None:
    """Return when to try again after `attempts` earlier failures, or None to give up.

    The wait doubles each time. It is shortened at random by up to a quarter, so that a peer that
    comes back does not get everything at the same moment.
    """
    limits = settings.deliver
    if verdict is Verdict.FINAL or attempts + 1 >= limits.max_attempts:
        return None
    wait_s = min(limits.retry_s * 2.0 ** min(attempts, 30), limits.max_retry_s)
    if verdict is Verdict.REFUSED:
        wait_s = limits.max_retry_s
    return now + timedelta(seconds=wait_s * random.uniform(0.75, 1.0))
