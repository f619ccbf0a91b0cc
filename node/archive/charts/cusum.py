"""One-sided CUSUM charts: of a rate, and of a mean.

Each value moves a chart up or down, never below zero; at its limit it alarms and begins anew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import ceil, log
from typing import Protocol

from node.archive.charts.run_length import (
    normal_limit,
    normal_run_length,
    rate_limit,
    rate_run_length,
)

FINEST = 200
"""A rate's lattice has so many steps for one study, or what rates near 0 or 1 need: chosen."""


class Side(StrEnum):
    """Which change a chart looks for."""

    RISE = "rise"
    FALL = "fall"


class Chart(Protocol):
    """What a chart of either kind can do."""

    @property
    def limit(self) -> float:
        """Where it alarms."""
        ...

    def move(self, value: float) -> float:
        """Return by how much a value moves it."""
        ...


@dataclass(frozen=True, slots=True)
class RateChart:
    """The log-likelihood ratio of one rate against another (Reynolds and Stoumbos 1999).

    It counts what it looks for, less `down / (up + down)` for each study, which lies between the
    rates. That reference is rounded to a fraction, so that run lengths are exact.

    Attributes
    ----------
    side
        A fall looks for answers "no".
    usual, shifted
        The rate in control, and the one to be found.
    up, down, steps
        Steps of a lattice: up by an answer that is looked for, down by the other, and the limit.
    """

    side: Side
    usual: float
    shifted: float
    up: int
    down: int
    steps: int

    @classmethod
    def designed(cls, usual: float, shifted: float, run_length: float) -> "RateChart":
        """Return the chart that has at least this run length in control.

        Parameters
        ----------
        usual, shifted
            Rates between 0 and 1, which differ.
        """
        side = Side.RISE if shifted > usual else Side.FALL
        before, after = (usual, shifted) if side is Side.RISE else (1 - usual, 1 - shifted)
        kept, odds = log((1 - before) / (1 - after)), log(after / before)
        share = kept / (odds + kept)
        finest = max(FINEST, ceil(2 / min(share, 1 - share)))
        reference = Fraction(share).limit_denominator(finest)
        down, up = reference.numerator, reference.denominator - reference.numerator
        return cls(side, usual, shifted, up, down, rate_limit(run_length, up, down, before))

    @property
    def limit(self) -> float:
        """Where it alarms, in studies of the kind that it looks for."""
        return self.steps / (self.up + self.down)

    def move(self, value: float) -> float:
        """Return by how much a study, 1 or 0, moves it; a multiple of the lattice's step."""
        steps = self.up if (value == 1) == (self.side is Side.RISE) else -self.down
        return steps / (self.up + self.down)

    def run_length(self, rate: float) -> float:
        """Return the average run length where this is the rate."""
        looked_for = rate if self.side is Side.RISE else 1 - rate
        return rate_run_length(self.steps, self.up, self.down, looked_for)


@dataclass(frozen=True, slots=True)
class MeanChart:
    """The tabular CUSUM of a normal mean (Page 1954; Montgomery, Statistical Quality Control, 9.1).

    Attributes
    ----------
    usual, deviation
        Mean and standard deviation in control.
    reference
        k, in standard deviations: half the shift that it is to find.
    limit
        h, in standard deviations.
    """

    side: Side
    usual: float
    deviation: float
    reference: float
    limit: float

    @classmethod
    def designed(
        cls, side: Side, usual: float, deviation: float, shift: float, run_length: float
    ) -> "MeanChart":
        """Return the chart that has this run length in control.

        Parameters
        ----------
        shift
            To be found, in standard deviations, above 0.
        """
        return cls(side, usual, deviation, shift / 2, normal_limit(run_length, shift / 2))

    def move(self, value: float) -> float:
        """Return by how much a value moves it."""
        away = (value - self.usual) / self.deviation
        return (away if self.side is Side.RISE else -away) - self.reference

    def run_length(self, mean: float) -> float:
        """Return the average run length where this is the mean."""
        away = (mean - self.usual) / self.deviation
        return normal_run_length(
            self.limit, self.reference, away if self.side is Side.RISE else -away
        )


@dataclass(frozen=True, slots=True)
class Alarm:
    """A chart reached its limit.

    Attributes
    ----------
    at, since
        Places among the values, from 0: the one that raised it, and the first of the climb, which
        estimates when the change came (Page 1954).
    """

    at: int
    since: int


def follow(chart: Chart, values: Iterable[float]) -> tuple[float, list[Alarm]]:
    """Return where values leave a chart that begins at zero, and the alarms on the way."""
    went = [*course(chart, values)]
    alarms = [alarm for _, alarm in went if alarm is not None]
    return went[-1][0] if went else 0.0, alarms


def course(chart: Chart, values: Iterable[float]) -> Iterator[tuple[float, Alarm | None]]:
    """Yield where each value leaves a chart that begins at zero, and the alarm that it raises."""
    stands, since = 0.0, 0
    for at, value in enumerate(values):
        stands = max(0.0, stands + chart.move(value))
        if stands < ROUNDING:
            stands, since = 0.0, at + 1
        reached = stands > chart.limit - ROUNDING
        yield stands, Alarm(at, since) if reached else None
        if reached:
            stands, since = 0.0, at + 1


ROUNDING = 1e-9
"""What sums of steps may be off by."""
