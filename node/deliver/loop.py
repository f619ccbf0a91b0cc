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
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from node import outages
from node.deliver.answer import Answer, Verdict
from node.deliver.busy import Busy
from node.deliver.channels import CHANNELS
from node.deliver.committing import ask_what_is_due, report_what_is_due
from node.errors import IchnodeError, Outage
from node.log import event as log_event
from node.outages import Outages, outage_of
from node.records import Delivery
from node.settings import Settings
from node.worklist import (
    Commitments,
    Confirmations,
    EscalationStep,
    LeaseLost,
    Outbox,
    claimant,
)

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often the outbox is looked at. It adds half of this to the delay of a result, on average."""
ESCALATION_POLL_S = 5.0
"""How often the worklist is searched for studies that nobody acknowledged; chosen, since a chain
counts in minutes."""
COMMITMENT_POLL_S = 1.0
"""How often it is looked for commitments to report and to ask for; chosen, since each look is one
query by an index."""
NOTED_S = 30.0
"""How often a job that goes well is noted for the admin page; chosen, since a note is a write."""
UNREACHABLE_S = 60.0
"""Longest wait before a destination is tried again with which there is no connection; chosen, since
one try for all that it is owed costs little, and what waits may be a bleed."""
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
    lease_s = 2 * settings.deliver.timeout_s
    busy = Busy() if busy is None else busy
    arrived = 0
    while not is_over():
        now = clock()
        claim = partial(outbox.claim, worker, lease_s, now, BATCH, urgent_to=urgent_to)
        with busy.claimed(claim) as batch:
            if not batch:
                break
            valid_until = now + timedelta(seconds=lease_s / 2)
            arrived += _send(batch, settings, outbox, clock, worker, valid_until)
    return arrived


def _send(
    batch: Sequence[Delivery],
    settings: Settings,
    outbox: Outbox,
    clock: Callable[[], datetime],
    worker: str,
    valid_until: datetime,
) -> int:
    """Send deliveries of one destination and record the answers; return how many arrived."""
    arrived = 0
    failed: Counter[str] = Counter()
    for owed, answer in _sent(batch, settings, outbox, worker):
        if answer.verdict is Verdict.DOWN:
            _wait_for(owed.destination, answer.message, settings, outbox, clock(), worker)
            break
        arrived += answer.verdict is Verdict.STORED
        _note(owed, answer, settings, outbox, clock(), worker)
        if answer.verdict in (Verdict.AGAIN, Verdict.REFUSED, Verdict.FINAL):
            failed[f"{_log_words(answer)} (status {_hex(answer.status)})"] += 1
        if clock() > valid_until:  # what is left goes out when its lease has run out
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
) -> None:
    """Record the answer in the outbox."""
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
        elif verdict is Verdict.STOPPED:
            logger.error("%s", answer.message, extra=say)
            outbox.never_send(owed, worker, answer.message, now)
        else:
            retry_at = _retry_at(owed.attempts, verdict, settings, now)
            again = outbox.failed(owed, worker, status, answer.message, retry_at, now)
    except LeaseLost as error:
        logger.warning("%s", error, extra=say)
        return
    if again:
        logger.warning(
            "answers again", extra=log_event("answers_again", destination=owed.destination)
        )
    if verdict is Verdict.STORED:
        awaits = _must_commit(owed, settings)
        logger.info("stored, commitment awaited" if awaits else "delivered", extra=say)


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


def _retry_at(
    attempts: int, verdict: Verdict, settings: Settings, now: datetime
) -> datetime | None:
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


def deliver(
    settings: Settings,
    outbox: Outbox,
    clock: Callable[[], datetime],
    stop: threading.Event,
    promises: tuple[Commitments, Confirmations] | None = None,
) -> None:
    """Empty the outbox until `stop` is set.

    Each destination has a thread for urgent parcels alone, so that none waits for what goes to a
    peer that hangs, nor for the parcels of other studies. For the rest each destination has one
    thread at a time, so that none waits for another.

    Parameters
    ----------
    promises
        For storage commitment: reports that are due go out, and destinations are asked.
    """
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # it warns when a job is late
    names = [destination.name for destination in settings.deliver.destinations]
    shared = len(names) + 1
    met, busy = Outages("deliver"), Busy()
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(len(names) + shared)}, timezone=UTC
    )
    for urgent_to, threads in [*((name, 1) for name in names), (None, shared)]:
        scheduler.add_job(
            Job(
                f"send what is urgent to {urgent_to}" if urgent_to else "send",
                partial(
                    _drain,
                    settings,
                    outbox,
                    clock,
                    urgent_to,
                    None if urgent_to else busy,
                    stop.is_set,
                ),
                outbox,
                clock,
                met,
            ),
            "interval",
            seconds=POLL_S,
            max_instances=threads,
            coalesce=True,
        )
    if steps := escalation_steps(settings):
        scheduler.add_job(
            Job("escalate", lambda: outbox.escalate(steps, clock()), outbox, clock, met),
            "interval",
            seconds=ESCALATION_POLL_S,
            coalesce=True,
        )
    if promises is not None:
        _add_commitment(scheduler, settings, outbox, clock, met, promises, stop.is_set)
    scheduler.start()
    looked_at = datetime.now(UTC)
    while not stop.wait(1.0):  # not for ever: a signal's handler runs between two waits
        before, looked_at = looked_at, datetime.now(UTC)
        if looked_at < before:
            _run_now(scheduler, looked_at)
    scheduler.shutdown(wait=True)


def _run_now(scheduler: BackgroundScheduler, now: datetime) -> None:
    """Have all jobs run after the clock was set back: they were to run by the clock as it was."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=now)


