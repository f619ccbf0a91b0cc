"""Runs what sends, in threads: the outbox is looked at again and again, and so is what is promised.

Each destination has a thread for what is urgent and one for the rest, and no peer that hangs holds
up another. A job that fails runs again; how it went is noted for the admin page.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from node import outages
from node.deliver.answer import Verdict
from node.deliver.busy import Busy
from node.deliver.committing import ask_what_is_due, report_what_is_due
from node.deliver.sending import drain, retry_at
from node.errors import IchnodeError
from node.log import event as log_event
from node.outages import Outages, outage_of
from node.settings import Settings
from node.worklist import (
    Commitments,
    Confirmations,
    EscalationStep,
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
        lambda attempts, now: retry_at(attempts, Verdict.AGAIN, settings, now),
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
