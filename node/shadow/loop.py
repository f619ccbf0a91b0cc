"""The role of the shadow: it reads what the live bundle has read, when nobody else waits.

It runs in a process of its own, which gives way to every other one. What it reads goes to a table
of its own; no stage, no destination and no page of results knows of it.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from node.cases.decoding import decoding_process
from node.cases.detector import load_detector
from node.depot import depot_of
from node.errors import BadConfiguration, Outage
from node.log import event
from node.outages import outage_of, require_room
from node.scratch import scratch
from node.settings import Settings
from node.shadow.pair import IsLive, Pair, pair_of, read_since
from node.shadow.reading import Read, Reader, read
from node.worklist import (
    SHADOW_ATTEMPTS,
    Due,
    LeaseLost,
    Release,
    Run,
    ShadowResult,
    Told,
    Worklist,
    claimant,
    lease_kept,
)

logger = logging.getLogger(__name__)

SCRATCH = "shadow-"
"""What the name of the folder begins with in which cases are read."""
LOOK_S = 2.0
"""How often the shadow looks whether it may read, while it has nothing to do. Chosen."""
AGAIN = timedelta(seconds=60)
"""How long after a failure a case is read again. Chosen."""


def read_in_shadow(
    settings: Settings,
    worklist: Worklist,
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> None:
    """Read until `stop` is set, or another bundle comes into force; finish the case at hand first.

    What keeps the shadow from reading is said, and changes nothing for the live bundle.

    Raises
    ------
    Outage
        If what the node stands on fails; what was claimed is given back.
    """
    release = worklist.releases.newest()

    def is_over() -> bool:
        return stop.is_set() or worklist.releases.newest() != release

    try:
        pair = _wanted(settings, release)
        if pair is not None:
            _Shadow(settings, worklist, clock, pair, release).work(stop, is_over)
    except IsLive as error:
        logger.info("nothing is read in shadow: %s", error, extra=event("shadow_idle"))
    except BadConfiguration as error:
        logger.error("nothing is read in shadow: %s", error, extra=event("shadow_idle"))
    while not is_over():
        stop.wait(LOOK_S)


def _wanted(settings: Settings, release: Release | None) -> Pair | None:
    if not settings.shadow.on:
        logger.info("nothing is read in shadow: shadow.on is not set", extra=event("shadow_idle"))
        return None
    return pair_of(settings, release)


class _Shadow:
    """One bundle in the shadow of another."""

    def __init__(
        self,
        settings: Settings,
        worklist: Worklist,
        clock: Callable[[], datetime],
        pair: Pair,
        release: Release | None,
    ) -> None:
        self._settings, self._worklist, self._clock = settings, worklist, clock
        self._pair, self._name = pair, claimant()
        self._run: Run = worklist.shadows.begin(pair.other, pair.live, clock())
        self._since = read_since(self._run, release)

    def work(self, stop: threading.Event, is_over: Callable[[], bool]) -> None:
        """Read until it is over; the networks are held while there is something to read."""
        while not is_over():
            if not self._has_enough():
                with self._reader() as reader:
                    self._say("shadow_reads", "reads in shadow")
                    self._read_all(reader, stop, is_over)
            if self._has_enough():
                self._say("shadow_done", "has read enough in shadow: see `ichnode shadow status`")
            while not is_over() and self._has_enough():
                stop.wait(LOOK_S)

    def _has_enough(self) -> bool:
        return self._worklist.shadows.read(self._run) >= self._settings.shadow.studies

    def _say(self, action: str, said: str) -> None:
        told = {"bundle": str(self._pair.other), "live": str(self._pair.live)}
        logger.info("%s %s", self._pair.other, said, extra=event(action, **told))

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        depot = depot_of(self._settings)
        with (
            scratch(SCRATCH, depot.root) as folder,
            decoding_process(self._settings.decode) as decode,
        ):
            yield Reader(depot, load_detector(self._pair.settings), decode, folder)

    def _read_all(self, reader: Reader, stop: threading.Event, is_over: Callable[[], bool]) -> None:
        while not is_over() and not self._has_enough():
            if not self._read_one(reader):
                stop.wait(LOOK_S)

    def _read_one(self, reader: Reader) -> bool:
        """Read the next case, if there is one and no live case waits; return whether."""
        shadows, lease_s = self._worklist.shadows, self._settings.work.lease_s
        if shadows.waiting(self._clock()):
            return False
        due = shadows.claim(self._run, self._since, self._name, lease_s, self._clock())
        if due is None:
            return False

        def renew() -> None:
            shadows.renew(due, self._name, lease_s, self._clock())

        try:
            with suppress(LeaseLost), lease_kept(renew, lease_s, f"shadow-{due.case_id}"):
                self._record(due, self._outcome(due, reader))
        except Outage:
            with suppress(Outage):
                shadows.give_back(self._name)
            raise
        return True

    def _outcome(self, due: Due, reader: Reader) -> Read | None:
        """Return what came of a case; None if it failed and is read again later.

        Raises
        ------
        Outage
            If what the node stands on fails.
        """
        try:
            return read(due, reader)
        except Exception as error:  # noqa: BLE001  one case must not stop the others
            if outage_of(error) is not None:  # of the machine, or of one file alone
                require_room(reader.depot.root)
                reader.depot.require_reachable()
            say = event("shadow_failed", case=due.case_id)
            logger.warning("reading in shadow failed", extra=say, exc_info=error)
            if due.attempts < SHADOW_ATTEMPTS:
                return None
            failed = Told(ShadowResult.FAILED, f"{type(error).__name__}: {error}")
            return Read(failed, due.live, {}, (None, None))

    def _record(self, due: Due, found: Read | None) -> None:
        shadows, now = self._worklist.shadows, self._clock()
        if found is None:
            shadows.retry(due, self._name, now + AGAIN)
            return
        shadows.finish(
            *(due, self._name, found.told, now),
            live=found.live,
            origin=found.origin,
            pictures=found.pictures,
        )
        say = event("shadow_read", case=due.case_id, seconds=found.told.seconds)
        logger.info("read in shadow", extra=say)
