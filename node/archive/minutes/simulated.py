"""The same days with and without the node, again and again, and what the difference is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from node.archive.minutes.department import HOURS, MINUTES, Department, Floats, Group
from node.archive.minutes.formulas import Expected, expected
from node.archive.minutes.queue import Ints, waits

Bools = NDArray[np.bool_]

CONFIDENCE = 0.95
"""Of every interval."""

URGENT, FLAGGED, IN_LIST = range(3)
"""Priorities: what interrupts, what the node flags, and the rest of the list."""


@dataclass(frozen=True, slots=True)
class Run:
    """How much is simulated.

    Attributes
    ----------
    days
        Days of each replication that count, after those in which the room settles.
    replications
        Independent ones, two at least: the intervals come from how they differ.
    """

    days: int = 30
    replications: int = 40
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean in minutes and its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether the interval holds a value."""
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, float]:
        """Return the interval as JSON prints it."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Line:
    """What the node does to one group of studies.

    Attributes
    ----------
    studies
        How many were simulated.
    without, with_node
        Minutes that they wait.
    sooner
        Minutes that they are read sooner with the node; below 0 they are read later.
    """

    group: Group
    studies: int
    without: Interval
    with_node: Interval
    sooner: Interval


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation found, beside theory where theory knows."""

    load: float
    run: Run
    lines: tuple[Line, ...]
    theory: Expected | None

    def line(self, group: Group) -> Line:
        """Return the line of a group that has studies."""
        return next(line for line in self.lines if line.group is group)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as `--json` prints it."""
        return {
            "load": self.load,
            "days": self.run.days,
            "replications": self.run.replications,
            "seed": self.run.seed,
            "model": self.theory.model if self.theory else None,
            "groups": [self._line_to_json(line) for line in self.lines],
        }

    def _line_to_json(self, line: Line) -> dict[str, Any]:
        theory = self.theory
        return {
            "group": line.group,
            "studies": line.studies,
            "without": line.without.to_json(),
            "with_node": line.with_node.to_json(),
            "sooner": line.sooner.to_json(),
            "closed_form": theory
            and {
                "without": theory.without[line.group],
                "with_node": theory.with_node[line.group],
                "sooner": theory.sooner(line.group),
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Day:
    """Arrivals of one replication, in order.

    Attributes
    ----------
    at, minutes
        (n,) float64 minutes: when each arrives and what its reading takes.
    urgent, bleeds, flagged
        (n,) bool; what interrupts neither bleeds nor is flagged.
    """

    at: Floats
    minutes: Floats
    urgent: Bools
    bleeds: Bools
    flagged: Bools

    def of(self, group: Group) -> Bools:
        """Return (n,) bool, which of them are of a group."""
        return {
            Group.FOUND: self.bleeds & self.flagged,
            Group.MISSED: self.bleeds & ~self.flagged,
            Group.BLEEDS: self.bleeds,
            Group.OTHERS: ~self.bleeds & ~self.urgent,
        }[group]


def simulate(department: Department, run: Run, done: Callable[[], None] = lambda: None) -> Outcome:
    """Return what a department's studies wait with and without the node.

    Both see the same arrivals and readings, so that the difference has the narrower interval.

    Parameters
    ----------
    done
        Called after each replication.

    Raises
    ------
    BadConfiguration
        If the radiologists cannot keep up.
    """
    department.check()
    totals: dict[Group, list[tuple[int, float, float]]] = {group: [] for group in Group}
    for rng in _generators(run):
        days = _draw(department, rng, run.days)
        begins = department.settling_days * HOURS * MINUTES
        counted = (days.at >= begins) & (days.at < begins + run.days * HOURS * MINUTES)
        without, with_node = _both(department, days)
        for group in Group:
            chosen = counted & days.of(group)
            sums = float(without[chosen].sum()), float(with_node[chosen].sum())
            totals[group].append((int(chosen.sum()), *sums))
        done()
    lines = tuple(_line(group, np.array(found)) for group, found in totals.items())
    return Outcome(
        department.load, run, tuple(line for line in lines if line.studies), expected(department)
    )


def _generators(run: Run) -> Iterator[np.random.Generator]:
    for seed in np.random.SeedSequence(run.seed).spawn(run.replications):
        yield np.random.default_rng(seed)


def _draw(department: Department, rng: np.random.Generator, days: int) -> _Day:
    """Draw the days in which the room settles, those that count, and one more after them."""
    whole = department.settling_days + days + 1
    at = _arrivals(rng, department.studies_per_hour, whole)
    urgent_at = _arrivals(rng, department.interruptions_per_hour, whole)
    bleeds = rng.random(len(at)) < department.prevalence
    called = np.where(bleeds, department.sensitivity, 1 - department.specificity)
    flagged = rng.random(len(at)) < called
    minutes = np.where(
        bleeds, department.bleeding.draw(rng, len(at)), department.other.draw(rng, len(at))
    )
    no = np.zeros(len(urgent_at), bool)
    order = np.argsort(np.r_[at, urgent_at], kind="stable")
    return _Day(
        at=np.r_[at, urgent_at][order],
        minutes=np.r_[minutes, department.interruption.draw(rng, len(urgent_at))][order],
        urgent=np.r_[np.zeros(len(at), bool), ~no][order],
        bleeds=np.r_[bleeds, no][order],
        flagged=np.r_[flagged, no][order],
    )


def _arrivals(rng: np.random.Generator, per_hour: tuple[float, ...], days: int) -> Floats:
    """Return sorted minutes of Poisson arrivals whose rate is each hour's own."""
    counts = rng.poisson(np.tile(per_hour, days))
    begins = np.repeat(np.arange(len(counts)) * float(MINUTES), counts)
    return np.sort(begins + MINUTES * rng.random(counts.sum()))


def _both(department: Department, days: _Day) -> tuple[Floats, Floats]:
    """Return the (n,) minutes of waiting without the node and with it."""
    plain: Ints = np.where(days.urgent, URGENT, IN_LIST)
    sorted_: Ints = np.where(days.flagged, FLAGGED, plain)
    stopping = {URGENT, FLAGGED} if department.flag_interrupts else {URGENT}
    without, with_node = (
        waits(days.at, days.minutes, levels, department.radiologists, frozenset(stopping))
        for levels in (plain, sorted_)
    )
    return without, with_node


def _line(group: Group, totals: Floats) -> Line:
    """Sum a group up; `totals` is (replications, 3): studies, and minutes without and with."""
    studies, without, with_node = totals.T
    return Line(
        group,
        int(studies.sum()),
        interval(without, studies),
        interval(with_node, studies),
        interval(without - with_node, studies),
    )


def interval(sums: Floats, counts: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of what (r,) replications summed up over their counts, and its interval.

    It is the ratio of two means (Cochran, Sampling Techniques, 1977, eq. 6.13), with Student's t on
    r - 1 degrees of freedom. Without anything counted all is NaN.
    """
    if not counts.sum():
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = sums.sum() / counts.sum()
    spread = np.sqrt(((sums - mean * counts) ** 2).sum() / (len(sums) - 1))
    error = spread / (counts.mean() * np.sqrt(len(sums)))
    half = stats.t.ppf((1 + confidence) / 2, len(sums) - 1) * error
    return Interval(float(mean), float(mean - half), float(mean + half))
