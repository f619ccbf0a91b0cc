"""Runs jobs by the clock, in one process of a data folder, and notes how each went."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from node.errors import IchnodeError
from node.folder_lock import Turn
from node.log import event
from node.worklist import Jobs

logger = logging.getLogger(__name__)

SETTLE = timedelta(seconds=30)
"""Nothing runs so soon after the start: the other roles need some seconds. Chosen."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is done again and again.

    It raises `IchnodeError` or `OSError` with the words that an admin reads.
    """

    name: str
    every: timedelta
    work: Callable[[], object]


@contextmanager
def running(
    jobs: Sequence[Job],
    notes: Jobs,
    turn: Turn,
    clock: Callable[[], datetime],
    settle: timedelta = SETTLE,
) -> Iterator[None]:
    """Run each job by its interval while the block runs, where `turn` is this process's.

    The time of the next run is kept in the worklist: a restart neither skips a run nor adds one.
    """
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(max(len(jobs), 1))}, timezone=UTC
    )
    runs = {job.name: Run(job, notes, turn, clock) for job in jobs}
    scheduler.add_listener(lambda failure: _surprised(failure, runs), EVENT_JOB_ERROR)
    for name, run in runs.items():
        scheduler.add_job(
            run,
            "interval",
            seconds=run.job.every.total_seconds(),
            id=name,
            coalesce=True,
            misfire_grace_time=None,
            next_run_time=run.plan(settle),
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=True)
        turn.leave()


class Run:
    """Runs one job when it is called, and notes that."""

    def __init__(self, job: Job, notes: Jobs, turn: Turn, clock: Callable[[], datetime]) -> None:
        self.job = job
        self._notes, self._turn, self._clock = notes, turn, clock
        self._error: str | None = None

    def plan(self, settle: timedelta) -> datetime:
        """Return when to run first: when it was to run, but within its interval from now."""
        now = self._clock()
        planned = None
        with suppress(IchnodeError):
            planned = self._notes.next_at(self.job.name)
        first = min(max(planned or now, now + settle), now + max(self.job.every, settle))
        if self._turn.taken():
            with suppress(IchnodeError):
                self._notes.planned(self.job.name, first)
        return first

    def __call__(self) -> None:
        """Do the work once, unless another process of the node does."""
        if not self._turn.taken():
            return
        try:
            self.job.work()
        except (IchnodeError, OSError) as error:
            self.note(str(error))
        else:
            self.note(None)

    def note(self, error: str | None) -> None:
        """Record a run in the worklist, and in the log where the error is another than before."""
        now = self._clock()
        say = event("job", job=self.job.name)
        if error is not None and error != self._error:
            logger.error("job %s: %s", self.job.name, error, extra=say)
        elif error is None and self._error is not None:
            logger.info("job %s is well again", self.job.name, extra=say)
        self._error = error
        try:
            self._notes.ran(self.job.name, error, now, now + self.job.every)
        except IchnodeError as failure:
            logger.warning("job %s is not noted: %s", self.job.name, failure, extra=say)


def _surprised(failure: JobExecutionEvent, runs: dict[str, Run]) -> None:
    """Note a job that failed as nobody foresaw; the log gets the place."""
    words = f"{type(failure.exception).__name__}: {failure.exception}"
    say = event("job", job=failure.job_id)
    logger.error("job %s: %s\n%s", failure.job_id, words, failure.traceback, extra=say)
    runs[failure.job_id].note(words)
