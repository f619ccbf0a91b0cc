"""The reading room itself, event by event (SimPy)."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from simpy import Environment, Event, Interrupt, Process

from node.archive.minutes.department import MINUTES, Floats

Ints = NDArray[np.int64]
Steps = Generator[Event, None, None]


@dataclass(slots=True, eq=False)
class _Study:
    """A study in the list or in hand.

    Attributes
    ----------
    level
        Its priority; 0 is the first.
    number
        Its place among all arrivals.
    left_min
        What its reading still takes.
    begun, reading
        When it was taken up last, and the process that reads it.
    """

    level: int
    number: int
    left_min: float
    begun: float = 0.0
    reading: Process | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Its place among studies that nobody has begun; the least is read first."""
        return self.level, self.number


class ReadingRoom:
    """Radiologists who read the first of a list, and stop for what may interrupt them."""

    def __init__(self, env: Environment, stopping: frozenset[int], done: Floats) -> None:
        """Open a room in which nobody reads yet.

        Parameters
        ----------
        stopping
            The levels whose studies stop a reading of a lower one.
        done
            (n,) float64 minutes, filled in: when the reading of each arrival was done.
        """
        self._env = env
        self._stopping = stopping
        self._done = done
        self._there = 0
        self._waiting: list[tuple[float, int, _Study]] = []
        self._in_hand: list[_Study] = []

    def staff(self, by_hour: Sequence[int]) -> Steps:
        """Let as many radiologists read as the hour has, day after day."""
        for there in cycle(by_hour):
            self._there = there
            self._take_up()
            yield self._env.timeout(MINUTES)

    def receive(self, at: Floats, minutes: Floats, levels: Ints) -> Steps:
        """Let studies arrive, one after the other."""
        for number, (when, reading, level) in enumerate(
            zip(at.tolist(), minutes.tolist(), levels.tolist(), strict=True)
        ):
            yield self._env.timeout(max(0.0, when - self._env.now))
            self._arrive(_Study(level, number, reading))

    def _arrive(self, study: _Study) -> None:
        if study.level in self._stopping and len(self._in_hand) >= self._there:
            last = max(self._in_hand, key=lambda one: one.place, default=study)
            if last.level > study.level:
                self._stop(last)
                self._begin(study)
                return
        heappush(self._waiting, (study.level, study.number, study))
        self._take_up()

    def _stop(self, study: _Study) -> None:
        """Put a reading back; it is taken up before all that could not have stopped it."""
        self._in_hand.remove(study)
        study.left_min -= self._env.now - study.begun
        after = max(level for level in self._stopping if level < study.level) + 0.5
        heappush(self._waiting, (after, study.number, study))
        if study.reading is not None:
            study.reading.interrupt()

    def _begin(self, study: _Study) -> None:
        self._in_hand.append(study)
        study.begun = self._env.now
        study.reading = self._env.process(self._read(study))

    def _take_up(self) -> None:
        while self._waiting and len(self._in_hand) < self._there:
            self._begin(heappop(self._waiting)[-1])

    def _read(self, study: _Study) -> Steps:
        try:
            yield self._env.timeout(study.left_min)
        except Interrupt:
            return
        self._in_hand.remove(study)
        self._done[study.number] = self._env.now
        self._take_up()


def waits(
    at: Floats,
    minutes: Floats,
    levels: Ints,
    by_hour: Sequence[int],
    stopping: frozenset[int] = frozenset(),
) -> Floats:
    """Return the (n,) float64 minutes that studies wait, besides their reading.

    Parameters
    ----------
    at, minutes, levels
        (n,) when each study arrives, in minutes from a midnight and in order; what its reading
        takes; and its priority, 0 the first.
    by_hour
        (24,) radiologists in each hour of the day.
    stopping
        The levels whose studies stop a reading of a lower one.
    """
    env = Environment()
    done = np.full(len(at), np.nan)
    room = ReadingRoom(env, stopping, done)
    env.process(room.staff(by_hour))
    env.process(room.receive(at, minutes, levels))
    while np.isnan(done).any():
        env.run(until=env.now + 24 * MINUTES)
    return done - at - minutes