def _add_commitment(
    scheduler: BackgroundScheduler,
    settings: Settings,
    outbox: Outbox,
    clock: Callable[[], datetime],
    met: Outages,
    promises: tuple[Commitments, Confirmations],
    is_over: Callable[[], bool],
) -> None:
    """Add the jobs of storage commitment: each has threads of its own, since peers may hang."""
    commitments, confirmations = promises
    reporting = partial(
        report_what_is_due,
        settings,
        commitments,
        clock,
        lambda attempts, now: _retry_at(attempts, Verdict.AGAIN, settings, now),
        is_over,
    )
    asking = partial(ask_what_is_due, settings, confirmations, clock, is_over)
    for name, work in (("report commitments", reporting), ("ask for commitments", asking)):
        threads = 1 + len(settings.deliver.archives)
        scheduler.add_executor(ThreadPoolExecutor(threads), name)
        scheduler.add_job(
            Job(name, work, outbox, clock, met),
            "interval",
            seconds=COMMITMENT_POLL_S,
            max_instances=threads,
            coalesce=True,
            executor=name,
        )


def _drain(
    settings: Settings,
    outbox: Outbox,
    clock: Callable[[], datetime],
    urgent_to: str | None,
    busy: Busy | None,
    is_over: Callable[[], bool],
) -> int:
    return drain(settings, outbox, clock, claimant(), urgent_to, busy, is_over)


class Job:
    """Work that is done again and again; when it ran and how it failed is noted in the worklist.

    In an outage it is tried each `node.outages.AGAIN_S`, and what it met is said once for all jobs
    that share `outages`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        outbox: Outbox,
        clock: Callable[[], datetime],
        outages: Outages,
    ) -> None:
        self._name, self._work, self._outbox, self._clock = name, work, outbox, clock
        self._outages, self._not_before = outages, 0.0
        self._noted: tuple[str | None, datetime] | None = None

    def __call__(self) -> None:
        """Do the work once, unless it was in an outage just now; what goes wrong is logged."""
        if time.monotonic() < self._not_before:
            return
        error = None
        try:
            self._work()
        except Exception as failure:  # noqa: BLE001  the job runs again, whatever it is
            error = str(failure)
            self._say(failure)
        else:
            self._outages.over(self._name)
        self._note(error)

    def _say(self, failure: Exception) -> None:
        outage = outage_of(failure)
        if outage is None:
            say = log_event("job_failed", job=self._name)
            logger.error("job failed", extra=say, exc_info=failure)
            return
        self._outages.met(self._name, outage)
        self._not_before = time.monotonic() + outages.AGAIN_S

    def _note(self, error: str | None) -> None:
        now = self._clock()
        if self._noted is not None:
            before, at = self._noted
            if error == before and abs(now - at) < timedelta(seconds=NOTED_S):
                return
        try:
            self._outbox.ran(self._name, error, now)
        except IchnodeError:
            return  # the database is out of reach, which the work's own failure says
        self._noted = error, now


def escalation_steps(settings: Settings) -> list[EscalationStep]:
    """Return the steps of the chain of escalation, the soonest first."""
    channels = {one.name: one.how for one in settings.deliver.messaged}
    chain = sorted(settings.deliver.escalations, key=lambda step: step.after_minutes)
    return [
        EscalationStep(timedelta(minutes=step.after_minutes), name, channels[name])
        for step in chain
        for name in step.to
    ]
