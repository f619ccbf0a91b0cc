"""Which jobs the node has, and how often each runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from node.folder_lock import Turn
from node.jobs import upkeep
from node.jobs.scheduler import Job, running
from node.settings import Settings
from node.worklist import Worklist

MINUTE = timedelta(minutes=1)


@contextmanager
def scheduled(
    settings: Settings, worklist: Worklist, clock: Callable[[], datetime], stop: threading.Event
) -> Iterator[None]:
    """Run the node's jobs while the block runs; `stop` is set when it is left.

    Another process on the same data folder runs none, and takes over when this one ends.
    """
    jobs = agenda(settings, worklist, clock)
    with running(jobs, worklist.jobs, Turn(settings.data_dir, "jobs.lock"), clock):
        try:
            yield
        finally:
            stop.set()


def agenda(settings: Settings, worklist: Worklist, clock: Callable[[], datetime]) -> list[Job]:
    """Return the jobs that these settings ask for."""
    return [
        Job("health", MINUTE, lambda: upkeep.require_well(settings, worklist, clock())),
        Job("watermark", MINUTE, lambda: upkeep.require_room(settings)),
    ]
