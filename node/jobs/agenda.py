"""Which jobs the node has, and how often each runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from node.canary import send, watch
from node.coverage import look
from node.folder_lock import Turn
from node.jobs import upkeep
from node.jobs.alarming import Alarming
from node.jobs.copying import copy_database
from node.jobs.scheduler import Job, running
from node.jobs.tidying import Tidying
from node.settings import Settings
from node.watch import draw_charts, forget_strays
from node.worklist import Worklist

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
WATCH = timedelta(seconds=15)
"""How often the answers of canaries are looked at: a fraction of `canary.limit_s`. Chosen."""


@contextmanager
def scheduled(
    in_force: Callable[[], Settings],
    worklist: Worklist,
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> Iterator[None]:
    """Run the node's jobs while the block runs; `stop` is set when it is left.

    Another process on the same data folder runs none, and takes over when this one ends.
    """
    jobs = agenda(in_force, worklist, clock, stop)
    with running(jobs, worklist.jobs, Turn(in_force().data_dir, "jobs.lock"), clock):
        try:
            yield
        finally:
            stop.set()


def agenda(
    in_force: Callable[[], Settings],
    worklist: Worklist,
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> list[Job]:
    """Return the jobs that the settings ask for; each run goes by the settings of its moment."""
    settings = in_force()
    tidying = Tidying(settings, worklist.retention, clock, stopping=stop.is_set)

    def watermark() -> None:
        tidying.by_rules(when_short=True)
        upkeep.require_room(settings)

    jobs = [
        Job("health", MINUTE, lambda: upkeep.require_well(settings, worklist, clock())),
        Job("watermark", MINUTE, watermark),
        Job("retention", HOUR, tidying.by_rules),
        Job("alarms", MINUTE, Alarming(in_force, worklist, clock)),
    ]
    if settings.backup.folder:
        every = settings.backup.every_hours * HOUR
        jobs.append(Job("backup", every, lambda: copy_database(settings, clock())))
    if settings.coverage.ask:
        every = settings.coverage.every
        jobs.append(Job("coverage", every, lambda: look(in_force(), worklist.coverage, clock)))
    if settings.canary.every_min:
        noted = (worklist.canaries, worklist.alarms, clock)
        jobs += [
            Job("canary", settings.canary.every, lambda: send(in_force(), *noted)),
            Job("canary watch", WATCH, lambda: watch(in_force(), *noted)),
        ]
    if settings.watch.reports:
        kept = worklist.reports
        jobs.append(Job("stray reports", HOUR, lambda: forget_strays(in_force(), kept, clock())))
    if settings.watch.charts:
        jobs.append(Job("charts", HOUR, lambda: draw_charts(in_force(), worklist, clock())))
    return jobs
